package source

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh/knownhosts"

	"plumb.dev/plumb/internal/app"
)

var ada = Author{"Ada", "ada@example.org"}

func always(c Change) func(*Tree) (Change, error) {
	return func(*Tree) (Change, error) { return c, nil }
}

// What is committed is what stock git makes of the same files: the trees have
// the same ids.
func TestCommit(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{
		"a/x": "1", "a/y/z": "2", "a-b": "3", "a.b": "4", "deep/er/f": "5", "link": "-> a/x", "go/one": "6", "run.sh": "7",
	})
	o.run("update-index", "--chmod=+x", "run.sh")
	first := o.commit("executable", nil)
	o.push("main")
	s := newStore(t)
	src := o.source(app.GitRef{Branch: "main"})
	change := Change{
		Files:   map[string][]byte{"a/x": []byte("new"), "a/new/dir/f": []byte("f"), "run.sh": []byte("8"), "b": []byte("b")},
		Remove:  []string{"deep/er/f", "go", "not/there"},
		Message: "by Plumb\n\nwith a body\n",
	}
	rev, made, err := s.Commit(t.Context(), src, ada, always(change))
	if err != nil || !made || rev.Subject != "by Plumb" || rev.Ref != "main" {
		t.Fatalf("got %+v, %v, %v", rev, made, err)
	}
	o.write(map[string]string{"a/x": "new", "a/new/dir/f": "f", "run.sh": "8", "b": "b"})
	o.run("rm", "-r", "-q", "deep", "go")
	o.run("add", "--all")
	want := o.run("write-tree")
	if got := runGit(t, o.bare, "rev-parse", rev.Commit+"^{tree}"); got != want {
		t.Errorf("the tree is %s, git makes %s of it:\n%s", got, want, runGit(t, o.bare, "ls-tree", "-r", rev.Commit))
	}
	if got := runGit(t, o.bare, "rev-parse", "main", rev.Commit+"^"); got != rev.Commit+"\n"+first {
		t.Errorf("main and the parent are %s", got)
	}
	if got := runGit(t, o.bare, "log", "-1", "--format=%an <%ae> %cn %B", "main"); got != "Ada <ada@example.org> Ada by Plumb\n\nwith a body" {
		t.Errorf("the commit says %q", got)
	}
	runGit(t, o.bare, "fsck", "--strict")

	// What is there already makes no commit.
	again, made, err := s.Commit(t.Context(), src, ada, always(change))
	if err != nil || made || again.Commit != rev.Commit {
		t.Errorf("the second time: %+v, %v, %v", again, made, err)
	}
	for _, bad := range []string{"../x", "/x", "a//b", "a/../b", ".git/config", "a/.GIT/x", "b/below-a-file", ""} {
		if _, made, err := s.Commit(t.Context(), src, ada, always(Change{Files: map[string][]byte{bad: nil}})); err == nil || made {
			t.Errorf("%q was committed", bad)
		}
	}
}

// The first commit of a repository makes the branch.
func TestCommitToEmptyRepository(t *testing.T) {
	o := newOrigin(t)
	src := o.source(app.GitRef{Branch: "main"})
	rev, made, err := newStore(t).Commit(t.Context(), src, ada, func(tree *Tree) (Change, error) {
		if tree != nil {
			t.Error("there are files in an empty repository")
		}
		return Change{Files: map[string][]byte{"clusters/a/f": []byte("f")}, Message: "first"}, nil
	})
	if err != nil || !made {
		t.Fatal(made, err)
	}
	if got := runGit(t, o.bare, "ls-tree", "-r", "--name-only", "main"); got != "clusters/a/f" {
		t.Errorf("got %q", got)
	}
	if got := runGit(t, o.bare, "rev-list", "main"); got != rev.Commit {
		t.Errorf("got %q", got)
	}
	_, _, err = newStore(t).Commit(t.Context(), o.source(app.GitRef{Branch: "other"}), ada, always(Change{}))
	wantFailure(t, err, app.ReasonRefNotFound)
}

// Many who push at once all get through, and none loses what another did.
func TestCommitsAtOnce(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	src := o.source(app.GitRef{Branch: "main"})
	const writers = 5
	var all sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		s := newStore(t)
		all.Go(func() {
			_, _, errs[i] = s.Commit(t.Context(), src, ada, always(Change{Files: map[string][]byte{fmt.Sprintf("f%d", i): []byte("f")}, Message: "m"}))
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if got := runGit(t, o.bare, "ls-tree", "--name-only", "main"); got != "a\nf0\nf1\nf2\nf3\nf4" {
		t.Errorf("got %q", got)
	}
}

// A server that takes no push is quoted, and not asked again.
func TestCommitRefused(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	hook := filepath.Join(o.bare, "hooks", "update")
	if err := os.MkdirAll(filepath.Dir(hook), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, _, err := newStore(t).Commit(t.Context(), o.source(app.GitRef{Branch: "main"}), ada, always(Change{Files: map[string][]byte{"b": nil}}))
	if f := wantFailure(t, err, app.ReasonForbidden); !strings.Contains(f.Error(), "hook declined") || f.Hint == "" {
		t.Errorf("got %v (%s)", f, f.Hint)
	}
	src := app.Source{URL: o.bare, Ref: app.GitRef{Branch: "main"}}
	_, _, err = Open(Options{Dir: t.TempDir(), Local: true}).Commit(t.Context(), src, ada, always(Change{Files: map[string][]byte{"b": nil}}))
	wantFailure(t, err, app.ReasonUnsupported)
}

func TestCommitOverSSH(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	signer, key := newKey(t)
	server := startSSH(t, path.Dir(o.bare), signer.PublicKey())
	known := []byte(knownhosts.Line([]string{knownhosts.Normalize(server.addr)}, server.hostKey.PublicKey()) + "\n")
	src := app.Source{URL: "ssh://git@" + server.addr + "/repo.git", Ref: app.GitRef{Branch: "main"}, Auth: app.Credentials{SSHKey: key, KnownHosts: known}}
	rev, made, err := newStore(t).Commit(t.Context(), src, ada, always(Change{Files: map[string][]byte{"b": []byte("2")}, Message: "m"}))
	if err != nil || !made {
		t.Fatal(made, err)
	}
	if got := runGit(t, o.bare, "rev-parse", "main"); got != rev.Commit {
		t.Errorf("main is %s, want %s", got, rev.Commit)
	}
}
