package source

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"plumb.dev/plumb/internal/app"
)

// onlyByProxy is a host that no name server knows: whoever gets there went
// through a proxy of these tests, which knows where it is.
const onlyByProxy = "git.plumb.invalid"

// httpProxy is a proxy for http and https that wants a user.
func httpProxy(t *testing.T, target string, used *atomic.Int64) string {
	t.Helper()
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic cHg6aHVudGVyMg==" { // px:hunter2
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		used.Add(1)
		if r.Method != http.MethodConnect {
			out := r.Clone(r.Context())
			out.RequestURI, out.URL.Host = "", target
			out.Header.Del("Proxy-Authorization")
			res, err := http.DefaultTransport.RoundTrip(out)
			if err != nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			defer res.Body.Close()
			for k, v := range res.Header {
				w.Header()[k] = v
			}
			w.WriteHeader(res.StatusCode)
			io.Copy(w, res.Body)
			return
		}
		there, err := net.Dial("tcp", target)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		here, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			there.Close()
			return
		}
		io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		join(here, there)
	}))
	t.Cleanup(p.Close)
	return p.URL
}

func join(a, b net.Conn) {
	go func() {
		defer b.Close()
		io.Copy(b, a)
	}()
	go func() {
		defer a.Close()
		io.Copy(a, b)
	}()
}

// socksProxy is a SOCKS5 proxy (RFC 1928 and 1929) that wants a user.
func socksProxy(t *testing.T, target string, used *atomic.Int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				if err := socks(c, target); err != nil {
					c.Close()
					return
				}
				used.Add(1)
			}()
		}
	}()
	return "socks5://" + l.Addr().String()
}

func socks(c net.Conn, target string) error {
	r := bufio.NewReader(c)
	take := func(n int) []byte {
		b := make([]byte, n)
		_, _ = io.ReadFull(r, b) // what is missing is zero, and refused below
		return b
	}
	text := func() string { return string(take(int(take(1)[0]))) }
	take(1) // version
	text()  // methods
	c.Write([]byte{5, 2})
	take(1)
	if user, password := text(), text(); user != "px" || password != "hunter2" {
		c.Write([]byte{1, 1})
		return errors.New("refused")
	}
	c.Write([]byte{1, 0})
	if head := take(4); head[1] != 1 || head[3] != 3 { // connect to a name
		return errors.New("odd request")
	}
	name, port := text(), binary.BigEndian.Uint16(take(2))
	if _, want, _ := net.SplitHostPort(target); name != onlyByProxy || strconv.Itoa(int(port)) != want {
		return errors.New("odd target " + name)
	}
	there, err := net.Dial("tcp", target)
	if err != nil {
		return err
	}
	c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	join(c, there)
	return nil
}

func TestProxy(t *testing.T) {
	o, server := guarded(t, func(*http.Request) int { return 0 })
	secure := httptest.NewTLSServer(o)
	defer secure.Close()
	plain := strings.TrimPrefix(server.URL, "http://")
	hidden := strings.TrimPrefix(secure.URL, "https://")
	_, plainPort, _ := net.SplitHostPort(plain)
	_, hiddenPort, _ := net.SplitHostPort(hidden)
	for name, test := range map[string]struct {
		url   string
		proxy func(*testing.T, string, *atomic.Int64) string
		to    string
	}{
		"http":            {"http://" + onlyByProxy + ":" + plainPort, httpProxy, plain},
		"https":           {"https://" + onlyByProxy + ":" + hiddenPort, httpProxy, hidden},
		"http by socks5":  {"http://" + onlyByProxy + ":" + plainPort, socksProxy, plain},
		"https by socks5": {"https://" + onlyByProxy + ":" + hiddenPort, socksProxy, hidden},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			var used atomic.Int64
			src := app.Source{URL: test.url + "/team/repo.git", Auth: app.Credentials{InsecureHost: true}}
			wantFailure(t, resolveError(t, s, src), app.ReasonUnreachable)
			src.Auth.Proxy = app.Proxy{URL: test.proxy(t, test.to, &used), Username: "px", Password: "hunter2"}
			resolve(t, s, src)
			if used.Load() == 0 {
				t.Error("the proxy was not used")
			}
			src.Auth.Proxy.Password = "hunter3"
			wantFailure(t, resolveError(t, s, src), app.ReasonAuthentication, "hunter")
			src.Auth.Proxy = app.Proxy{URL: "http://127.0.0.1:1", Username: "px", Password: "hunter2"}
			wantFailure(t, resolveError(t, s, src), app.ReasonUnreachable, "hunter2")
		})
	}
}

func TestSSHProxy(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	signer, key := newKey(t)
	server := startSSH(t, path.Dir(o.bare), signer.PublicKey())
	_, port, _ := net.SplitHostPort(server.addr)
	host := net.JoinHostPort(onlyByProxy, port)
	known := []byte(knownhosts.Line([]string{knownhosts.Normalize(host)}, server.hostKey.PublicKey()) + "\n")
	var used atomic.Int64
	src := app.Source{URL: "ssh://git@" + host + "/repo.git", Auth: app.Credentials{SSHKey: key, KnownHosts: known,
		Proxy: app.Proxy{URL: socksProxy(t, server.addr, &used), Username: "px", Password: "hunter2"}}}
	s := newStore(t)
	resolve(t, s, src)
	if used.Load() == 0 {
		t.Error("the proxy was not used")
	}
	src.Auth.Proxy.Password = "hunter3"
	wantFailure(t, resolveError(t, s, src), app.ReasonAuthentication, "hunter")
	src.Auth.Proxy.URL = "http://127.0.0.1:1"
	wantFailure(t, resolveError(t, s, src), app.ReasonAuthentication, "hunter")
}
