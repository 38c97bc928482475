package source

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/source/objects"
)

var errMalformedTree = errors.New("malformed tree object")

// nextEntry reads the first entry of a tree object and gives what follows it.
func nextEntry(data []byte) (mode, name, id, rest []byte, err error) {
	mode, after, ok := bytes.Cut(data, []byte{' '})
	name, tail, ok2 := bytes.Cut(after, []byte{0})
	if !ok || !ok2 || len(tail) < len(plumbing.Hash{}) || len(mode) > 7 {
		return nil, nil, nil, nil, errMalformedTree
	}
	return mode, name, tail[:len(plumbing.Hash{})], tail[len(plumbing.Hash{}):], nil
}

func makeNode(mode, name, id []byte) (node, error) {
	n := node{name: string(name), id: plumbing.Hash(id)}
	switch string(mode) {
	case "40000", "040000":
		n.mode = fs.ModeDir | 0o755
	case "120000":
		n.mode = fs.ModeSymlink | 0o777
	case "160000": // a submodule: the id is another repository's
		n.mode, n.id = fs.ModeDir|0o755, plumbing.ZeroHash
	case "100755":
		n.mode = 0o755
	case "100644", "100664", "100600", "100640":
		n.mode = 0o644
	default:
		return n, fmt.Errorf("%w: entry %q has mode %s", errMalformedTree, name, mode)
	}
	return n, nil
}

// findEntry looks a name up in a tree object. It reads the object as it is:
// most lookups want one name of many.
func findEntry(o objects.Object, want string) (node, bool, error) {
	if o.Type != plumbing.TreeObject {
		return node{}, false, errMalformedTree
	}
	for data := o.Data; len(data) > 0; {
		mode, name, id, rest, err := nextEntry(data)
		if err != nil {
			return node{}, false, err
		}
		if string(name) == want {
			n, err := makeNode(mode, name, id)
			return n, err == nil, err
		}
		data = rest
	}
	return node{}, false, nil
}

// entriesOf reads all of a tree object, sorted by name. Names that could be
// mistaken for paths, which only a forged object holds, are refused.
func entriesOf(o objects.Object) ([]node, error) {
	if o.Type != plumbing.TreeObject {
		return nil, errMalformedTree
	}
	var nodes []node
	for data := o.Data; len(data) > 0; {
		mode, name, id, rest, err := nextEntry(data)
		if err != nil {
			return nil, err
		}
		if s := string(name); s == "" || s == "." || s == ".." || strings.Contains(s, "/") {
			return nil, fmt.Errorf("%w: entry is named %q", errMalformedTree, s)
		}
		n, err := makeNode(mode, name, id)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
		data = rest
	}
	// Git sorts directories as if their names ended in a slash.
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.name, b.name) })
	for i := 1; i < len(nodes); i++ {
		if nodes[i].name == nodes[i-1].name {
			return nil, fmt.Errorf("%w: %q stands in it twice", errMalformedTree, nodes[i].name)
		}
	}
	return nodes, nil
}
