package source

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

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

// directories remembers where the entries of large directories begin: in one
// of thousands of apps, each lookup would read all names before the one it
// wants. The zero value is ready.
type directories struct {
	mu     sync.Mutex
	starts map[plumbing.Hash][]uint32 // nil where the entries are in no order
}

const (
	largeDirectory = 4 << 10 // bytes of the tree object
	maxDirectories = 32
)

// find is findEntry.
func (d *directories) find(id plumbing.Hash, o objects.Object, want string) (node, bool, error) {
	if len(o.Data) < largeDirectory || o.Type != plumbing.TreeObject {
		return findEntry(o, want)
	}
	starts := d.of(id, o.Data)
	if starts == nil {
		return findEntry(o, want)
	}
	// Whether it is a directory, which decides its place, is not known.
	for _, dir := range []bool{false, true} {
		i, found := slices.BinarySearchFunc(starts, []byte(want), func(start uint32, want []byte) int {
			e, _ := firstEntry(o.Data[start:]) // startsOf has read it
			return compareNames(e.name, e.dir(), want, dir)
		})
		if found {
			mode, name, id, _, err := nextEntry(o.Data[starts[i]:])
			if err != nil {
				return node{}, false, err
			}
			n, err := makeNode(mode, name, id)
			return n, err == nil, err
		}
	}
	return node{}, false, nil
}

// of gives where the entries of a large directory begin, nil if they are in no
// order.
func (d *directories) of(id plumbing.Hash, data []byte) []uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	starts, known := d.starts[id]
	if !known {
		starts = startsOf(data)
		if d.starts == nil || len(d.starts) >= maxDirectories {
			d.starts = map[plumbing.Hash][]uint32{}
		}
		d.starts[id] = starts
	}
	return starts
}

// sameStart is how many bytes, in whole entries, two tree objects begin with
// the same; id is the first one's. In small ones it does not look.
func (d *directories) sameStart(id plumbing.Hash, a, b []byte) int {
	if len(a) < largeDirectory || len(b) < largeDirectory {
		return 0
	}
	same, step := 0, 1<<10
	for same+step <= min(len(a), len(b)) && bytes.Equal(a[same:same+step], b[same:same+step]) {
		same += step
	}
	i, _ := slices.BinarySearch(d.of(id, a), uint32(same+1))
	if i == 0 {
		return 0 // they are in no order
	}
	return int(d.of(id, a)[i-1])
}

// startsOf gives where the entries of a tree object begin, nil if they cannot
// be read or are not in Git's order.
func startsOf(data []byte) []uint32 {
	var starts []uint32
	var last rawEntry
	for rest := data; len(rest) > 0; {
		e, err := firstEntry(rest)
		if err != nil || last.name != nil && last.compare(e) >= 0 {
			return nil
		}
		starts = append(starts, uint32(len(data)-len(rest)))
		last, rest = e, e.rest
	}
	return starts
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
