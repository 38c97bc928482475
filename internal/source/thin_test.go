package source

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
)

// wide commits a directory of many, which is one large object of Git.
func wide(o *origin) string {
	files := map[string]string{}
	for i := range 600 {
		files[fmt.Sprintf("apps/app%04d/f", i)] = fmt.Sprint(i)
	}
	id := o.commit("many", files)
	o.push("main")
	return id
}

func change(o *origin, i int) string {
	id := o.commit("change", map[string]string{fmt.Sprintf("apps/app%04d/f", i): "changed"})
	o.push("main")
	return id
}

// answering gives a source at a server that answers what handle makes of the
// origin's answers to listings (GET) and fetches (POST).
func answering(t *testing.T, o *origin, handle func(method string, body []byte) []byte) app.Source {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		o.ServeHTTP(rec, r)
		for name, values := range rec.Header() {
			w.Header()[name] = values
		}
		w.Header().Del("Content-Length")
		w.WriteHeader(rec.Code)
		_, _ = w.Write(handle(r.Method, rec.Body.Bytes()))
	}))
	t.Cleanup(server.Close)
	return app.Source{URL: server.URL + "/team/repo.git", Ref: app.GitRef{Branch: "main"}}
}

func wantChanged(t *testing.T, tree *Tree, apps int) {
	t.Helper()
	for i := range 600 {
		want := fmt.Sprint(i)
		if i < apps {
			want = "changed"
		}
		if got, err := tree.ReadFile(fmt.Sprintf("apps/app%04d/f", i)); err != nil || string(got) != want {
			t.Fatalf("app %d: got %q, %v", i, got, err)
		}
	}
}

func TestOfALargeDirectoryTheChangeIsFetched(t *testing.T) {
	o := newOrigin(t)
	wide(o)
	s := newStore(t)
	src := o.source(app.GitRef{Branch: "main"})
	resolve(t, s, src)
	whole := o.bytes.Swap(0)
	for i := range 20 {
		change(o, i)
		if i%7 == 3 { // another process
			s = Open(Options{Dir: s.opt.Dir})
		}
		tree := treeOf(t, s, src)
		if n := o.bytes.Swap(0); n > 4000 || whole < 20_000 {
			t.Errorf("fetched %d bytes at first, %d for one commit", whole, n)
		}
		wantChanged(t, tree, i+1)
	}
	checkStore(t, s)
}

// TestServerWithoutThinPacks is of a server that does not offer them, and so
// must not be asked.
func TestServerWithoutThinPacks(t *testing.T) {
	o := newOrigin(t)
	wide(o)
	s := newStore(t)
	src := answering(t, o, func(_ string, body []byte) []byte {
		return bytes.Replace(body, []byte(" thin-pack "), []byte(" fat-packs "), 1)
	})
	resolve(t, s, src)
	o.bytes.Store(0)
	change(o, 0)
	wantChanged(t, treeOf(t, s, src), 1)
	if n := o.bytes.Load(); n < 10_000 {
		t.Errorf("fetched %d bytes: the pack was thin", n)
	}
	checkStore(t, s)
}

// TestBaseThatIsNotThere is of a cache that has a commit and nothing below it,
// which the server takes for had.
func TestBaseThatIsNotThere(t *testing.T) {
	o := newOrigin(t)
	first := wide(o)
	s := newStore(t)
	src := o.source(app.GitRef{Branch: "main"})
	_, repo := resolve(t, s, src)
	if err := os.RemoveAll(filepath.Join(repo.dir, "objects")); err != nil {
		t.Fatal(err)
	}
	hollow, err := objects.Open(repo.dir, objects.NewCache(0), objects.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	alone := exec.Command("git", "pack-objects", "--stdout", "--quiet")
	alone.Dir, alone.Stdin = o.work, strings.NewReader(first+"\n")
	pack, err := alone.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := hollow.Install(t.Context(), bytes.NewReader(pack)); err != nil {
		t.Fatal(err)
	}
	hollow.Close()
	change(o, 0)
	o.posts.Store(0)
	s = Open(Options{Dir: s.opt.Dir})
	wantChanged(t, treeOf(t, s, src), 1)
	if n := o.posts.Load(); n != 2 {
		t.Errorf("fetched %d times, want a thin pack and then all", n)
	}
	checkStore(t, s)
}

// TestServerThatAlwaysSendsThinPacks is of one that builds upon what nobody
// has told it.
func TestServerThatAlwaysSendsThinPacks(t *testing.T) {
	o := newOrigin(t)
	wide(o)
	var last []byte
	replay := false
	src := answering(t, o, func(method string, body []byte) []byte {
		switch {
		case method != http.MethodPost:
			return body
		case !replay:
			last = body
		}
		return last
	})
	s := newStore(t)
	resolve(t, s, src)
	change(o, 0)
	resolve(t, s, src)
	replay = true
	f := wantFailure(t, resolveError(t, newStore(t), src), app.ReasonUnreachable)
	if !strings.Contains(f.Error(), "neither in the pack nor in the cache") {
		t.Errorf("got %v", f)
	}
}
