package source

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"plumb.dev/plumb/internal/app"
)

// treeWith serves the given files as a tree.
func treeWith(t testing.TB, files map[string]string) *Tree {
	t.Helper()
	o := newOrigin(t)
	o.commit("files", files)
	o.push("main")
	return treeOf(t, newStore(t), o.source(app.GitRef{}))
}

func TestTreeIsAFileSystem(t *testing.T) {
	files := map[string]string{"a": "1", "d/b": "2", "d/e/f": "3", "d.x": "before d/", "empty": "", "exec.sh": "#!/bin/sh\n"}
	o := newOrigin(t)
	o.write(files)
	if err := os.Chmod(filepath.Join(o.work, "exec.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	o.commit("files", map[string]string{"link": "-> d/b", "d/up": "-> ../a", "dirlink": "-> d/e"})
	o.push("main")
	tree := treeOf(t, newStore(t), o.source(app.GitRef{}))
	if err := fstest.TestFS(tree, "a", "d/b", "d/e/f", "d.x", "empty", "exec.sh", "link", "d/up", "dirlink"); err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(Record(tree), "a", "d/b", "d/e/f"); err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(Exclude(Record(tree), nil), "a", "d/b", "d/e/f"); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if got, err := fs.ReadFile(tree, name); err != nil || string(got) != text {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for name, want := range map[string]fs.FileMode{"a": 0o644, "exec.sh": 0o755, "d": fs.ModeDir | 0o755, "link": 0o644, "dirlink": fs.ModeDir | 0o755} {
		if info, err := fs.Stat(tree, name); err != nil || info.Mode() != want || !info.ModTime().IsZero() {
			t.Errorf("%s: got %v, %v", name, info, err)
		}
	}
	for name, want := range map[string]string{"link": "2", "d/up": "1", "dirlink/f": "3"} {
		if got, err := fs.ReadFile(tree, name); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	if info, err := fs.Lstat(tree, "link"); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("got %v, %v", info, err)
	}
	if text, err := fs.ReadLink(tree, "link"); err != nil || text != "d/b" {
		t.Errorf("got %q, %v", text, err)
	}
	for _, name := range []string{"nope", "d/nope", "a/b", "nope/x", "dirlink/nope"} {
		if _, err := tree.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"/a", "../a", "a/", "./a", ""} {
		if _, err := tree.Open(name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestLinksStayInside(t *testing.T) {
	tree := treeWith(t, map[string]string{
		"a":            "inside",
		"d/e/f":        "deep",
		"absolute":     "-> /etc/passwd",
		"up":           "-> ../a",
		"d/up2":        "-> ../../a",
		"d/fine":       "-> ../d/../a",
		"loop1":        "-> loop2",
		"loop2":        "-> loop1",
		"self":         "-> self/x",
		"d/root":       "-> ..",
		"sly":          "-> d/root/../a", // d/root is the root; above it is nothing
		"through":      "-> d/root/a",
		"dangling":     "-> nowhere",
		"chain1":       "-> chain2",
		"chain2":       "-> d/e/../e/f",
		"escapingdir":  "-> ../..",
		"file-as-dir":  "-> a/../a",
		"d/e/absolute": "-> /",
	})
	for name, want := range map[string]string{"d/fine": "inside", "through": "inside", "chain1": "deep", "d/root/d/e/f": "deep"} {
		if got, err := fs.ReadFile(tree, name); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	for name, link := range map[string]string{
		"absolute": "absolute", "up": "up", "d/up2": "d/up2", "sly": "sly", "escapingdir/x": "escapingdir",
		"d/e/absolute": "d/e/absolute", "loop1": "loop", "self": "self",
	} {
		_, err := fs.ReadFile(tree, name)
		var bad *LinkError
		if !errors.As(err, &bad) || !strings.HasPrefix(bad.Link, link) || !strings.Contains(err.Error(), link) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := fs.Stat(tree, name); err == nil {
			t.Errorf("%s: stat works", name)
		}
	}
	for _, name := range []string{"dangling", "file-as-dir"} {
		if _, err := fs.ReadFile(tree, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if entries, err := fs.ReadDir(tree, "."); err != nil || len(entries) != 14 {
		t.Errorf("listing a directory with bad links: %d entries, %v", len(entries), err)
	}
}

func TestTreeBounds(t *testing.T) {
	o := newOrigin(t)
	deep := strings.Repeat("x/", 70) + "f"
	o.commit("files", map[string]string{"big": strings.Repeat("0123456789", 1000), deep: "1", strings.Repeat("y/", 20) + "f": "2"})
	o.push("main")
	s := Open(Options{Dir: t.TempDir(), MaxFile: 5000})
	tree := treeOf(t, s, o.source(app.GitRef{}))
	if _, err := tree.ReadFile("big"); err == nil || !strings.Contains(err.Error(), "too large") || !strings.Contains(err.Error(), "big") {
		t.Errorf("got %v", err)
	}
	if info, err := tree.Stat("big"); err != nil || info.Size() != 10000 {
		t.Errorf("got %v, %v", info, err)
	}
	if _, err := tree.ReadFile(deep); err == nil || !strings.Contains(err.Error(), "deeper") {
		t.Errorf("got %v", err)
	}
	if _, err := tree.ReadFile(strings.Repeat("y/", 20) + "f"); err != nil {
		t.Error(err)
	}
}

func TestSubmoduleIsAnEmptyDirectory(t *testing.T) {
	o := newOrigin(t)
	id := o.commit("first", map[string]string{"a": "1"})
	o.run("update-index", "--add", "--cacheinfo", "160000,"+id+",sub")
	o.run("commit", "--quiet", "--message", "submodule")
	o.push("main")
	tree := treeOf(t, newStore(t), o.source(app.GitRef{}))
	if entries, err := fs.ReadDir(tree, "sub"); err != nil || len(entries) != 0 {
		t.Errorf("got %v, %v", entries, err)
	}
	if _, err := tree.Open("sub/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := fstest.TestFS(tree, "a", "sub"); err != nil {
		t.Error(err)
	}
}

// names lists all files below the root.
func names(t *testing.T, fsys fs.FS) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestExclude(t *testing.T) {
	base := map[string]string{
		"a.yaml": "", "logo.png": "", "x.tar.gz": "", ".gitignore": "", ".sops.yaml": "", "deep/er/.sops.yaml": "",
		".github/w.yaml": "", ".gitlab-ci.yml": "", "apps/a.yaml": "", "apps/pic.jpg": "", "apps/test/t.yaml": "",
		"deploy/prod/p.yaml": "", "deploy/dev/d.yaml": "", "docs/readme.md": "",
	}
	text := func(s string) *string { return &s }
	for name, test := range map[string]struct {
		ignore *string
		files  map[string]string
		want   string
	}{
		"defaults": {nil, nil, "a.yaml apps/a.yaml apps/test/t.yaml deploy/dev/d.yaml deploy/prod/p.yaml docs/readme.md"},
		"replaced": {text("# a comment\n\n/docs/\n*.md\ntest/\n"), nil,
			".github/w.yaml .gitlab-ci.yml .sops.yaml a.yaml apps/a.yaml apps/pic.jpg deep/er/.sops.yaml deploy/dev/d.yaml deploy/prod/p.yaml logo.png x.tar.gz"},
		"only one directory": {text("/*\n!/deploy\n"), nil, "deploy/dev/d.yaml deploy/prod/p.yaml"},
		"only a nested one":  {text("/*\n!/deploy/prod\n"), nil, "deploy/prod/p.yaml"},
		"file in the root":   {nil, map[string]string{".sourceignore": "/apps/\n"}, ".github/w.yaml .gitlab-ci.yml .sops.yaml .sourceignore a.yaml deep/er/.sops.yaml deploy/dev/d.yaml deploy/prod/p.yaml docs/readme.md logo.png x.tar.gz"},
		"file below":         {nil, map[string]string{"apps/.sourceignore": "test/\r\n/a.yaml\n"}, "a.yaml apps/.sourceignore apps/pic.jpg deploy/dev/d.yaml deploy/prod/p.yaml docs/readme.md"},
		"text over file":     {text("!/apps/a.yaml\n"), map[string]string{".sourceignore": "*.yaml\n"}, ".gitlab-ci.yml .sourceignore apps/a.yaml apps/pic.jpg docs/readme.md logo.png x.tar.gz"},
		"empty text":         {text(""), nil, "a.yaml apps/a.yaml apps/test/t.yaml deploy/dev/d.yaml deploy/prod/p.yaml docs/readme.md"},
	} {
		t.Run(name, func(t *testing.T) {
			m := fstest.MapFS{}
			for _, files := range []map[string]string{base, test.files} {
				for name, text := range files {
					m[name] = &fstest.MapFile{Data: []byte(text)}
				}
			}
			x := Exclude(m, test.ignore)
			got := names(t, x)
			if want := strings.Fields(test.want); !slices.Equal(got, want) {
				t.Errorf("got  %v\nwant %v", got, want)
			}
			for name := range m { // what is not listed cannot be opened
				_, err := fs.ReadFile(x, name)
				_, statErr := fs.Stat(x, name)
				f, openErr := x.Open(name)
				if openErr == nil {
					f.Close()
				}
				listed := slices.Contains(got, name)
				for _, err := range []error{err, statErr, openErr} {
					if listed != (err == nil) || err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
		})
	}
}

func TestReadingAThousandBlobs(t *testing.T) {
	files := map[string]string{}
	for i := range 1000 {
		files[fmt.Sprintf("d%d/f%d.yaml", i%20, i)] = fmt.Sprintf("kind: ConfigMap\nmetadata: {name: c%d}\n%s", i, strings.Repeat("data: x\n", i%50))
	}
	tree := treeWith(t, files)
	for name, text := range files {
		if got, err := tree.ReadFile(name); err != nil || !bytes.Equal(got, []byte(text)) {
			t.Fatalf("%s: %v", name, err)
		}
	}
}
