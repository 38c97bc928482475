package objects

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// TestBuild has stock Git read what was built.
func TestBuild(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, NewCache(0), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	build := func(extra string) string {
		b, err := s.Build()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		files := fstest.MapFS{
			"a.yaml":       {Data: []byte("kind: A\n"), Mode: 0o644},
			"a/b/run.sh":   {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
			"a.b/same":     {Data: []byte("kind: A\n"), Mode: 0o644},
			"empty":        {Mode: 0o644},
			"gone/away":    {Data: []byte("x"), Mode: 0o644},
			"large":        {Data: []byte(strings.Repeat("0123456789", 10_000)), Mode: 0o644},
			"link/to/this": {Data: []byte("replaced"), Mode: 0o644},
		}
		if err := b.Files(t.Context(), "top", files); err != nil {
			t.Fatal(err)
		}
		if err := b.Link("top/link/to/this", "../../a.yaml"); err != nil {
			t.Fatal(err)
		}
		if err := b.File("extra", false, strings.NewReader(extra)); err != nil {
			t.Fatal(err)
		}
		b.Remove("top/gone")
		id, err := b.Commit(context.Background(), "first\n\nmore", time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		return id.String()
	}
	first := build("1")
	if again := build("1"); again != first {
		t.Errorf("the same files gave %s and %s", first, again)
	}
	if other := build("2"); other == first {
		t.Error("other files gave the same commit")
	}
	git := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	git("fsck", "--strict", "--no-dangling", first)
	want := `100644 extra
100644 top/a.b/same
100644 top/a.yaml
100755 top/a/b/run.sh
100644 top/empty
100644 top/large
120000 top/link/to/this
`
	if got := git("ls-tree", "-r", "--format=%(objectmode) %(path)", first); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := git("cat-file", "-p", first+":top/link/to/this"); got != "../../a.yaml" {
		t.Errorf("the link leads to %q", got)
	}
}

func TestBuildRefuses(t *testing.T) {
	s, err := Open(t.TempDir(), NewCache(0), Limits{Object: 100, Pack: 150})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	b, err := s.Build()
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, name := range []string{"", ".", "..", "/a", "a/../b", "a//b", "a\x00b", strings.Repeat("a/", 70) + "b"} {
		if err := b.File(name, false, strings.NewReader("x")); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if err := b.File("large", false, strings.NewReader(strings.Repeat("x", 101))); err == nil {
		t.Error("a file beyond the limit was taken")
	}
	if err := b.File("fits", false, strings.NewReader(strings.Repeat("x", 100))); err != nil {
		t.Error(err)
	}
	if err := b.File("no more", false, strings.NewReader(strings.Repeat("x", 100))); err == nil {
		t.Error("more than all files together may have was taken")
	}
}
