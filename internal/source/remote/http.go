package remote

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
)

const (
	refsPath   = "/info/refs"
	refsType   = "application/x-git-upload-pack-advertisement"
	resultType = "application/x-git-upload-pack-result"
	// maxTransports bounds the sets of TLS settings whose connections are
	// kept; beyond it, all are made anew.
	maxTransports = 256
)

// httpRemote is the "smart" protocol over http: one GET to list, one POST to
// fetch.
type httpRemote struct {
	addr   giturl.Address
	auth   app.Credentials
	agent  string
	client *http.Client
	app    *installation // whose token opens the repository; nil without a GitHub App
}

func (d *Dialer) openHTTP(addr giturl.Address, auth app.Credentials) (Remote, error) {
	transport, err := d.transport(auth)
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: %w", addr, err)
	}
	r := &httpRemote{addr: addr, auth: auth, agent: d.opt.Agent}
	r.client = &http.Client{Transport: transport, CheckRedirect: r.mayFollow}
	if auth.GitHubApp != nil {
		if r.app, err = d.installation(auth, transport); err != nil {
			return nil, app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: %w", addr, err).
				WithHint("Correct the GitHub App in the Secret of the source.")
		}
	}
	return r, nil
}

// transport gives the connections for the TLS settings of auth.
func (d *Dialer) transport(auth app.Credentials) (*http.Transport, error) {
	key := Identity(app.Credentials{
		CA: auth.CA, ClientCert: auth.ClientCert, ClientKey: auth.ClientKey, InsecureHost: auth.InsecureHost, Proxy: auth.Proxy,
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if t, ok := d.conns[key]; ok {
		return t, nil
	}
	config, err := tlsConfig(auth)
	if err != nil {
		return nil, err
	}
	proxy := d.opt.Proxy
	if auth.Proxy.URL != "" {
		address, err := proxyURL(auth.Proxy)
		if err != nil {
			return nil, err
		}
		proxy = http.ProxyURL(address)
	}
	if len(d.conns) >= maxTransports {
		for _, t := range d.conns {
			t.CloseIdleConnections()
		}
		d.conns = map[[sha256.Size]byte]*http.Transport{}
	}
	t := &http.Transport{
		Proxy:                  proxy,
		TLSClientConfig:        config,
		DialContext:            (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:    15 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxIdleConns:           100,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	d.conns[key] = t
	return t, nil
}

func tlsConfig(auth app.Credentials) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: auth.InsecureHost}
	if len(auth.CA) > 0 {
		roots, err := x509.SystemCertPool()
		if err != nil || roots == nil {
			roots = x509.NewCertPool()
		}
		if !roots.AppendCertsFromPEM(auth.CA) {
			return nil, errors.New("the CA of the source holds no PEM certificate")
		}
		c.RootCAs = roots
	}
	if len(auth.ClientCert) > 0 || len(auth.ClientKey) > 0 {
		pair, err := tls.X509KeyPair(auth.ClientCert, auth.ClientKey)
		if err != nil { // the cause may quote the key
			return nil, errors.New("client certificate and key of the source do not make a pair")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (r *httpRemote) anonymous() bool {
	return r.auth.Username == "" && r.auth.Password == "" && r.auth.BearerToken == "" && len(r.auth.ClientKey) == 0 && r.app == nil
}

// mayFollow lets only the listing be redirected, and credentials only within
// the host they were given for (or from http to https on it).
func (r *httpRemote) mayFollow(req *http.Request, via []*http.Request) error {
	from, to := via[len(via)-1].URL, req.URL
	elsewhere := func(why string) error {
		return app.Fail(app.StageFetch, app.ReasonRepoNotFound, "%s: redirects to %s://%s: %s", r.addr, to.Scheme, to.Host, why).
			WithHint("Set the URL of the source to where the repository is now.")
	}
	switch {
	case req.Method != http.MethodGet || len(via) > 5:
		return elsewhere("not followed")
	case to.Scheme != "https" && to.Scheme != from.Scheme:
		return elsewhere("not followed to an unprotected connection")
	case !strings.HasSuffix(to.Path, refsPath):
		return elsewhere("that is not a Git repository")
	case !r.anonymous() && !strings.EqualFold(to.Hostname(), r.addr.Host):
		return elsewhere("not followed with credentials")
	}
	if header := via[0].Header.Get("Authorization"); header != "" { // net/http drops it when the port changes
		req.Header.Set("Authorization", header)
	}
	return nil
}

func (r *httpRemote) authorize(req *http.Request) error {
	switch {
	case r.app != nil:
		token, err := r.app.token(req.Context())
		if err != nil {
			return err
		}
		req.SetBasicAuth("x-access-token", token)
	case r.auth.BearerToken != "":
		req.Header.Set("Authorization", "Bearer "+r.auth.BearerToken)
	case r.auth.Username != "" || r.auth.Password != "":
		req.SetBasicAuth(r.auth.Username, r.auth.Password)
	}
	return nil
}

func (r *httpRemote) List(ctx context.Context) (*Listing, error) {
	target := strings.TrimSuffix(r.addr.Base(), "/") + refsPath + "?service=git-upload-pack"
	res, err := r.do(ctx, http.MethodGet, target, nil, "*/*", "")
	if err != nil {
		return nil, failure(ctx, r.addr, err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, refsType) {
		return nil, app.Fail(app.StageFetch, app.ReasonRepoNotFound, "%s: the server answers %q, not Git's smart protocol", r.addr, clean(got)).
			WithHint("Check that the URL is the one used to clone, not that of a web page.")
	}
	l, err := readListing(res.Body)
	if err != nil {
		return nil, failure(ctx, r.addr, err)
	}
	l.base = strings.TrimSuffix(strippedURL(res.Request.URL), refsPath)
	return l, nil
}

func (r *httpRemote) Fetch(ctx context.Context, l *Listing, wants, haves []plumbing.Hash, install Install) error {
	if wants = without(wants, haves); len(wants) == 0 {
		return nil
	}
	req := newRequest(l, wants, haves)
	var body bytes.Buffer
	if err := writeRequest(&body, req); err != nil {
		return app.Fail(app.StageFetch, app.ReasonInternal, "%s: %w", r.addr, err)
	}
	res, err := r.do(ctx, http.MethodPost, l.base+"/git-upload-pack", &body, resultType, "application/x-git-upload-pack-request")
	if err != nil {
		return failure(ctx, r.addr, err)
	}
	defer res.Body.Close()
	if err := readPack(ctx, res.Body, req, install); err != nil {
		return failure(ctx, r.addr, err)
	}
	return nil
}

// do sends a request and turns every answer but 200 into a failure.
func (r *httpRemote) do(ctx context.Context, method, target string, body io.Reader, accept, contentType string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, errors.New("the URL cannot be requested")
	}
	req.Header.Set("User-Agent", r.agent)
	req.Header.Set("Accept", accept)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	if err := r.authorize(req); err != nil {
		return nil, err
	}
	res, err := r.client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // it repeats the URL
			err = wrapped.Err
		}
		return nil, err
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	io.Copy(io.Discard, io.LimitReader(res.Body, 16<<10)) // so that the connection can be used again
	return nil, r.statusFailure(res)
}

func (r *httpRemote) statusFailure(res *http.Response) *app.Failure {
	status := fmt.Errorf("HTTP %d", res.StatusCode)
	switch res.StatusCode {
	case http.StatusProxyAuthRequired:
		return proxyRefuses(r.addr)
	case http.StatusUnauthorized, http.StatusForbidden:
		if r.app != nil {
			r.app.forget() // it may have been revoked
		}
		f := app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: the server refuses the credentials: %w", r.addr, status).
			WithHint("Correct the credentials in the Secret of the source.")
		if r.anonymous() {
			f = app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: the server asks for credentials: %w", r.addr, status).
				WithHint("Give the source a Secret with credentials, or correct the URL: servers also answer so for repositories that do not exist.")
		}
		return f
	case http.StatusNotFound, http.StatusGone:
		return notFound(r.addr, status)
	}
	f := app.Fail(app.StageFetch, app.ReasonUnreachable, "%s: the server answers %w", r.addr, status)
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		f.Retry.After = min(time.Duration(s)*time.Second, time.Hour)
	}
	return f
}

func strippedURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
