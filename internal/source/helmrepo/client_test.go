package helmrepo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/chartserver"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/remote"
)

func newClient(t *testing.T) *Client {
	t.Helper()
	return NewClient(remote.NewDialer(remote.Options{}), t.TempDir())
}

// take finds the index of a repository and takes it in.
func take(ctx context.Context, t *testing.T, url string, auth app.Credentials) (app.Revision, error) {
	t.Helper()
	repo, err := newClient(t).Repository(url, auth, false)
	if err != nil {
		return app.Revision{}, err
	}
	x := repo.Index("x")
	rev, err := x.Find(ctx)
	if err != nil {
		return rev, err
	}
	store, err := objects.Open(t.TempDir(), objects.NewCache(0), objects.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.Build()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	return rev, x.Bring(ctx, rev, b)
}

func TestBadRepositories(t *testing.T) {
	ctx, end := context.WithCancelCause(t.Context())
	huge := strings.Repeat("# "+strings.Repeat("x", 1<<16)+"\n", 16)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch filepath.Dir(r.URL.Path) {
		case "/page":
			fmt.Fprint(w, "<!doctype html><html>")
		case "/text":
			fmt.Fprint(w, "just a moment")
		case "/refused":
			w.WriteHeader(http.StatusForbidden)
		case "/busy":
			w.Header().Set("Retry-After", "90")
			w.WriteHeader(http.StatusTooManyRequests)
		case "/huge":
			for range 60 {
				fmt.Fprint(w, huge)
			}
		case "/endless":
			fmt.Fprint(w, "#")
			w.(http.Flusher).Flush()
			end(context.DeadlineExceeded)
			<-r.Context().Done()
		case "/cut":
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "apiVersion: v1\n")
			panic(http.ErrAbortHandler)
		case "/away":
			http.Redirect(w, r, "ftp://example.org/index.yaml", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	tests := []struct {
		path   string
		reason app.Reason
		want   string
	}{
		{"/page", app.ReasonCorrupt, "web page"},
		{"/text", app.ReasonCorrupt, "no index"},
		{"/none", app.ReasonRepoNotFound, "HTTP 404"},
		{"/refused", app.ReasonAuthentication, "HTTP 403"},
		{"/busy", app.ReasonUnreachable, "HTTP 429"},
		{"/huge", app.ReasonCorrupt, "larger than 50 MiB"},
		{"/endless", app.ReasonUnreachable, "no complete answer in time"},
		{"/cut", app.ReasonUnreachable, "EOF"},
		{"/away", app.ReasonUnreachable, ""},
	}
	for _, test := range tests {
		of := t.Context()
		if test.path == "/endless" {
			of = ctx
		}
		_, err := take(of, t, server.URL+test.path, app.Credentials{})
		f := app.AsFailure(err, "")
		if f == nil || f.Reason != test.reason || !strings.Contains(f.Error(), test.want) {
			t.Errorf("%s: %v, want %s %q", test.path, err, test.reason, test.want)
		}
		if test.path == "/busy" && f != nil && f.Retry.After != 90*time.Second {
			t.Errorf("again after %s", f.Retry.After)
		}
	}
	for _, url := range []string{"", "charts", "ftp://h/c", "https://", "http://me:secret@"} {
		if _, err := take(t.Context(), t, url, app.Credentials{}); app.AsFailure(err, "").Reason != app.ReasonInvalidSpec || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// writeChart writes a chart to publish.
func writeChart(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Chart.yaml"), []byte("apiVersion: v2\nname: web\nversion: 1.0.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTLS(t *testing.T) {
	// httptest's own certificate serves both sides.
	probe := httptest.NewTLSServer(http.NotFoundHandler())
	defer probe.Close()
	pair := probe.TLS.Certificates[0]
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: probe.Certificate().Raw})
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	roots := x509.NewCertPool()
	roots.AddCert(probe.Certificate())
	server, err := chartserver.New(chartserver.Options{Dir: t.TempDir(),
		TLS: &tls.Config{Certificates: probe.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.Config.ErrorLog = nil
	if _, err := server.Publish(writeChart(t), ""); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		auth app.Credentials
		want app.Reason
	}{
		{"unknown authority", app.Credentials{}, app.ReasonUnreachable},
		{"no client certificate", app.Credentials{CA: ca}, app.ReasonAuthentication},
		{"half a pair", app.Credentials{CA: ca, ClientCert: ca}, app.ReasonAuthentication},
		{"all there", app.Credentials{CA: ca, ClientCert: ca, ClientKey: key}, ""},
	} {
		_, err := take(t.Context(), t, server.URL, test.auth)
		if f := app.AsFailure(err, ""); test.want == "" && f != nil || test.want != "" && (f == nil || f.Reason != test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// Credentials go to the host of the repository, and to others only if that is
// asked for.
func TestPassCredentials(t *testing.T) {
	files, err := chartserver.New(chartserver.Options{Dir: t.TempDir(), Username: "alice", Password: "pw"})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	if _, err := files.Publish(writeChart(t), ""); err != nil {
		t.Fatal(err)
	}
	index, err := chartserver.New(chartserver.Options{Dir: t.TempDir(), Username: "alice", Password: "pw", BaseURL: files.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer index.Close()
	if _, err := index.Publish(writeChart(t), ""); err != nil {
		t.Fatal(err)
	}
	auth := app.Credentials{Username: "alice", Password: "pw"}
	for _, pass := range []bool{false, true} {
		repo, err := newClient(t).Repository(index.URL, auth, pass)
		if err != nil {
			t.Fatal(err)
		}
		versions, err := repo.Versions(t.Context(), "web")
		if err != nil || len(versions) != 1 {
			t.Fatalf("%v, %v", versions, err)
		}
		_, err = repo.Download(t.Context(), versions[0])
		f := app.AsFailure(err, "")
		switch {
		case pass && f != nil && f.Reason != app.ReasonCorrupt: // it was packed at another time: the digest may differ
			t.Errorf("with leave: %v", err)
		case !pass && (f == nil || f.Reason != app.ReasonAuthentication || !strings.Contains(f.Hint, "passCredentials")):
			t.Errorf("without leave: %v", err)
		}
	}
}

func TestDownload(t *testing.T) {
	var asked string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.String()
		if strings.HasSuffix(r.URL.Path, "large.tgz") {
			_, _ = io.CopyN(w, zeros{}, MaxChart+1)
			return
		}
		fmt.Fprint(w, "content")
	}))
	defer server.Close()
	repo, err := newClient(t).Repository(server.URL+"/team/charts?token=t", app.Credentials{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(repo.String(), "token") {
		t.Errorf("%s", repo)
	}
	const digest = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
	for _, test := range []struct {
		v    Version
		want string // asked for
		fail string
	}{
		{Version{URLs: []string{"web.tgz"}}, "/team/charts/web.tgz?token=t", ""},
		{Version{URLs: []string{"web.tgz"}, Digest: digest}, "/team/charts/web.tgz?token=t", ""},
		{Version{URLs: []string{"web.tgz"}, Digest: "sha256:" + strings.ToUpper(digest)}, "/team/charts/web.tgz?token=t", ""},
		{Version{URLs: []string{"/web.tgz?a=b"}}, "/web.tgz?a=b", ""},
		{Version{URLs: []string{server.URL + "/x/web.tgz"}}, "/x/web.tgz", ""},
		{Version{URLs: []string{"web.tgz"}, Digest: strings.Repeat("0", 64)}, "/team/charts/web.tgz?token=t", "its digest is " + digest},
		{Version{URLs: []string{"large.tgz"}}, "/team/charts/large.tgz?token=t", "larger than 10 MiB"},
		{Version{}, "", "no address"},
		{Version{URLs: []string{"file:///etc/passwd"}}, "", "none of http"},
		{Version{URLs: []string{"http://[::1"}}, "", "cannot be parsed"},
	} {
		asked = ""
		data, err := repo.Download(t.Context(), test.v)
		if asked != test.want || test.fail == "" && (err != nil || string(data) != "content") || test.fail != "" && (err == nil || !strings.Contains(err.Error(), test.fail)) {
			t.Errorf("%+v: asked for %q, %v", test.v, asked, err)
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// A time of change that may be of the same second as the next is not given back.
func TestModified(t *testing.T) {
	for _, test := range []struct{ date, last, want string }{
		{"Sat, 21 Nov 2026 12:00:10 GMT", "Sat, 21 Nov 2026 12:00:00 GMT", "Sat, 21 Nov 2026 12:00:00 GMT"},
		{"Sat, 21 Nov 2026 12:00:01 GMT", "Sat, 21 Nov 2026 12:00:00 GMT", ""},
		{"", "Sat, 21 Nov 2026 12:00:00 GMT", ""},
		{"Sat, 21 Nov 2026 12:00:10 GMT", "yesterday", ""},
	} {
		head := http.Header{"Date": {test.date}, "Last-Modified": {test.last}}
		if got := modified(head); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}
