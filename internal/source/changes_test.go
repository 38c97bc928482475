package source

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
)

// TestChangesThroughLinks: links stay as they are, and what they lead to comes,
// goes and changes. Whatever does not hold any more must be touched.
func TestChangesThroughLinks(t *testing.T) {
	o := newOrigin(t)
	rnd := rand.New(rand.NewPCG(7, 8))
	links := map[string]string{"links/a": "../a", "links/up": "../a/b/..", "links/chain": "a/b", "links/file": "../b/c", "links/far": "../c/a/b/c", "links/self": "../links"}
	for name, to := range links {
		full := filepath.Join(o.work, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, full); err != nil {
			t.Fatal(err)
		}
	}
	place := func(first ...string) string {
		parts := []string{first[rnd.IntN(len(first))]}
		for rnd.IntN(3) > 0 {
			parts = append(parts, []string{"a", "b", "c"}[rnd.IntN(3)])
		}
		return path.Join(parts...)
	}
	var commits []string
	for i := range 30 {
		for range 1 + rnd.IntN(3) {
			name := filepath.Join(o.work, filepath.FromSlash(place("a", "b", "c")))
			os.RemoveAll(name)
			if rnd.IntN(3) == 0 {
				continue
			}
			for dir := filepath.Dir(name); len(dir) > len(o.work); dir = filepath.Dir(dir) {
				if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
					os.Remove(dir)
				}
			}
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte{byte('0' + rnd.IntN(4))}, []fs.FileMode{0o644, 0o755}[rnd.IntN(2)]); err != nil {
				t.Fatal(err)
			}
		}
		commits = append(commits, o.commit(fmt.Sprint(i), nil))
	}
	o.push("main")
	_, repo := resolve(t, newStore(t), o.source(app.GitRef{}))
	var trees []*Tree
	for _, c := range commits {
		tree, err := repo.Tree(c)
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, tree)
	}
	starts := slices.Concat([]string{"a", "b", "c"}, slices.Sorted(func(yield func(string) bool) {
		for name := range links {
			if !yield(name) {
				return
			}
		}
	}))
	broke, needless, spared := 0, 0, 0
	for range 400 {
		from := trees[rnd.IntN(len(trees))]
		rec := Record(from)
		var asked []question
		for range 1 + rnd.IntN(3) {
			q := question{[]string{"read", "list", "stat", "lstat", "readlink"}[rnd.IntN(5)], place(starts...)}
			q.answer(rec, from)
			asked = append(asked, q)
		}
		c := rec.Closure()
		var index Index[int]
		index.Put(1, c)
		for _, to := range trees {
			changes, err := to.Changes(from)
			if err != nil {
				t.Fatal(err)
			}
			_, touched := index.Touched(changes)[1]
			switch holds := c.Holds(to); {
			case !holds && !touched:
				t.Fatalf("%v: does not hold, and nothing touches it: %+v, %+v", asked, c, changes)
			case !holds:
				broke++
			case touched:
				needless++
			default:
				spared++
			}
		}
	}
	t.Logf("broke %d, touched needlessly %d, spared %d", broke, needless, spared)
	if broke < 1000 || spared < needless {
		t.Error("the trees are too alike or too different, or too much is touched")
	}
}

func TestChangesBeyondBoundsAreUncertain(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	s := newStore(t)
	src := o.source(app.GitRef{})
	before := treeOf(t, s, src)
	if ch, err := before.Changes(before); err != nil || len(ch.entries)+len(ch.lists) > 0 {
		t.Errorf("a tree differs from itself: %+v, %v", ch, err)
	}
	if err := os.Symlink("a", filepath.Join(o.work, "b")); err != nil {
		t.Fatal(err)
	}
	o.commit("link", nil)
	o.push("main")
	if _, err := treeOf(t, s, src).Changes(before); !errors.Is(err, ErrUncertain) {
		t.Errorf("a link that came: %v", err)
	}
}

// TestLargeDirectories: what is found in a directory by halving it is what is
// found by reading it.
func TestLargeDirectories(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	type entry struct {
		name string
		dir  bool
	}
	var entries []entry
	for _, name := range []string{"a", "a.b", "a-b", "a0"} { // whose order depends on what they are
		entries = append(entries, entry{name, name == "a"})
	}
	for i := range 400 {
		entries = append(entries, entry{fmt.Sprintf("app-%03d", i) + strings.Repeat("x", rnd.IntN(3)), rnd.IntN(2) == 0})
	}
	slices.SortFunc(entries, func(x, y entry) int { return compareNames([]byte(x.name), x.dir, []byte(y.name), y.dir) })
	var data []byte
	for _, e := range entries {
		mode := "100644"
		if e.dir {
			mode = "40000"
		}
		data = append(data, mode+" "+e.name+"\x00"...)
		id := plumbing.ComputeHash(plumbing.BlobObject, []byte(e.name))
		data = append(data, id[:]...)
	}
	var d directories
	for _, o := range []objects.Object{{Type: plumbing.TreeObject, Data: data}, {Type: plumbing.TreeObject, Data: append(slices.Clone(data), data...)}} {
		id := plumbing.ComputeHash(o.Type, o.Data)
		for _, name := range []string{"", "a", "a.", "a.b", "a/", "zzz", "app-000", "app-399"} {
			want, wantOK, _ := findEntry(o, name)
			if got, ok, err := d.find(id, o, name); err != nil || ok != wantOK || got != want {
				t.Errorf("%q: %+v, %v, %v; read it is %+v, %v", name, got, ok, err, want, wantOK)
			}
		}
		for _, e := range entries {
			want, _, _ := findEntry(o, e.name)
			if got, ok, err := d.find(id, o, e.name); err != nil || !ok || got != want {
				t.Errorf("%q: %+v, %v, %v; read it is %+v", e.name, got, ok, err, want)
			}
		}
	}
	// Of two that differ in one place, what is before it is the same.
	for _, at := range []int{0, 1, 200, len(entries) - 1} {
		other := slices.Clone(data)
		starts := startsOf(data)
		other[int(starts[at])+len(data[starts[at]:])-len(mustEntry(t, data[starts[at]:]).rest)-1]++ // its id
		id := plumbing.ComputeHash(plumbing.TreeObject, data)
		same := d.sameStart(id, data, other)
		if !slices.Contains(starts, uint32(same)) || same > int(starts[at]) || int(starts[at])-same > 2<<10 {
			t.Errorf("what differs in the entry at %d is the same up to %d", starts[at], same)
		}
		if same := d.sameStart(id, data, data); len(data)-same > 2<<10 {
			t.Errorf("the same one is the same up to %d", same)
		}
	}
	if starts := d.starts; len(starts) != 2 {
		t.Errorf("%d directories are remembered", len(starts))
	}
}

func mustEntry(t *testing.T, data []byte) rawEntry {
	t.Helper()
	e, err := firstEntry(data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
