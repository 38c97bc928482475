package source

import (
	"context"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// s3Proxy notes the requests that reach a store.
type s3Proxy struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string
}

func newS3Proxy(t *testing.T, to string) *s3Proxy {
	p := &s3Proxy{}
	target := &url.URL{Scheme: "http", Host: to}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // part of what is signed
	}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		what := r.URL.Path
		if r.URL.Query().Has("list-type") {
			what = "list"
		}
		p.mu.Lock()
		p.seen = append(p.seen, what)
		p.mu.Unlock()
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// requests gives what was asked for since the last call.
func (p *s3Proxy) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen := p.seen
	p.seen = nil
	slices.Sort(seen)
	return seen
}

func TestBucket(t *testing.T) {
	store := sandboxtest.S3Store(t)
	proxy := newS3Proxy(t, store.Endpoint)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(store.Make(t.Context(), "config"))
	put := func(key, text string) { t.Helper(); check(store.Put(t.Context(), "config", key, []byte(text))) }
	put("apps/shop.yaml", "shop: 1\n")
	put("apps/odd name+ü%.yaml", "odd\n")
	put("logo.png", "an image") // left out by default
	put("docs/a.txt", "a")
	dir := t.TempDir()
	s := Open(Options{Dir: dir})
	src := app.Source{
		URL: proxy.URL, Bucket: &app.Bucket{Name: "config"}, UseIgnore: true,
		Auth: app.Credentials{Username: store.AccessKey, Password: store.SecretKey},
	}
	resolve := func(src app.Source) (app.Revision, map[string]string) {
		t.Helper()
		rev, repo, err := s.Resolve(context.Background(), src, time.Now())
		check(err)
		tree, err := repo.Tree(rev.ID())
		check(err)
		files := map[string]string{}
		check(fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				var data []byte
				data, err = fs.ReadFile(tree, name)
				files[name] = string(data)
			}
			return err
		}))
		return rev, files
	}
	asked := func(want ...string) {
		t.Helper()
		if got := proxy.requests(); !slices.Equal(got, want) {
			t.Errorf("requests %v, want %v", got, want)
		}
	}
	first, files := resolve(src)
	if len(files) != 3 || files["apps/shop.yaml"] != "shop: 1\n" || files["apps/odd name+ü%.yaml"] != "odd\n" || files["docs/a.txt"] != "a" {
		t.Errorf("files %v", files)
	}
	asked("/config/apps/odd name+ü%.yaml", "/config/apps/shop.yaml", "/config/docs/a.txt", "list")

	// What is as before costs one listing, what has changed one object.
	again, _ := resolve(src)
	asked("list")
	put("logo.png", "another image")
	third, _ := resolve(src)
	asked("list")
	if again.Commit != first.Commit || third.Commit != first.Commit {
		t.Errorf("revisions %v, %v, %v", first, again, third)
	}
	put("apps/shop.yaml", "shop: 2\n")
	check(store.Delete(t.Context(), "config", "docs/a.txt"))
	changed, files := resolve(src)
	if changed.Commit == first.Commit || len(files) != 2 || files["apps/shop.yaml"] != "shop: 2\n" {
		t.Errorf("%v: %v", changed, files)
	}
	asked("/config/apps/shop.yaml", "list")

	// Another process goes on with it.
	s = Open(Options{Dir: dir})
	if rev, _ := resolve(src); rev.Commit != changed.Commit {
		t.Errorf("revision %v", rev)
	}
	asked("list")
	put("apps/new.yaml", "new")
	resolve(src)
	asked("/config/apps/new.yaml", "list")

	// Exclusions, of the bucket and of the source; they are read once.
	put(".sourceignore", "odd*\n!*.png\n")
	_, files = resolve(src)
	if _, odd := files["apps/odd name+ü%.yaml"]; odd || files["logo.png"] == "" {
		t.Errorf("files %v", files)
	}
	asked("/config/.sourceignore", "/config/.sourceignore", "/config/logo.png", "list")
	resolve(src)
	asked("list")
	ignoring, text := src, "/apps"
	ignoring.Ignore = &text
	if _, files = resolve(ignoring); len(files) != 2 {
		t.Errorf("files %v", files)
	}
	proxy.requests()

	// A prefix stays part of the paths.
	some := src
	some.Bucket = &app.Bucket{Name: "config", Prefix: "apps/s"}
	if _, files = resolve(some); len(files) != 1 || files["apps/shop.yaml"] == "" {
		t.Errorf("files %v", files)
	}

	fails := func(name string, src app.Source, reason app.Reason, part string) {
		t.Helper()
		_, _, err := s.Resolve(t.Context(), src, time.Now())
		if f := app.AsFailure(err, ""); f == nil || f.Reason != reason || !strings.Contains(f.Error(), part) || strings.Contains(f.Error(), store.SecretKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wrong := src
	wrong.Auth.Password = "guessed"
	fails("wrong secret", wrong, app.ReasonAuthentication, "SignatureDoesNotMatch")
	wrong.Auth.Username = "nobody"
	fails("wrong key", wrong, app.ReasonAuthentication, "UserNotFound")
	wrong.Auth = app.Credentials{}
	fails("anonymous", wrong, app.ReasonAuthentication, "AccessDenied")
	wrong = src
	wrong.Bucket = &app.Bucket{Name: "nothing"}
	fails("no bucket", wrong, app.ReasonRepoNotFound, "bucket 'nothing' not found")
	wrong.Bucket = &app.Bucket{Name: "config", Region: "eu-west-1"}
	fails("wrong region", wrong, app.ReasonUnreachable, "AuthorizationHeaderMalformed")
	wrong = src
	wrong.URL = strings.Replace(src.URL, "http:", "https:", 1)
	fails("no TLS", wrong, app.ReasonUnreachable, "HTTP response to HTTPS client")
	wrong.URL = "http://127.0.0.1:1"
	fails("nobody there", wrong, app.ReasonUnreachable, "connection refused")
}
