package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
)

// oneFile is an upstream that has one file.
type oneFile struct {
	content        string
	finds, brought int
	down           bool
}

func (u *oneFile) String() string { return "test://one" }

func (u *oneFile) revision() string {
	sum := sha256.Sum256([]byte(u.content))
	return hex.EncodeToString(sum[:])
}

func (u *oneFile) Find(context.Context) (app.Revision, error) {
	u.finds++
	if u.down {
		return app.Revision{}, app.Fail(app.StageFetch, app.ReasonUnreachable, "down")
	}
	return app.Revision{Commit: u.revision(), Ref: "latest", Metadata: map[string]string{"k": "v"}}, nil
}

func (u *oneFile) Bring(_ context.Context, rev app.Revision, into *objects.Build) error {
	u.brought++
	if rev.Commit != u.revision() {
		return errors.New("not there any more")
	}
	return into.File("dir/file", false, strings.NewReader(u.content))
}

func TestImport(t *testing.T) {
	dir := t.TempDir()
	s := Open(Options{Dir: dir})
	src := app.Source{URL: "oci://test/one", OCI: &app.OCIArtifact{}}
	up := &oneFile{content: "first"}
	resolve := func(src app.Source) (app.Revision, *Repo) {
		t.Helper()
		rev, repo, err := s.importFrom(t.Context(), up, src, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return rev, repo
	}
	first, repo := resolve(src)
	if got := content(t, repo, first); got != "first" || first.Ref != "latest" {
		t.Errorf("%q of %+v", got, first)
	}
	if resolve(src); up.brought != 1 || up.finds != 2 {
		t.Errorf("what is there was brought again: %+v", up)
	}
	up.content = "second"
	second, repo := resolve(src)
	if got := content(t, repo, second) + content(t, repo, first); got != "secondfirst" {
		t.Errorf("got %q", got)
	}
	before, _ := repo.Tree(first.ID())
	after, _ := repo.Tree(second.ID())
	if changes, err := after.Changes(before); err != nil || len(changes.entries) != 1 || changes.entries[0] != "dir/file" {
		t.Errorf("changes %+v, %v", changes, err)
	}

	// Another process finds what is there, by its id alone.
	s = Open(Options{Dir: dir})
	up.down = true
	pinned := src
	pinned.Ref.Commit = first.Commit
	again, repo := resolve(pinned)
	if got := content(t, repo, again); got != "first" || again.Ref != "latest" || again.Metadata["k"] != "v" {
		t.Errorf("%q of %+v", got, again)
	}
	if _, _, err := s.importFrom(t.Context(), up, src, time.Now()); app.AsFailure(err, "").Reason != app.ReasonUnreachable {
		t.Errorf("the upstream is down, and %v", err)
	}
	up.down = false

	// The directory is a cache.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Tree(second.ID()); app.AsFailure(err, "").Reason != app.ReasonSourceLost {
		t.Errorf("gone, and %v", err)
	}
	second, repo = resolve(src)
	if got := content(t, repo, second); got != "second" {
		t.Errorf("got %q", got)
	}
}

// What is imported does not grow without end.
func TestImportsBeginAnew(t *testing.T) {
	s := Open(Options{Dir: t.TempDir()})
	src := app.Source{URL: "oci://test/one", OCI: &app.OCIArtifact{}}
	up := &oneFile{}
	var kept *Tree
	for range maxImports + 2 {
		up.content += "x"
		rev, repo, err := s.importFrom(t.Context(), up, src, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if n := repo.importCount(); n > maxImports {
			t.Fatalf("%d imports are kept", n)
		}
		if kept == nil {
			if kept, err = repo.Tree(rev.ID()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if data, err := fs.ReadFile(kept, "dir/file"); err != nil || string(data) != "x" {
		t.Errorf("a tree that is being read is %q, %v", data, err)
	}
}
