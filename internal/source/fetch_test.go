package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
)

func TestIncrementalFetchTransfersLittle(t *testing.T) {
	o := newOrigin(t)
	files := map[string]string{}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		files[fmt.Sprintf("d%d/f%d", i%10, i)] = noise(rnd, 2000)
	}
	o.commit("many", files)
	o.push("main")
	s := newStore(t)
	src := o.source(app.GitRef{Branch: "main"})
	resolve(t, s, src)
	whole := o.bytes.Swap(0)
	if o.posts.Swap(0) != 1 {
		t.Error("the first fetch was not one request")
	}
	o.commit("one", map[string]string{"d1/f1": "changed"})
	o.push("main")
	tree := treeOf(t, s, src)
	if n := o.bytes.Swap(0); o.posts.Swap(0) != 1 || n > 4000 || whole < 200_000 {
		t.Errorf("fetched %d bytes at first, %d for one commit", whole, n)
	}
	if got, err := fs.ReadFile(tree, "d1/f1"); err != nil || string(got) != "changed" {
		t.Errorf("got %q, %v", got, err)
	}
	// A process that starts anew goes on from the disk.
	o.commit("two", map[string]string{"d2/f2": "changed"})
	o.push("main")
	resolve(t, Open(Options{Dir: s.opt.Dir}), src)
	if n := o.bytes.Swap(0); n > 4000 {
		t.Errorf("fetched %d bytes after a restart", n)
	}
	// Without news there is a listing and no fetch.
	o.posts.Store(0)
	resolve(t, s, src)
	if o.posts.Load() != 1 { // once, for what the other process has fetched
		t.Errorf("fetched %d times", o.posts.Load())
	}
	resolve(t, s, src)
	if o.posts.Load() != 1 {
		t.Error("fetched without news")
	}
}

func noise(rnd *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(rnd.IntN(26))
	}
	return string(b)
}

func TestForcedPush(t *testing.T) {
	o := newOrigin(t)
	base := o.commit("base", map[string]string{"a": "1"})
	old := o.commit("old", map[string]string{"a": "2"})
	o.push("main")
	s := newStore(t)
	src := o.source(app.GitRef{Branch: "main"})
	resolve(t, s, src)
	o.run("reset", "--quiet", "--hard", base)
	fresh := o.commit("new", map[string]string{"a": "3"})
	o.push("main")
	runGit(t, o.bare, "reflog", "expire", "--expire=now", "--all")
	runGit(t, o.bare, "gc", "--quiet", "--prune=now")
	tree := treeOf(t, s, src)
	if got, _ := fs.ReadFile(tree, "a"); string(got) != "3" {
		t.Errorf("got %q", got)
	}
	if rev, _ := resolve(t, s, src); rev.Commit != fresh {
		t.Errorf("got %s, want %s", rev.Commit, fresh)
	}
	// The old commit is no part of the branch any more, and still readable.
	wantFailure(t, resolveError(t, s, o.source(app.GitRef{Branch: "main", Commit: old})), app.ReasonRefNotFound)
	resolve(t, s, o.source(app.GitRef{Commit: old}))
	// An unrelated history, then no branch at all.
	o.run("checkout", "--quiet", "--orphan", "other")
	orphan := o.commit("orphan", map[string]string{"z": "1"})
	o.push("other:main")
	if rev, _ := resolve(t, s, src); rev.Commit != orphan {
		t.Errorf("got %s, want %s", rev.Commit, orphan)
	}
	o.push("other:keep", ":main")
	wantFailure(t, resolveError(t, s, src), app.ReasonRefNotFound)
	checkStore(t, s)
}

// checkStore asks stock Git whether the repositories on disk are sound.
func checkStore(t *testing.T, s *Store) {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(s.opt.Dir, "*.git"))
	if err != nil || len(dirs) == 0 {
		t.Fatal("no repositories", err)
	}
	for _, dir := range dirs {
		runGit(t, dir, "fsck", "--full", "--no-dangling")
	}
}

func TestManyFetchesKeepFewPacks(t *testing.T) {
	o := newOrigin(t)
	s := newStore(t)
	src := o.source(app.GitRef{Branch: "main"})
	want := map[string]string{}
	for i := range 45 {
		name, text := fmt.Sprintf("f%d", i%7), fmt.Sprintf("%d", i)
		want[name] = text
		o.commit(text, map[string]string{name: text})
		o.push("main")
		resolve(t, s, src)
	}
	_, repo := resolve(t, s, src)
	if n, _ := repo.objs.Packs(); n > 17 {
		t.Errorf("%d packs", n)
	}
	checkStore(t, s)
	for _, s := range []*Store{s, Open(Options{Dir: s.opt.Dir})} {
		tree := treeOf(t, s, src)
		for name, text := range want {
			if got, err := fs.ReadFile(tree, name); err != nil || string(got) != text {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
		}
	}
}

func TestConcurrentResolveSharesRequests(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	s := newStore(t)
	since := time.Now()
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			src := o.source(app.GitRef{Branch: "main"})
			if i%2 == 0 {
				src.Ref = app.GitRef{}
			}
			rev, repo, err := s.Resolve(t.Context(), src, since)
			if err != nil {
				t.Error(err)
				return
			}
			tree, err := repo.Tree(rev.Commit)
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := tree.ReadFile("a"); err != nil || string(got) != "1" {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	all.Wait()
	if o.gets.Load() != 1 || o.posts.Load() != 1 {
		t.Errorf("%d listings and %d fetches", o.gets.Load(), o.posts.Load())
	}
	if _, _, err := s.Resolve(t.Context(), o.source(app.GitRef{Branch: "main"}), since); err != nil || o.gets.Load() != 1 {
		t.Errorf("a known listing was not used: %v", err)
	}
	if _, _, err := s.Resolve(t.Context(), o.source(app.GitRef{Branch: "main"}), time.Now()); err != nil || o.gets.Load() != 2 {
		t.Errorf("an old listing was used: %v", err)
	}
	o.commit("second", map[string]string{"a": "2"})
	o.push("main", "main:b1", "main:b2")
	since = time.Now()
	for i := range 60 {
		all.Go(func() {
			branch := []string{"main", "b1", "b2"}[i%3]
			if _, _, err := s.Resolve(t.Context(), o.source(app.GitRef{Branch: branch}), since); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if o.gets.Load() != 3 || o.posts.Load() != 2 {
		t.Errorf("%d listings and %d fetches", o.gets.Load(), o.posts.Load())
	}
}

func TestCacheMayBeDeletedAtAnyTime(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1", "dir/b": "2"})
	o.push("main")
	s := newStore(t)
	src := o.source(app.GitRef{Branch: "main"})
	tree := treeOf(t, s, src)
	if err := os.RemoveAll(s.opt.Dir); err != nil {
		t.Fatal(err)
	}
	if got, err := tree.ReadFile("dir/b"); err != nil || string(got) != "2" { // from open files
		t.Errorf("got %q, %v", got, err)
	}
	read := func() {
		t.Helper()
		if got, err := treeOf(t, s, src).ReadFile("a"); err != nil || string(got) != "1" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	read()
	for _, pattern := range []string{"*.git/objects/pack/*.pack", "*.git/objects/pack/*.idx", "*.git/objects/info/packs", "*.git/packed-refs", "*.git/objects"} {
		found, _ := filepath.Glob(filepath.Join(s.opt.Dir, pattern))
		if len(found) == 0 {
			t.Fatalf("nothing at %s", pattern)
		}
		for _, f := range found {
			os.RemoveAll(f)
		}
		read()
		found, _ = filepath.Glob(filepath.Join(s.opt.Dir, pattern))
		for _, f := range found {
			os.RemoveAll(f)
		}
		if got, err := treeOf(t, Open(Options{Dir: s.opt.Dir}), src).ReadFile("a"); err != nil || string(got) != "1" {
			t.Errorf("%s, restarted: got %q, %v", pattern, got, err)
		}
		read()
	}
}

func TestUnknownCommitLeavesTheCacheAlone(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	s := newStore(t)
	_, repo := resolve(t, s, o.source(app.GitRef{}))
	_, err := repo.Tree(strings.Repeat("ab", 20))
	wantFailure(t, err, app.ReasonSourceLost)
	_, err = repo.Tree("main")
	wantFailure(t, err, app.ReasonInternal)
	resolve(t, s, o.source(app.GitRef{}))
	if o.posts.Load() != 1 {
		t.Error("the repository was fetched again")
	}
}

func TestDamagedCacheIsFetchedAnew(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": strings.Repeat("some text that compresses\n", 100)})
	o.push("main")
	s := newStore(t)
	src := o.source(app.GitRef{Branch: "main"})
	resolve(t, s, src)
	packs, _ := filepath.Glob(filepath.Join(s.opt.Dir, "*.git/objects/pack/*.pack"))
	data, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := 12; i < len(data)-20; i++ {
		data[i] ^= 0x55
	}
	os.Chmod(packs[0], 0o600)
	if err := os.WriteFile(packs[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = Open(Options{Dir: s.opt.Dir})
	if got, err := treeOf(t, s, src).ReadFile("a"); err != nil || len(got) == 0 {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	s := newStore(t)
	for _, url := range []string{"http://u:hunter2@" + addr + "/x", "https://" + addr + "/x", "http://does-not-exist.invalid/x"} {
		wantFailure(t, resolveError(t, s, app.Source{URL: url}), app.ReasonUnreachable, "hunter2")
	}
	src := app.Source{URL: "git@" + addr[:strings.LastIndex(addr, ":")] + ":x.git", Auth: sshCredentials(t)}
	src.URL = "ssh://git@" + addr + "/x.git"
	wantFailure(t, resolveError(t, s, src), app.ReasonUnreachable)
}

func TestHangingServerHoldsNobodyElse(t *testing.T) {
	release := make(chan struct{})
	hung := newOrigin(t)
	hung.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	s := newStore(t)
	patient, cancel := context.WithCancel(t.Context())
	waiting := make(chan error)
	go func() {
		_, _, err := s.Resolve(patient, hung.source(app.GitRef{}), time.Now())
		waiting <- err
	}()
	src := hung.source(app.GitRef{})
	src.Timeout = 50 * time.Millisecond
	f := wantFailure(t, resolveError(t, s, src), app.ReasonUnreachable)
	if !errors.Is(f, context.DeadlineExceeded) || f.Hint == "" {
		t.Errorf("got %v (%s)", f, f.Hint)
	}
	resolve(t, s, o.source(app.GitRef{}))
	cancel()
	wantFailure(t, <-waiting, app.ReasonTerminated)
}

func TestServerThatStopsInTheMiddle(t *testing.T) {
	o := newOrigin(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	id := o.commit("first", map[string]string{"a": noise(rnd, 200_000)})
	o.push("main")
	cut := true
	o.http.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && cut {
			w = &cuttingWriter{ResponseWriter: w, left: 50_000}
		}
		o.ServeHTTP(w, r)
	})
	s := newStore(t)
	wantFailure(t, resolveError(t, s, o.source(app.GitRef{})), app.ReasonUnreachable)
	cut = false
	if rev, _ := resolve(t, s, o.source(app.GitRef{})); rev.Commit != id {
		t.Errorf("got %s", rev.Commit)
	}
	checkStore(t, s)
	left, _ := filepath.Glob(filepath.Join(s.opt.Dir, "*.git/objects/pack/tmp_*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type cuttingWriter struct {
	http.ResponseWriter
	left int
}

func (c *cuttingWriter) Write(b []byte) (int, error) {
	if len(b) > c.left {
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

func TestLocalRepository(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1", "d/b": "2"})
	o.run("tag", "--annotate", "--message", "x", "v1.0.0")
	o.push("main", "--tags")
	for name, dir := range map[string]string{"bare": o.bare, "working copy": o.work} {
		t.Run(name, func(t *testing.T) {
			s := Open(Options{Dir: t.TempDir(), Local: true})
			src := app.Source{URL: "file://" + dir, Ref: app.GitRef{Tag: "v1.0.0"}}
			if got, err := treeOf(t, s, src).ReadFile("d/b"); err != nil || string(got) != "2" {
				t.Errorf("got %q, %v", got, err)
			}
			id := o.commit("next", map[string]string{"a": name})
			o.push("main")
			src.Ref = app.GitRef{}
			rev, _ := resolve(t, s, src)
			if rev.Commit != id || rev.Ref != "main" {
				t.Errorf("got %+v", rev)
			}
			if got, err := treeOf(t, s, src).ReadFile("a"); err != nil || string(got) != name {
				t.Errorf("got %q, %v", got, err)
			}
			resolve(t, s, app.Source{URL: dir, Ref: app.GitRef{Commit: id[:9]}})
			checkStore(t, s)
		})
	}
	s := Open(Options{Dir: t.TempDir(), Local: true})
	wantFailure(t, resolveError(t, s, app.Source{URL: "file://" + t.TempDir()}), app.ReasonRepoNotFound)
}

func TestPruneRemovesWhatIsNotUsed(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	s := newStore(t)
	resolve(t, s, o.source(app.GitRef{}))
	if err := s.Prune(time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	checkStore(t, s)
	if err := s.Prune(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.opt.Dir, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	resolve(t, s, o.source(app.GitRef{}))
}
