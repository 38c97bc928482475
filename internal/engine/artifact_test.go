package engine

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/source"
	"plumb.dev/plumb/internal/source/archive"
)

// A replica that only follows a source makes the file that the other one tells
// of. A status that cannot be written is written later.
func TestReplicasMakeTheSameArtifact(t *testing.T) {
	git := sandboxtest.Git(t)
	repo := sandboxtest.NewRepo(t, git, "repo").Write(map[string]string{"app/a.yaml": "a", "logo.png": "b"})
	repo.Push("first")
	src := app.Source{ID: app.SourceID{Kind: "GitRepository", Namespace: "team", Name: "repo"}, URL: repo.URL, UseIgnore: true, Interval: time.Hour}
	var mu sync.Mutex
	var told []app.SourceReport
	refuse := true
	published := func(_ context.Context, r app.SourceReport) error {
		mu.Lock()
		defer mu.Unlock()
		if refuse {
			refuse = false
			return errors.New("the API server is away")
		}
		told = append(told, r)
		return nil
	}
	replica := func(followed bool) *Engine {
		src := src
		src.Followed = followed
		e := New(Options{
			Sources:       source.Open(source.Options{Dir: t.TempDir()}),
			Archives:      archive.Open(archive.Options{Dir: t.TempDir(), Address: "http://plumb.example."}),
			PublishSource: published, Log: slog.New(slog.DiscardHandler)})
		e.SetSource(src)
		running(t, e)
		return e
	}
	replica(false)
	other := replica(true)
	sandboxtest.Eventually(t, func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if now, _ := other.current(src.ID); now.repo == nil || len(told) == 0 {
			return os.ErrNotExist
		}
		return nil
	})
	mu.Lock()
	report := told[0]
	mu.Unlock()
	if report.Failure != nil || report.Artifact == nil {
		t.Fatalf("told %+v", report)
	}
	f, a, err := other.Artifact(t.Context(), src.ID, archive.FileName(report.Revision))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if data, err := io.ReadAll(f); err != nil || a != *report.Artifact || int64(len(data)) != a.Size {
		t.Errorf("%d bytes of %+v, not %+v: %v", len(data), a, report.Artifact, err)
	}
	for _, file := range []string{"0123456789012345678901234567890123456789.tar.gz", "x", ""} {
		if _, _, err := other.Artifact(t.Context(), src.ID, file); !errors.Is(err, ErrNoArtifact) {
			t.Errorf("%q: %v", file, err)
		}
	}
	if _, _, err := other.Artifact(t.Context(), app.SourceID{Kind: "GitRepository", Name: "none"}, archive.LatestName); !errors.Is(err, ErrNoArtifact) {
		t.Errorf("a source that is none: %v", err)
	}
}
