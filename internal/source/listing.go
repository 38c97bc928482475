package source

import (
	"fmt"
	"io/fs"

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
