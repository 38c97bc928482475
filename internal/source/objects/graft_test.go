package objects

import (
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// TestGraft puts trees of another store together, and has stock Git read what
// came of it.
func TestGraft(t *testing.T) {
	open := func() *Store {
		s, err := Open(t.TempDir(), NewCache(0), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	from, to := open(), open()
	tree := func(files fstest.MapFS) plumbing.Hash {
		b, err := from.Build()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.Files(t.Context(), ".", files); err != nil {
			t.Fatal(err)
		}
		id, err := b.tree(b.root)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Commit(t.Context(), "tree", time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		return id
	}
	main := tree(fstest.MapFS{"a/b/one": {Data: []byte("1")}, "a/b.c": {Data: []byte("2")}, "a/run": {Data: []byte("3"), Mode: 0o755}})
	lib := tree(fstest.MapFS{"deep/lib": {Data: []byte("lib")}})
	graft := func(extra string) (string, uint32) {
		b, err := to.Build()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.Graft(t.Context(), ".", from, main); err != nil {
			t.Fatal(err)
		}
		if err := b.Graft(t.Context(), "a/b/sub", from, lib); err != nil {
			t.Fatal(err)
		}
		if err := b.File("a/b/sub/deep/more", false, strings.NewReader(extra)); err != nil {
			t.Fatal(err)
		}
		b.Remove("a/run")
		for at, want := range map[string]bool{"a/b/one": true, "a/b/sub/deep/lib": true, "a/run": false, "a/b/one/x": false, "z": false} {
			if exists, submodule, err := b.At(at); err != nil || exists != want || submodule {
				t.Errorf("%s: exists %v, submodule %v, %v", at, exists, submodule, err)
			}
		}
		id, err := b.Commit(t.Context(), "grafted", time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		return id.String(), b.count
	}
	first, _ := graft("x")
	second, written := graft("y")
	// One file, the five directories above it, and the commit.
	if written > 7 {
		t.Errorf("%d objects were written for one that changed", written)
	}
	git := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", to.root}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("fsck", "--full", "--no-dangling")
	if got := git("ls-tree", "-r", "--name-only", first); got != "a/b.c\na/b/one\na/b/sub/deep/lib\na/b/sub/deep/more" {
		t.Errorf("it has\n%s", got)
	}
	if got := git("diff", "--name-only", first, second); got != "a/b/sub/deep/more" {
		t.Errorf("what differs is\n%s", got)
	}
}
