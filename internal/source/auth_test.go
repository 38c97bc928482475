package source

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
)

// guarded serves an origin to those whom check lets pass.
func guarded(t *testing.T, check func(*http.Request) int) (*origin, *httptest.Server) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := check(r); code != 0 {
			http.Error(w, "no: "+r.Header.Get("Authorization"), code)
			return
		}
		o.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return o, server
}

func TestHTTPCredentials(t *testing.T) {
	_, server := guarded(t, func(r *http.Request) int {
		user, password, _ := r.BasicAuth()
		if user == "ada" && password == "hunter2" || r.Header.Get("Authorization") == "Bearer hunter3" {
			return 0
		}
		return http.StatusUnauthorized
	})
	url := server.URL + "/team/repo.git"
	inURL := strings.Replace(url, "http://", "http://ada:hunter2@", 1)
	s := newStore(t)
	for name, src := range map[string]app.Source{
		"basic":  {URL: url, Auth: app.Credentials{Username: "ada", Password: "hunter2"}},
		"bearer": {URL: url, Auth: app.Credentials{BearerToken: "hunter3"}},
		"URL":    {URL: inURL},
	} {
		t.Run(name, func(t *testing.T) { resolve(t, s, src) })
	}
	for name, src := range map[string]app.Source{
		"none":          {URL: url},
		"wrong":         {URL: url, Auth: app.Credentials{Username: "ada", Password: "hunter9"}},
		"wrong in URL":  {URL: strings.Replace(inURL, "hunter2", "hunter9", 1)},
		"bearer":        {URL: url, Auth: app.Credentials{BearerToken: "hunter9"}},
		"missing":       {URL: url, Auth: app.Credentials{Err: errors.New("Secret a/b does not exist")}},
		"wrong, pinned": {URL: url, Auth: app.Credentials{Password: "hunter9"}, Ref: app.GitRef{Commit: strings.Repeat("ab", 20)}},
	} {
		t.Run("refused "+name, func(t *testing.T) {
			f := wantFailure(t, resolveError(t, s, src), app.ReasonAuthentication, "hunter")
			if name != "missing" && f.Hint == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestHTTPStatus(t *testing.T) {
	code := 0
	o, server := guarded(t, func(*http.Request) int { return code })
	src := app.Source{URL: server.URL + "/team/repo.git", Auth: app.Credentials{Username: "ada", Password: "hunter2"}}
	s := newStore(t)
	for status, reason := range map[int]app.Reason{
		401: app.ReasonAuthentication, 403: app.ReasonAuthentication, 404: app.ReasonRepoNotFound,
		429: app.ReasonUnreachable, 500: app.ReasonUnreachable, 503: app.ReasonUnreachable,
	} {
		code = status
		wantFailure(t, resolveError(t, s, src), reason, "hunter2")
	}
	code = 0
	src.URL = server.URL + "/team/other.git"
	wantFailure(t, resolveError(t, s, src), app.ReasonRepoNotFound, "hunter2")

	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("<html>")) }))
	defer page.Close()
	wantFailure(t, resolveError(t, s, app.Source{URL: page.URL + "/x"}), app.ReasonRepoNotFound)

	dressed := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
		w.Write([]byte("<html>"))
	}))
	defer dressed.Close()
	err := resolveError(t, s, app.Source{URL: dressed.URL + "/x"})
	wantFailure(t, err, app.ReasonUnreachable)
	if !strings.Contains(err.Error(), "not of the Git protocol") {
		t.Error(err)
	}
	_ = o
}

func TestRedirects(t *testing.T) {
	o, server := guarded(t, func(*http.Request) int { return 0 })
	var seen []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		o.ServeHTTP(w, r)
	}))
	defer other.Close()
	elsewhere := strings.Replace(other.URL, "127.0.0.1", "localhost", 1)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/moved/"):
			http.Redirect(w, r, server.URL+"/team/"+strings.TrimPrefix(r.URL.Path, "/moved/")+"?"+r.URL.RawQuery, http.StatusMovedPermanently)
		case strings.HasPrefix(r.URL.Path, "/away/"):
			http.Redirect(w, r, elsewhere+"/team/"+strings.TrimPrefix(r.URL.Path, "/away/")+"?"+r.URL.RawQuery, http.StatusFound)
		default:
			http.Redirect(w, r, "/sign_in", http.StatusFound)
		}
	}))
	defer front.Close()
	s := newStore(t)
	auth := app.Credentials{Username: "ada", Password: "hunter2"}
	resolve(t, s, app.Source{URL: front.URL + "/moved/repo.git", Auth: auth})
	resolve(t, s, app.Source{URL: front.URL + "/away/repo.git"}) // nothing to lose
	seen = nil
	wantFailure(t, resolveError(t, s, app.Source{URL: front.URL + "/away/repo.git", Auth: auth}), app.ReasonRepoNotFound, "hunter2")
	if len(seen) > 0 {
		t.Errorf("credentials were sent elsewhere: %q", seen)
	}
	wantFailure(t, resolveError(t, s, app.Source{URL: front.URL + "/web/repo.git"}), app.ReasonRepoNotFound)
}

func TestTLS(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	server := httptest.NewTLSServer(o)
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	url := server.URL + "/team/repo.git"
	s := newStore(t)
	resolve(t, s, app.Source{URL: url, Auth: app.Credentials{CA: ca}})
	resolve(t, s, app.Source{URL: url, Auth: app.Credentials{InsecureHost: true}})
	f := wantFailure(t, resolveError(t, s, app.Source{URL: url}), app.ReasonUnreachable)
	if !strings.Contains(f.Hint, "ca.crt") {
		t.Errorf("hint %q", f.Hint)
	}
	wantFailure(t, resolveError(t, s, app.Source{URL: url, Auth: app.Credentials{CA: []byte("hunter2")}}), app.ReasonAuthentication, "hunter2")
	wantFailure(t, resolveError(t, s, app.Source{URL: strings.Replace(url, "127.0.0.1", "localhost", 1), Auth: app.Credentials{CA: ca}}), app.ReasonUnreachable)
}

func TestClientCertificate(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	cert, key, parsed := clientPair(t)
	server := httptest.NewUnstartedServer(o)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	url := server.URL + "/team/repo.git"
	s := newStore(t)
	resolve(t, s, app.Source{URL: url, Auth: app.Credentials{CA: ca, ClientCert: cert, ClientKey: key}})
	wantFailure(t, resolveError(t, s, app.Source{URL: url, Auth: app.Credentials{CA: ca}}), app.ReasonAuthentication)
	wantFailure(t, resolveError(t, s, app.Source{URL: url, Auth: app.Credentials{CA: ca, ClientCert: cert, ClientKey: cert}}), app.ReasonAuthentication)
}

func clientPair(t *testing.T) (cert, key []byte, parsed *x509.Certificate) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err = x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), parsed
}
