package source

import (
	"bytes"
	"errors"
	"fmt"
	"path"

	"github.com/go-git/go-git/v5/plumbing"
)

// Changes tells where two trees differ.
type Changes struct {
	// entries are the paths where another thing stands than before: another
	// file, nothing, or something where nothing was. What is below a directory
	// that came or went is among them.
	entries []string
	// lists are the directories of both whose content is another, below them
	// included.
	lists []string
}

// ErrUncertain is that of trees whose difference is not told path by path: a
// symbolic link is part of it, so that paths lead elsewhere, or it is large.
var ErrUncertain = errors.New("the difference of the trees is not told by paths")

// maxChanges bounds what is told of a difference. Beyond it is cheaper to look
// at everything.
const maxChanges = 50_000

// Changes tells where t differs from the tree before it. It reads what
// differs and the directories above, nothing else.
func (t *Tree) Changes(before *Tree) (Changes, error) {
	w := differ{from: before, to: t}
	err := w.dir(".", before.root, t.root, 0)
	return w.found, err
}

type differ struct {
	from, to *Tree
	found    Changes
}

// dir compares two directories; a zero id is one that does not exist.
func (w *differ) dir(at string, from, to plumbing.Hash, depth int) error {
	if from == to {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("%w: %s is deep", ErrUncertain, at)
	}
	if !from.IsZero() && !to.IsZero() {
		w.found.lists = append(w.found.lists, at)
	}
	old, err := w.from.entries(from)
	if err != nil {
		return err
	}
	now, err := w.to.entries(to)
	if err != nil {
		return err
	}
	same := w.from.repo.dirs.sameStart(from, old, now)
	old, now = old[same:], now[same:]
	for len(old) > 0 || len(now) > 0 {
		if len(old) == len(now) && bytes.Equal(old, now) {
			return nil
		}
		var a, b rawEntry
		if a, err = firstEntry(old); err != nil {
			return err
		}
		if b, err = firstEntry(now); err != nil {
			return err
		}
		order := a.compare(b)
		if order == 0 && bytes.Equal(a.id, b.id) && bytes.Equal(a.mode, b.mode) {
			old, now = a.rest, b.rest
			continue
		}
		if order <= 0 {
			old = a.rest
		} else {
			a = rawEntry{}
		}
		if order >= 0 {
			now = b.rest
		} else {
			b = rawEntry{}
		}
		if err := w.entry(at, a, b, depth); err != nil {
			return err
		}
	}
	return nil
}

// entry takes in two entries of one name that differ; one may be missing.
func (w *differ) entry(dir string, a, b rawEntry, depth int) error {
	name := path.Join(dir, string(b.name))
	if b.name == nil {
		name = path.Join(dir, string(a.name))
	}
	if len(w.found.entries)+len(w.found.lists) >= maxChanges {
		return fmt.Errorf("%w: it is large", ErrUncertain)
	}
	if a.link() || b.link() {
		return fmt.Errorf("%w: %s is a symbolic link", ErrUncertain, name)
	}
	if !a.dir() || !b.dir() {
		w.found.entries = append(w.found.entries, name)
	}
	return w.dir(name, a.below(), b.below(), depth+1)
}

// entries is the raw content of a tree object, nothing for a zero id.
func (t *Tree) entries(id plumbing.Hash) ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	o, err := t.get(id, maxTree)
	if err == nil && o.Type != plumbing.TreeObject {
		err = errMalformedTree
	}
	return o.Data, err
}

// rawEntry is an entry of a tree object, unread; the zero one stands after all.
type rawEntry struct{ mode, name, id, rest []byte }

func firstEntry(data []byte) (e rawEntry, err error) {
	if len(data) > 0 {
		e.mode, e.name, e.id, e.rest, err = nextEntry(data)
	}
	return e, err
}

// compare orders entries as Git does: directories as if their names ended in a
// slash. Of a forged object in another order, more looks different than is.
func (e rawEntry) compare(o rawEntry) int {
	switch {
	case e.name == nil && o.name == nil:
		return 0
	case e.name == nil:
		return 1
	case o.name == nil:
		return -1
	}
	return compareNames(e.name, e.dir(), o.name, o.dir())
}

func compareNames(a []byte, aDir bool, b []byte, bDir bool) int {
	n := min(len(a), len(b))
	if order := bytes.Compare(a[:n], b[:n]); order != 0 {
		return order
	}
	next := func(name []byte, dir bool) int {
		switch {
		case len(name) > n:
			return int(name[n])
		case dir:
			return '/'
		}
		return 0
	}
	if order := next(a, aDir) - next(b, bDir); order != 0 {
		return order
	}
	return len(a) - len(b)
}

// dir leaves out submodules: what is in them is another repository's.
func (e rawEntry) dir() bool { return string(e.mode) == "40000" || string(e.mode) == "040000" }

func (e rawEntry) link() bool { return string(e.mode) == "120000" }

func (e rawEntry) below() plumbing.Hash {
	if !e.dir() {
		return plumbing.ZeroHash
	}
	return plumbing.Hash(e.id)
}

// Index finds, among many closures, those that a difference of trees touches:
// in a time that depends on the difference, not on how many there are. It is
// not safe for concurrent use.
type Index[K comparable] struct {
	entries, lists map[string][]K
}

// Put adds the closure of k, which has none in it.
func (x *Index[K]) Put(k K, c Closure) {
	if x.entries == nil {
		x.entries, x.lists = map[string][]K{}, map[string][]K{}
	}
	add := func(to map[string][]K) func(string) {
		return func(name string) { to[name] = append(to[name], k) }
	}
	c.places(add(x.entries), add(x.lists))
}

// Drop takes the closure out with which k was put.
func (x *Index[K]) Drop(k K, c Closure) {
	drop := func(from map[string][]K) func(string) {
		return func(name string) {
			all := from[name]
			for i := range all {
				if all[i] != k {
					continue
				}
				last := len(all) - 1
				all[i] = all[last]
				clear(all[last:])
				if last == 0 {
					delete(from, name)
				} else {
					from[name] = all[:last]
				}
				return
			}
		}
	}
	c.places(drop(x.entries), drop(x.lists))
}

// Touched gives those whose closures may not hold any more after the changes:
// all for which it does not, and few others.
func (x *Index[K]) Touched(ch Changes) map[K]struct{} {
	out := map[K]struct{}{}
	for _, name := range ch.entries {
		for _, k := range x.entries[name] {
			out[k] = struct{}{}
		}
		for _, k := range x.lists[name] {
			out[k] = struct{}{}
		}
	}
	for _, name := range ch.lists {
		for _, k := range x.lists[name] {
			out[k] = struct{}{}
		}
	}
	return out
}
