package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"

	"golang.org/x/net/proxy"

	"plumb.dev/plumb/internal/app"
)

// proxyURL gives a proxy the form that net/http takes, user and all. It is
// never shown.
func proxyURL(p app.Proxy) (*url.URL, error) {
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("the address of the proxy is no URL")
	}
	if p.Username != "" || p.Password != "" {
		u.User = url.UserPassword(p.Username, p.Password)
	}
	return u, nil
}

// proxyDialer connects through a SOCKS proxy. Those of HTTP mostly let pass no
// other port than that of https.
func proxyDialer(p app.Proxy, direct proxy.ContextDialer) (proxy.ContextDialer, error) {
	u, err := proxyURL(p)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "socks5":
		return nil, errors.New("an ssh URL is reached through a socks5 proxy only")
	}
	var auth *proxy.Auth
	if u.User != nil {
		auth = &proxy.Auth{User: p.Username, Password: p.Password}
	}
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), "1080")
	}
	d, err := proxy.SOCKS5("tcp", host, auth, plainDialer{direct})
	if err != nil {
		return nil, err
	}
	dialer, ok := d.(proxy.ContextDialer)
	if !ok {
		return nil, errors.New("connections through a socks5 proxy cannot be ended")
	}
	return dialer, nil
}

// plainDialer has the method without a context too, which the library asks for
// and does not use.
type plainDialer struct{ proxy.ContextDialer }

func (d plainDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func proxyRefuses(from fmt.Stringer) *app.Failure {
	return app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: the proxy refuses the credentials, or asks for some", from).
		WithHint("Correct username and password in the Secret of the proxy.")
}
