package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"plumb.dev/plumb/internal/app"
)

// question is one thing to ask of a file system.
type question struct{ op, path string }

// answer is what a reader can tell apart, as text. Listings include the ids
// below them: a directory counts as a whole.
func (q question) answer(fsys fs.FS, ids *Tree) string {
	shown := func(v any, err error) string {
		if err != nil {
			var link *LinkError
			if errors.As(err, &link) {
				return link.Error()
			}
			return fmt.Sprint(errors.Is(err, fs.ErrNotExist), err)
		}
		return fmt.Sprint(v)
	}
	switch q.op {
	case "read":
		b, err := fs.ReadFile(fsys, q.path)
		return shown(string(b), err)
	case "list":
		entries, err := fs.ReadDir(fsys, q.path)
		if err != nil {
			return shown(nil, err)
		}
		n, err := ids.lookup(q.path, true)
		return shown(fmt.Sprint(len(entries), n.id), err)
	case "stat", "lstat":
		stat := fs.Stat
		if q.op == "lstat" {
			stat = fs.Lstat
		}
		info, err := stat(fsys, q.path)
		if err != nil {
			return shown(nil, err)
		}
		// The id of a file stands for its size.
		n, err := ids.lookup(q.path, q.op == "stat")
		if info.IsDir() {
			n.id = [20]byte{}
		}
		return shown(fmt.Sprint(info.Mode(), n.id), err)
	default:
		text, err := fs.ReadLink(fsys, q.path)
		return shown(text, err)
	}
}

// TestClosureHoldsExactly makes random trees and random readers, and compares
// what the closure says of every other tree with what reading it says.
func TestClosureHoldsExactly(t *testing.T) {
	o := newOrigin(t)
	rnd := rand.New(rand.NewPCG(5, 6))
	pieces := []string{"a", "b", "c"}
	place := func() string {
		p := pieces[rnd.IntN(3)]
		for rnd.IntN(3) > 0 {
			p = path.Join(p, pieces[rnd.IntN(3)])
		}
		return p
	}
	var commits []string
	for i := range 25 {
		for range 1 + rnd.IntN(3) {
			name := filepath.Join(o.work, filepath.FromSlash(place()))
			if rnd.IntN(4) == 0 {
				os.RemoveAll(name)
				continue
			}
			for dir := filepath.Dir(name); len(dir) > len(o.work); dir = filepath.Dir(dir) {
				if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
					os.Remove(dir)
				}
			}
			os.RemoveAll(name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			var err error
			switch rnd.IntN(5) {
			case 0:
				err = os.Symlink([]string{place(), "../" + place(), "/etc", "../../a"}[rnd.IntN(4)], name)
			case 1:
				err = os.WriteFile(name, []byte("script"), 0o755)
			default:
				err = os.WriteFile(name, []byte{byte('0' + rnd.IntN(4))}, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		commits = append(commits, o.commit(fmt.Sprint(i), nil))
	}
	o.push("main")
	s := newStore(t)
	_, repo := resolve(t, s, o.source(app.GitRef{}))
	var trees []*Tree
	for _, c := range commits {
		tree, err := repo.Tree(c)
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, tree)
	}
	held, broke, spared, uncertain := 0, 0, 0, 0
	for round := range 300 {
		from := trees[rnd.IntN(len(trees))]
		rec := Record(from)
		var asked []question
		var answers []string
		for range 1 + rnd.IntN(4) {
			q := question{[]string{"read", "list", "stat", "lstat", "readlink"}[rnd.IntN(5)], place()}
			asked, answers = append(asked, q), append(answers, q.answer(rec, from))
		}
		c := rec.Closure()
		if !c.Holds(from) {
			t.Fatalf("round %d: %v does not hold for its own tree", round, asked)
		}
		var again Closure
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &again); err != nil || again.Digest() != c.Digest() || !reflect.DeepEqual(again.Len(), c.Len()) {
			t.Fatalf("round %d: %s does not survive encoding: %v", round, text, err)
		}
		var index Index[string]
		index.Put("it", again)
		for _, to := range trees {
			want := true
			for i, q := range asked {
				want = want && q.answer(to, to) == answers[i]
			}
			got := again.Holds(to)
			// A path that is no directory was listed, or a file was asked for a
			// link: what stands there counts, though its content did not show.
			if got && !want {
				t.Fatalf("round %d: %v: holds, and reads differently: %s", round, asked, text)
			}
			fresh := Record(to)
			for _, q := range asked {
				q.answer(fresh, to)
			}
			elsewhere := func(known, now []string) bool { // links lead to the same by another way
				return slices.ContainsFunc(now, func(name string) bool { return !slices.Contains(known, name) })
			}
			if now := fresh.Closure(); !got && want && strict(asked, from, to) && !elsewhere(c.beyond, now.beyond) && !elsewhere(c.listed, now.listed) {
				t.Fatalf("round %d: %v: does not hold, and reads the same: %s", round, asked, text)
			}
			if got {
				held++
			} else {
				broke++
			}
			changes, err := to.Changes(from)
			if errors.Is(err, ErrUncertain) {
				uncertain++
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, touched := index.Touched(changes)["it"]; !touched && !got {
				t.Fatalf("round %d: %v: does not hold, and no change touches it: %s, %+v", round, asked, text, changes)
			} else if !touched {
				spared++
			}
		}
		index.Drop("it", again)
		if len(index.entries)+len(index.lists) > 0 {
			t.Fatalf("round %d: %+v is left of %s", round, index, text)
		}
	}
	if held < 500 || broke < 500 || spared < 200 || uncertain < 200 {
		t.Errorf("the trees are too alike or too different: held %d, broke %d, spared %d, uncertain %d", held, broke, spared, uncertain)
	}
	t.Logf("held %d, broke %d; changes: spared %d of those that held, uncertain %d", held, broke, spared, uncertain)
}

// strict reports whether all questions were of the kind of what they met in
// both trees; only then do equal answers have to mean equal facts.
func strict(asked []question, trees ...*Tree) bool {
	for _, q := range asked {
		for _, tree := range trees {
			n, err := tree.lookup(q.path, q.op != "lstat" && q.op != "readlink")
			if err != nil {
				continue
			}
			dir, link := n.mode.IsDir(), n.mode&fs.ModeSymlink != 0
			if q.op == "list" && !dir || q.op == "read" && dir || q.op == "readlink" && !link {
				return false
			}
			if q.op == "read" && n.mode.Perm() == 0o755 {
				return false // reading does not show the mode; the closure keeps it
			}
		}
	}
	return true
}

func TestClosureOfAnOverlay(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{
		"apps/web/overlays/prod/kustomization.yaml": "1", "apps/web/base/kustomization.yaml": "1", "apps/web/base/deploy.yaml": "1",
		"apps/web/overlays/dev/kustomization.yaml": "1", "apps/api/base/kustomization.yaml": "1",
	})
	o.push("main")
	s := newStore(t)
	src := o.source(app.GitRef{})
	x := Record(treeOf(t, s, src))
	fsys := Exclude(x, nil)
	for _, name := range []string{"apps/web/overlays/prod/kustomization.yaml", "apps/web/base/kustomization.yaml", "apps/web/base/deploy.yaml", "apps/web/base/missing.yaml"} {
		fs.ReadFile(fsys, name)
	}
	c := x.Closure()
	for _, test := range []struct {
		name, text string
		holds      bool
	}{
		{"apps/api/base/kustomization.yaml", "2", true},
		{"apps/web/overlays/dev/kustomization.yaml", "2", true},
		{"README.md", "2", true},
		{"apps/web/base/new.yaml", "2", true},
		{"apps/web/base/missing.yaml", "2", false},
		{"apps/web/base/deploy.yaml", "2", false},
		{"apps/web/.sourceignore", "*.png", false},
	} {
		before := o.run("rev-parse", "HEAD")
		o.commit("change", map[string]string{test.name: test.text})
		o.push("main")
		if got := c.Holds(treeOf(t, s, src)); got != test.holds {
			t.Errorf("after a change of %s: holds is %v", test.name, got)
		}
		o.run("reset", "--quiet", "--hard", before)
	}
	if d := c.Digest(); d != x.Closure().Digest() || d == (Closure{}).Digest() {
		t.Error("digests")
	}
}

// TestLinkLeadsElsewhere turns a link to a directory that holds the same. What
// was read through it holds in what was read, and yet another path decides from
// then on: a change there must be found, by what differs, too.
func TestLinkLeadsElsewhere(t *testing.T) {
	o := newOrigin(t)
	s := newStore(t)
	at := func(message string, files map[string]string) *Tree {
		t.Helper()
		o.commit(message, files)
		o.push("main")
		return treeOf(t, s, o.source(app.GitRef{}))
	}
	trees := []*Tree{at("first", map[string]string{"a/x": "same", "b/x": "same", "link": "-> a", "real/x": "same"})}
	trees = append(trees, at("the link turns", map[string]string{"link": "-> b"}), at("what it leads to changes", map[string]string{"b/x": "other"}))
	read := func(tree *Tree, name string) Closure {
		r := Record(tree)
		if _, err := r.ReadFile(name); err != nil {
			t.Fatal(err)
		}
		return r.Closure()
	}
	closure := read(trees[0], "link/x")
	for i, tree := range trees[1:] {
		if !closure.Holds(tree) {
			closure = read(tree, "link/x") // as whoever keeps it does
			continue
		}
		var index Index[string]
		index.Put("app", closure)
		if i+2 < len(trees) {
			changes, err := trees[i+2].Changes(tree)
			if err != nil {
				t.Fatal(err)
			}
			if _, found := index.Touched(changes)["app"]; !found {
				t.Error("the change is not found")
			}
		}
	}
	if got, err := trees[2].ReadFile("link/x"); err != nil || string(got) != "other" {
		t.Fatal(string(got), err)
	}

	// A directory that becomes a link to one that holds the same.
	closure = read(trees[2], "real/x")
	o.run("rm", "-q", "-r", "real")
	if closure.Holds(at("a link in place of a directory", map[string]string{"real": "-> a"})) {
		t.Error("it is read by another way, which nobody would know")
	}
}
