package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/ociserver"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/remote"
)

// registry is a server under test, and a client of it.
type registry struct {
	*ociserver.Server
	t      *testing.T
	url    string
	host   string
	client *Client
	push   ociserver.Client
}

func newRegistry(t *testing.T) *registry {
	t.Helper()
	r := &registry{Server: ociserver.New(), t: t}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	r.at(server.URL)
	return r
}

func (r *registry) at(address string) {
	r.url, r.host = address, ociserver.Host(address)
	r.client = NewClient(Options{Transport: remote.NewDialer(remote.Options{}).Transport})
}

func (r *registry) source(change ...func(*app.Source)) app.Source {
	src := app.Source{URL: scheme + r.host + "/team/app", OCI: &app.OCIArtifact{Insecure: true}}
	for _, c := range change {
		c(&src)
	}
	return src
}

func files(content string) fs.FS {
	return fstest.MapFS{"app/settings.yaml": {Data: []byte(content), Mode: 0o644}}
}

// publish pushes files by a tag, and returns the digest.
func (r *registry) publish(tag string, files fs.FS) string {
	r.t.Helper()
	data, err := ociserver.Archive(files)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.publishLayers(tag, ociserver.Layer{Data: data})
}

func (r *registry) publishLayers(tag string, layers ...ociserver.Layer) string {
	r.t.Helper()
	digest, err := r.push.Push(r.t.Context(), r.host+"/team/app:"+tag, ociserver.Artifact{
		Layers: layers, Annotations: map[string]string{
			"org.opencontainers.image.revision": "main@sha1:0123", "org.opencontainers.image.created": "2024-05-01T12:00:00Z"},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Requests()
	return digest
}

func (r *registry) find(src app.Source) (app.Revision, error) {
	a, err := r.client.Open(src)
	if err != nil {
		return app.Revision{}, err
	}
	return a.Find(r.t.Context())
}

// bring reads the files of a revision back: path and content, or target.
func (r *registry) bring(src app.Source, rev app.Revision) (map[string]string, error) {
	r.t.Helper()
	a, err := r.client.Open(src)
	if err != nil {
		return nil, err
	}
	return built(r.t, func(b *objects.Build) error { return a.Bring(r.t.Context(), rev, b) })
}

func built(t testing.TB, write func(*objects.Build) error) (map[string]string, error) {
	t.Helper()
	store, err := objects.Open(t.TempDir(), objects.NewCache(0), objects.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b, err := store.Build()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := write(b); err != nil {
		return nil, err
	}
	id, err := b.Commit(context.Background(), "m", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	commit, err := store.Get(id, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	_, tree, _ := strings.Cut(string(commit.Data), "tree ")
	walk(t, store, plumbing.NewHash(tree[:40]), "", out)
	return out, nil
}

func walk(t testing.TB, store *objects.Store, id plumbing.Hash, prefix string, out map[string]string) {
	t.Helper()
	tree, err := store.Get(id, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for rest := string(tree.Data); rest != ""; {
		head, after, _ := strings.Cut(rest, "\x00")
		mode, name, _ := strings.Cut(head, " ")
		var child plumbing.Hash
		copy(child[:], after[:20])
		rest = after[20:]
		if mode == "40000" {
			walk(t, store, child, prefix+name+"/", out)
			continue
		}
		blob, err := store.Get(child, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		content := string(blob.Data)
		switch mode {
		case "120000":
			content = "-> " + content
		case "100755":
			content = "x " + content
		}
		out[prefix+name] = content
	}
}

func reason(err error) app.Reason { return app.AsFailure(err, "").Reason }

func TestTag(t *testing.T) {
	r := newRegistry(t)
	first := r.publish("latest", files("one"))
	rev, err := r.find(r.source())
	if err != nil {
		t.Fatal(err)
	}
	if "sha256:"+rev.Commit != first || rev.Ref != "latest" || rev.Metadata["org.opencontainers.image.revision"] != "main@sha1:0123" || rev.Time.Year() != 2024 {
		t.Errorf("found %+v", rev)
	}
	got, err := r.bring(r.source(), rev)
	if err != nil || got["app/settings.yaml"] != "one" || len(got) != 1 {
		t.Errorf("brought %q, %v", got, err)
	}
	r.Requests()

	// What did not change costs one request.
	if again, err := r.find(r.source()); err != nil || again.Commit != rev.Commit || again.Metadata["org.opencontainers.image.revision"] == "" {
		t.Errorf("found %+v, %v", again, err)
	}
	if got := r.Requests(); !slices.Equal(got, []string{"HEAD /v2/team/app/manifests/latest"}) {
		t.Errorf("asked %q", got)
	}

	// What did costs the manifest and the layer more.
	second := r.publish("latest", files("two"))
	rev, err = r.find(r.source())
	if err != nil || "sha256:"+rev.Commit != second {
		t.Fatalf("found %+v, %v", rev, err)
	}
	if got, err := r.bring(r.source(), rev); err != nil || got["app/settings.yaml"] != "two" {
		t.Errorf("brought %q, %v", got, err)
	}
	if got := r.Requests(); len(got) != 3 {
		t.Errorf("asked %q", got)
	}

	// By the id alone, as after a restart.
	r.at(r.url)
	if got, err := r.bring(r.source(), app.Revision{Commit: strings.TrimPrefix(first, "sha256:")}); err != nil || got["app/settings.yaml"] != "one" {
		t.Errorf("brought %q, %v", got, err)
	}
}

func TestRef(t *testing.T) {
	r := newRegistry(t)
	digests := map[string]string{}
	for _, tag := range []string{"v1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1", "main-1.11.0", "20240101", "latest"} {
		digests[tag] = r.publish(tag, files(tag))
	}
	for _, c := range []struct {
		ref  app.OCIArtifact
		tag  string // "" if none is found
		fail app.Reason
	}{
		{app.OCIArtifact{}, "latest", ""},
		{app.OCIArtifact{Tag: "1.2.0"}, "1.2.0", ""},
		{app.OCIArtifact{Tag: "1.2.0", SemVer: "1.x"}, "1.10.0", ""},
		{app.OCIArtifact{SemVer: ">=1.0.0"}, "1.10.0", ""},
		{app.OCIArtifact{SemVer: ">=1.0.0-0"}, "2.0.0-rc.1", ""},
		{app.OCIArtifact{SemVer: "*", TagFilter: "^v"}, "v1.0.0", ""},
		{app.OCIArtifact{SemVer: "^3"}, "", app.ReasonRefNotFound},
		{app.OCIArtifact{SemVer: "one"}, "", app.ReasonInvalidSpec},
		{app.OCIArtifact{SemVer: "*", TagFilter: "("}, "", app.ReasonInvalidSpec},
		{app.OCIArtifact{Tag: "none"}, "", app.ReasonRefNotFound},
		{app.OCIArtifact{Tag: "not a tag"}, "", app.ReasonInvalidSpec},
		{app.OCIArtifact{Digest: "sha256:12"}, "", app.ReasonInvalidSpec},
		{app.OCIArtifact{Digest: "sha256:" + strings.Repeat("0", 64)}, "", app.ReasonRefNotFound},
	} {
		c.ref.Insecure = true
		rev, err := r.find(r.source(func(s *app.Source) { s.OCI = &c.ref }))
		if c.fail != "" {
			if err == nil || reason(err) != c.fail {
				t.Errorf("%+v: found %+v, %v", c.ref, rev, err)
			}
			continue
		}
		if err != nil || rev.Ref != c.tag || "sha256:"+rev.Commit != digests[c.tag] {
			t.Errorf("%+v: found %+v, %v", c.ref, rev, err)
		}
	}

	// A digest wins over all, names no tag, and is asked for once.
	ref := &app.OCIArtifact{Tag: "latest", SemVer: "*", Digest: digests["1.2.0"], Insecure: true}
	pinned := r.source(func(s *app.Source) { s.OCI = ref })
	for range 2 {
		if rev, err := r.find(pinned); err != nil || rev.Ref != "" || "sha256:"+rev.Commit != digests["1.2.0"] {
			t.Errorf("found %+v, %v", rev, err)
		}
	}
	r.Requests()
	if _, err := r.find(pinned); err != nil || len(r.Requests()) != 0 {
		t.Error("a digest was asked for again")
	}
}

// A listing of many pages is read to its end, and one without end is not.
func TestTagPages(t *testing.T) {
	endless := false
	pages := 0
	var origin string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			fmt.Fprint(w, "{}")
			return
		}
		pages++
		if endless || pages < 3 {
			w.Header().Set("Link", fmt.Sprintf("<%s/v2/team/app/tags/list?last=%d>; rel=\"next\"", origin, pages))
		}
		fmt.Fprintf(w, `{"name":"team/app","tags":["1.%d.0"%s]}`, pages, strings.Repeat(`,"x"`, 3000))
	}))
	defer server.Close()
	origin = server.URL
	r := &registry{t: t, Server: ociserver.New()}
	r.at(server.URL)
	a, err := r.client.Open(r.source(func(s *app.Source) { s.OCI.SemVer = "*" }))
	if err != nil {
		t.Fatal(err)
	}
	if tag, err := a.highest(t.Context()); err != nil || tag != "1.3.0" {
		t.Errorf("found %q, %v", tag, err)
	}
	endless = true
	if tag, err := a.highest(t.Context()); err == nil || pages > 100 {
		t.Errorf("found %q after %d pages", tag, pages)
	}
}

func TestLayers(t *testing.T) {
	r := newRegistry(t)
	one, err := ociserver.Archive(files("one"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := ociserver.Archive(files("two"))
	if err != nil {
		t.Fatal(err)
	}
	r.publishLayers("latest", ociserver.Layer{Data: one}, ociserver.Layer{Data: two, Type: "application/two"}, ociserver.Layer{Data: []byte("text"), Type: "text/plain"})
	rev, err := r.find(r.source())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		of       app.OCIArtifact
		file     string
		want     string
		complain string
	}{
		{app.OCIArtifact{}, "app/settings.yaml", "one", ""},
		{app.OCIArtifact{MediaType: "application/two"}, "app/settings.yaml", "two", ""},
		{app.OCIArtifact{MediaType: "application/two", Copy: true}, "app/settings.yaml", "two", ""},
		{app.OCIArtifact{MediaType: "text/plain"}, "", "", "no tar archive"},
		{app.OCIArtifact{MediaType: "application/three"}, "", "", "media type 'application/three'"},
	} {
		c.of.Insecure = true
		got, err := r.bring(r.source(func(s *app.Source) { s.OCI = &c.of }), rev)
		switch {
		case c.complain != "":
			if err == nil || reason(err) != app.ReasonBadArtifact || !strings.Contains(err.Error(), c.complain) {
				t.Errorf("%+v: brought %q, %v", c.of, got, err)
			}
		case err != nil || got[c.file] != c.want || len(got) != 1:
			t.Errorf("%+v: brought %q, %v", c.of, got, err)
		}
	}
}

// What cannot be unpacked is not fetched again, as it will not be another.
func TestBadOnce(t *testing.T) {
	r := newRegistry(t)
	r.publishLayers("latest", ociserver.Layer{Data: []byte("text")})
	rev, err := r.find(r.source())
	if err != nil {
		t.Fatal(err)
	}
	var first error
	for range 3 {
		_, err := r.bring(r.source(), rev)
		if reason(err) != app.ReasonBadArtifact || first != nil && first.Error() != err.Error() {
			t.Errorf("brought: %v", err)
		}
		first = err
	}
	fetched := 0
	for _, q := range r.Requests() {
		if strings.Contains(q, "/blobs/") {
			fetched++
		}
	}
	if fetched != 1 {
		t.Errorf("fetched %d times", fetched)
	}
	r.publish("latest", files("one"))
	if rev, err = r.find(r.source()); err != nil {
		t.Fatal(err)
	}
	if got, err := r.bring(r.source(), rev); err != nil || got["app/settings.yaml"] != "one" {
		t.Errorf("the next one: brought %q, %v", got, err)
	}
}

// A registry that sends something else than what it promised delivers nothing.
func TestTamperedLayer(t *testing.T) {
	r := newRegistry(t)
	r.publish("latest", files("what was pushed"))
	other, err := ociserver.Archive(files("something else!"))
	if err != nil {
		t.Fatal(err)
	}
	tamper := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.Contains(req.URL.Path, "/blobs/") {
			w.Write(other)
			return
		}
		r.ServeHTTP(w, req)
	}))
	defer tamper.Close()
	r.at(tamper.URL)
	rev, err := r.find(r.source())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.bring(r.source(), rev); err == nil {
		t.Errorf("brought %q", got)
	}
}

func TestURL(t *testing.T) {
	for url, ok := range map[string]bool{
		"oci://ghcr.io/team/app":        true,
		"oci://registry:5000/app":       true,
		"oci://localhost/app":           true,
		"https://ghcr.io/team/app":      false,
		"oci://ghcr.io":                 false,
		"oci://team/app":                false, // not that of a registry nobody named
		"oci://ghcr.io/team/app:latest": false,
		"oci://ghcr.io/team/app@sha256:" + strings.Repeat("0", 64): false,
		"oci://ghcr.io/Team": false,
		"oci://":             false,
	} {
		_, err := NewClient(Options{Transport: remote.NewDialer(remote.Options{}).Transport}).Open(app.Source{URL: url, OCI: &app.OCIArtifact{}})
		if (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
		if err != nil && (reason(err) != app.ReasonInvalidSpec || !app.AsFailure(err, "").Retry.Never) {
			t.Errorf("%s: %+v", url, err)
		}
	}
}

func TestUnreachable(t *testing.T) {
	r := newRegistry(t)
	r.publish("latest", files("one"))
	if _, err := r.find(r.source(func(s *app.Source) { s.OCI.Insecure = false })); err == nil || !strings.Contains(err.Error(), "does not speak TLS") {
		t.Errorf("without leave: %v", err)
	}
	for _, q := range r.Requests() {
		t.Errorf("was asked %s without TLS", q)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a, err := r.client.Open(r.source())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Find(ctx); reason(err) != app.ReasonTerminated {
		t.Errorf("cancelled: %v", err)
	}
	// A failure is not remembered.
	if _, err := r.find(r.source()); err != nil {
		t.Error(err)
	}
}

// A registry that is not what it should be for a while has no lasting effect.
func TestLoginAgain(t *testing.T) {
	r := newRegistry(t)
	r.publish("latest", files("one"))
	away := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if away {
			http.NotFound(w, req)
			return
		}
		r.ServeHTTP(w, req)
	}))
	defer server.Close()
	r.at(server.URL)
	if _, err := r.find(r.source()); err == nil {
		t.Error("something was found")
	}
	away = false
	if _, err := r.find(r.source()); err != nil {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	r := newRegistry(t)
	server := httptest.NewUnstartedServer(r)
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	r.at(server.URL)
	r.push.Transport = server.Client().Transport
	r.publish("latest", files("one"))
	plain := func(s *app.Source) { s.OCI.Insecure = false }
	if _, err := r.find(r.source(plain)); err == nil || reason(err) != app.ReasonUnreachable || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("without the authority: %v", err)
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if _, err := r.find(r.source(plain, func(s *app.Source) { s.Auth.CA = authority })); err != nil {
		t.Error(err)
	}
	// A client certificate is shown where it is asked for; that of the server
	// does for one.
	server.TLS.ClientAuth = tls.RequireAnyClientCert
	key, err := x509.MarshalPKCS8PrivateKey(server.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	trusting := func(s *app.Source) { s.Auth.CA = authority }
	r.at(server.URL)
	if _, err := r.find(r.source(plain, trusting)); err == nil || reason(err) != app.ReasonAuthentication {
		t.Errorf("without a client certificate: %v", err)
	}
	if _, err := r.find(r.source(plain, trusting, func(s *app.Source) {
		s.Auth.ClientCert, s.Auth.ClientKey = authority, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	})); err != nil {
		t.Errorf("with a client certificate: %v", err)
	}
	if _, err := r.find(r.source(plain, func(s *app.Source) { s.Auth.CA = []byte("none") })); err == nil || reason(err) != app.ReasonAuthentication {
		t.Errorf("with no authority: %v", err)
	}
}

// A connection is kept per host: credentials go nowhere else.
func TestHome(t *testing.T) {
	var used []string
	mark := func(name string) http.RoundTripper {
		return roundTrip(func(req *http.Request) (*http.Response, error) {
			used = append(used, name+" "+req.URL.Host)
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		})
	}
	tr := &registryTransport{host: "registry.example:5000", home: mark("home"), away: mark("away")}
	for _, address := range []string{"https://registry.example:5000/v2/", "https://registry.example/v2/", "https://cdn.example/x"} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.RoundTrip(&http.Request{Method: "GET", URL: u}); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"home registry.example:5000", "away registry.example", "away cdn.example"}; !slices.Equal(used, want) {
		t.Errorf("used %q", used)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
