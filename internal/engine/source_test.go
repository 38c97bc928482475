package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/source"
)

// running runs an engine until the test ends.
func running(t *testing.T, e *Engine) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// looking runs an engine that has nothing but sources, and gives what it
// reports of each.
func looking(t *testing.T, dir string, sources ...app.Source) (*Engine, func(name string, fits func(app.SourceReport) bool)) {
	t.Helper()
	reports := make(chan app.SourceReport, 100)
	e := New(Options{Sources: source.Open(source.Options{Dir: dir}), Log: slog.New(slog.DiscardHandler),
		PublishSource: func(_ context.Context, r app.SourceReport) error { reports <- r; return nil }})
	for _, src := range sources {
		e.SetSource(src)
	}
	running(t, e)
	return e, func(name string, fits func(app.SourceReport) bool) {
		t.Helper()
		var last app.SourceReport
		patience := time.NewTimer(sandboxtest.Patience)
		defer patience.Stop()
		for {
			select {
			case r := <-reports:
				if r.ID.Name != name {
					continue
				}
				if last = r; fits(r) {
					return
				}
			case <-patience.C:
				t.Fatalf("%s: the last report is %+v", name, last)
			}
		}
	}
}

func gitSource(name, url string) app.Source {
	return app.Source{ID: app.SourceID{Kind: "GitRepository", Namespace: "team", Name: name}, URL: url,
		Ref: app.GitRef{Branch: "main"}, Interval: time.Hour}
}

func content(e *Engine, name, file string) string {
	now, _ := e.current(gitSource(name, "").ID)
	if now.repo == nil {
		return "no repository"
	}
	tree, err := now.repo.Tree(now.revision.ID())
	if err != nil {
		return err.Error()
	}
	data, err := fs.ReadFile(now.files(tree), file)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// A source is made of others: it waits for them to be told of, follows them,
// and says so if they are made of it.
func TestSourceOfSources(t *testing.T) {
	git := sandboxtest.Git(t)
	outer := sandboxtest.NewRepo(t, git, "outer").Write(map[string]string{"own": "1"})
	commit := outer.Push("first")
	inner := sandboxtest.NewRepo(t, git, "inner").Write(map[string]string{"a": "1"})
	inner.Push("first")
	in, out := gitSource("inner", git.RepoURL("inner")), gitSource("outer", git.RepoURL("outer"))
	out.Uses, out.Include = []app.SourceID{in.ID}, []app.Include{{Source: in.ID, From: ".", To: "in"}}
	dir := t.TempDir()
	e, await := looking(t, dir, out)
	e.Start()
	await("outer", func(r app.SourceReport) bool { return r.Failure != nil && r.Failure.Reason == app.ReasonSourceNotFound })
	e.SetSource(in)
	await("outer", func(r app.SourceReport) bool { return r.Failure == nil && r.Revision.Commit == commit })
	if got := content(e, "outer", "own") + content(e, "outer", "in/a"); got != "11" {
		t.Errorf("got %q", got)
	}
	inner.Write(map[string]string{"a": "2"}).Push("second")
	e.Pushed(in.URL)
	await("outer", func(r app.SourceReport) bool { return r.Changed && r.Revision.Commit == commit })
	if got := content(e, "outer", "in/a"); got != "2" {
		t.Errorf("got %q", got)
	}
	// What both are fetched into is kept, and so is what they are composed to.
	e.prune(time.Now().Add(time.Hour))
	if n := repositories(t, dir); n != 3 {
		t.Errorf("%d repositories in use", n)
	}
	in.Generation, in.Uses, in.Include = 2, []app.SourceID{out.ID}, []app.Include{{Source: out.ID, From: ".", To: "out"}}
	e.SetSource(in)
	await("inner", func(r app.SourceReport) bool { return r.Failure != nil && r.Failure.Reason == app.ReasonCycle })
}

// The keys that count are those at the time of the look.
func TestKeysAreThoseOfNow(t *testing.T) {
	git := sandboxtest.Git(t)
	sandboxtest.NewRepo(t, git, "one").Write(map[string]string{"a": "1"}).Push("first")
	src := gitSource("one", git.RepoURL("one"))
	src.Verify = &app.Verification{Commit: true, Keys: map[string][]byte{"ada.sshpub": []byte("not a key")}}
	e := New(Options{Sources: source.Open(source.Options{Dir: t.TempDir()}), Log: slog.New(slog.DiscardHandler),
		Keys: func(_ context.Context, src app.Source) app.Source {
			src.Verify = &app.Verification{Commit: true, Err: errors.New("the Secret is gone")}
			return src
		}})
	e.SetSource(src)
	e.sources[src.ID].once()
	now, _ := e.current(src.ID)
	if now.failure == nil || !strings.Contains(now.failure.Error(), "the Secret is gone") {
		t.Errorf("got %v", now.failure)
	}
	if _, failure := e.at(t.Context(), src.ID, "HEAD"); failure == nil || !strings.Contains(failure.Error(), "the Secret is gone") {
		t.Errorf("at a revision: %v", failure)
	}
}

// A process that begins goes on with what the status tells of, while it may not
// or cannot look.
func TestRecordedRevision(t *testing.T) {
	git := sandboxtest.Git(t)
	repo := sandboxtest.NewRepo(t, git, "one").Write(map[string]string{"a": "1"})
	first := repo.Push("first")
	sandboxtest.NewRepo(t, git, "inner").Write(map[string]string{"a": "in"}).Push("first")
	repo.Write(map[string]string{"a": "2"}).Push("second")

	suspended, unsigned, composed := gitSource("suspended", git.RepoURL("one")), gitSource("unsigned", git.RepoURL("one")), gitSource("composed", git.RepoURL("one"))
	suspended.Suspend = true
	unsigned.Verify = &app.Verification{Commit: true}
	inner := gitSource("inner", git.RepoURL("inner"))
	composed.Suspend, composed.Uses = true, []app.SourceID{inner.ID}
	composed.Include = []app.Include{{Source: inner.ID, From: ".", To: "in"}}
	sources := []app.Source{suspended, unsigned, composed}
	for i := range sources {
		sources[i].Recorded = app.Revision{Commit: first, Ref: "main"}
	}
	e, _ := looking(t, t.TempDir(), append(sources, inner)...)
	e.Start()
	sandboxtest.Eventually(t, func(context.Context) error {
		for name, want := range map[string]string{"suspended": "1", "unsigned": "1", "composed": "1"} {
			if got := content(e, name, "a"); got != want {
				return fmt.Errorf("%s: %q", name, got)
			}
		}
		if got := content(e, "composed", "in/a"); got != "in" {
			return fmt.Errorf("composed: %q", got)
		}
		return nil
	})
	if now, _ := e.current(suspended.ID); now.revision.Ref != "main" || now.revision.Commit != first {
		t.Errorf("revision %+v", now.revision)
	}
	if now, _ := e.current(unsigned.ID); now.failure == nil || now.failure.Reason != app.ReasonVerifyKeys {
		t.Errorf("failure %v", now.failure)
	}
}
