package engine

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/source"
)

// repositories counts those on disk.
func repositories(t *testing.T, dir string) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.git"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

func TestPrune(t *testing.T) {
	git := sandboxtest.Git(t)
	for _, name := range []string{"one", "two", "base", "old"} {
		sandboxtest.NewRepo(t, git, name).Write(map[string]string{"a": name}).Push("first")
	}
	dir := t.TempDir()
	src := func(name string) app.Source {
		return app.Source{ID: app.SourceID{Name: name}, URL: git.RepoURL(name), Interval: time.Hour}
	}
	before := source.Open(source.Options{Dir: dir})
	if _, _, err := before.Resolve(t.Context(), src("old"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	store := source.Open(source.Options{Dir: dir})
	e := New(Options{Sources: store, Bases: store, Log: slog.New(slog.DiscardHandler)})
	for _, name := range []string{"one", "two"} {
		e.SetSource(src(name))
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	sandboxtest.Eventually(t, func(context.Context) error {
		for _, name := range []string{"one", "two"} {
			if now, _ := e.current(src(name).ID); now.repo == nil {
				return os.ErrNotExist
			}
		}
		return nil
	})
	if _, _, err := store.Resolve(t.Context(), app.Source{URL: git.RepoURL("base")}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	e.uses(id("a"), app.SourceID{}, []base{{Remote: render.Remote{URL: git.RepoURL("base")}}})

	if n := repositories(t, dir); n != 4 {
		t.Fatalf("%d repositories to begin with", n)
	}
	e.prune(time.Now().Add(-time.Hour))
	if n := repositories(t, dir); n != 3 {
		t.Errorf("%d repositories, wanted all but the one of an earlier process", n)
	}
	e.prune(time.Now().Add(time.Hour))
	if n := repositories(t, dir); n != 3 {
		t.Errorf("%d repositories, of three in use", n)
	}
	e.RemoveSource(src("two").ID)
	e.uses(id("a"), app.SourceID{}, nil)
	e.prune(time.Now().Add(-time.Hour))
	if n := repositories(t, dir); n != 3 {
		t.Errorf("%d repositories: what was asked for lately is gone", n)
	}
	e.prune(time.Now().Add(time.Hour))
	if n := repositories(t, dir); n != 1 {
		t.Errorf("%d repositories, of one in use", n)
	}
	now, _ := e.current(src("one").ID)
	if _, err := now.repo.Tree(now.revision.Commit); err != nil {
		t.Error(err)
	}
}

// TestWhenItIsTidied holds that tidying waits for all to be told, and then for
// those that come in place of who leaves.
func TestWhenItIsTidied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		litter := func() { // what an earlier process may have left
			if err := os.MkdirAll(filepath.Join(dir, "x.git"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		litter()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		e := New(Options{Sources: source.Open(source.Options{Dir: dir}), Log: slog.New(slog.DiscardHandler)})
		go e.tidy(ctx)
		expect := func(what string, after time.Duration, n int) {
			t.Helper()
			timer := time.NewTimer(after)
			<-timer.C
			synctest.Wait()
			if got := repositories(t, dir); got != n {
				t.Errorf("%s: %d repositories, want %d", what, got, n)
			}
		}
		expect("before all is told", time.Hour, 1)
		e.Start()
		expect("after that", time.Second, 0)
		litter()
		expect("as long as nobody leaves", time.Hour, 1)
		e.left()
		e.left()
		expect("when someone has just left", tidyAfter-time.Second, 1)
		expect("a while later", 2*time.Second, 0)
	})
}
