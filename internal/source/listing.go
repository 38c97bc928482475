package source

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"

	"github.com/go-git/go-git/v5/plumbing"
)

// Entry is what stands in a directory of a Tree, links not followed.
type Entry struct {
	Name string
	Mode fs.FileMode
	// ID is the Git object: entries of equal ID and mode have the same content,
	// directories with all that is below them. It is zero for a submodule.
	ID plumbing.Hash
}

// Root is the object of the whole tree.
func (t *Tree) Root() plumbing.Hash { return t.root }

// List reads the directory that is the object id, sorted by name.
func (t *Tree) List(id plumbing.Hash) ([]Entry, error) {
	if id.IsZero() {
		return nil, nil
	}
	o, err := t.get(id, maxTree)
	if err != nil {
		return nil, err
	}
	nodes, err := entriesOf(o)
	if err != nil {
		return nil, fmt.Errorf("directory %s: %w", id, err)
	}
	entries := make([]Entry, len(nodes))
	for i, n := range nodes {
		entries[i] = Entry{n.name, n.mode, n.id}
	}
	return entries, nil
}

// Size is the length in bytes of the file that is the object id.
func (t *Tree) Size(id plumbing.Hash) (int64, error) {
	_, size, err := t.objs.Stat(id)
	if err != nil {
		return 0, t.repo.readFailure(err)
	}
	return size, nil
}

// Blob is the content of the file that is the object id, as large as may have
// been fetched. It must not be changed.
func (t *Tree) Blob(id plumbing.Hash) ([]byte, error) {
	o, err := t.blob(id, 0)
	return o.Data, err
}

// Filter tells which files of a tree a source shows. What Shown gives is one,
// unless it is the tree itself.
type Filter interface {
	// Hides reports whether a path is left out, a directory with all below it.
	Hides(name string, isDir bool) (bool, error)
	// Rules names what decides about the entries of a directory, besides the
	// directory itself and what is below it.
	Rules(dir string) (string, error)
}

// Hides implements Filter.
func (x *excluded) Hides(name string, isDir bool) (bool, error) {
	if below, ok := x.fsys.(Filter); ok {
		if hidden, err := below.Hides(name, isDir); err != nil || hidden {
			return hidden, err
		}
	}
	return x.hides(name, isDir)
}

// Rules implements Filter.
func (x *excluded) Rules(dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q\n", x.ignore.text)
	if below, ok := x.fsys.(Filter); ok {
		rules, err := below.Rules(dir)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%q\n", rules)
	}
	for at := dir; ; at = path.Dir(at) {
		r, err := x.file(at)
		if err != nil {
			return "", err
		}
		if len(r.patterns) > 0 {
			fmt.Fprintf(h, "%q %q\n", at, r.text)
		}
		if at == "." {
			return hex.EncodeToString(h.Sum(nil)[:16]), nil
		}
	}
}
