package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"plumb.dev/plumb/internal/app"
)

// Closure is what was read from a tree: for each path that was asked for, what
// stood there. Two trees for which it holds give the same answers to the same
// questions. The zero Closure is that of reading nothing; it always holds.
type Closure struct {
	// followed has the paths whose links were followed, real those that were
	// looked at themselves (Lstat, ReadLink).
	followed, real map[string]fact
	// beyond are real paths that decide an answer besides the path that was
	// asked for, because a link led there; those in listed with all below.
	beyond, listed []string
}

// fact is what stands at a path, as a short text:
//
//	f644 <blob id>   a file (f755: executable; l: a link that was not followed)
//	t <tree id>      a directory that was listed
//	d                a directory that was only found to exist
//	-                nothing
//	e <digest>       a link that may not be followed, or another fault of the tree
type fact string

const (
	factDir    fact = "d"
	factAbsent fact = "-"
)

// factAt says what stands at a path. listed tells whether the content of a
// directory counts. It also gives the real paths that were walked, if a link
// was followed. The error is one of the cache, not of the tree.
func (t *Tree) factAt(name string, follow, listed bool) (fact, []string, error) {
	var trail trail
	n, err := t.walk(name, follow, &trail)
	f, err := factOf(n, listed, err)
	if !trail.linked {
		trail.real = nil
	}
	return f, trail.real, err
}

func factOf(n node, listed bool, err error) (fact, error) {
	var f *app.Failure
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return factAbsent, nil
	case errors.As(err, &f):
		return "", err
	case err != nil:
		sum := sha256.Sum256([]byte(err.Error()))
		return fact("e " + hex.EncodeToString(sum[:8])), nil
	}
	return n.fact(listed), nil
}

func (n node) fact(listed bool) fact {
	switch {
	case n.mode.IsDir() && listed:
		return fact("t " + n.id.String())
	case n.mode.IsDir():
		return factDir
	case n.mode&fs.ModeSymlink != 0:
		return fact("l " + n.id.String())
	}
	return fact(fmt.Sprintf("f%o %s", n.mode.Perm(), n.id))
}

// places gives the real paths that decide the answers: those of which it
// matters what stands there, and those of directories with all that is below.
// A path may come twice.
func (c Closure) places(entry, list func(name string)) {
	for _, facts := range []map[string]fact{c.followed, c.real} {
		for name, f := range facts {
			switch {
			case strings.HasPrefix(string(f), "t "):
				list(name)
			case strings.HasPrefix(string(f), "e "):
				list(".") // a fault may be anywhere on the way
			default:
				entry(name)
			}
		}
	}
	for _, name := range c.beyond {
		entry(name)
	}
	for _, name := range c.listed {
		list(name)
	}
}

// Len is the number of recorded answers.
func (c Closure) Len() int { return len(c.followed) + len(c.real) }

// Holds reports whether reading in tree what was read for c gives the same,
// and nothing else decides that it does: where a link leads to the same by
// another way, c does not tell who depends on that way. A tree that cannot be
// read (a cache that was cleaned away) does not hold.
func (c Closure) Holds(tree *Tree) bool {
	same := func(facts map[string]fact, follow bool) bool {
		for name, want := range facts {
			got, walked, err := tree.factAt(name, follow, strings.HasPrefix(string(want), "t "))
			if err != nil || got != want || !c.covers(walked, want) {
				return false
			}
		}
		return true
	}
	return same(c.followed, true) && same(c.real, false)
}

// covers reports whether all of the real paths by which an answer was found,
// the last of which is where it stands, are known to decide it.
func (c Closure) covers(walked []string, answer fact) bool {
	for i, name := range walked {
		decisive := c.beyond
		if i == len(walked)-1 && strings.HasPrefix(string(answer), "t ") {
			decisive = c.listed
		}
		if _, known := slices.BinarySearch(decisive, name); !known {
			return false
		}
	}
	return true
}

// Digest is equal for closures with equal content, in every process.
func (c Closure) Digest() string {
	h := sha256.New()
	for _, facts := range []map[string]fact{c.followed, c.real} {
		fmt.Fprintf(h, "%d\n", len(facts))
		for _, name := range slices.Sorted(maps.Keys(facts)) {
			fmt.Fprintf(h, "%q %s\n", name, facts[name])
		}
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// closureJSON is the encoded form, version 1.
type closureJSON struct {
	Version  int             `json:"v"`
	Followed map[string]fact `json:"paths,omitempty"`
	Real     map[string]fact `json:"links,omitempty"`
	Beyond   []string        `json:"beyond,omitempty"`
	Listed   []string        `json:"listed,omitempty"`
}

// MarshalJSON implements json.Marshaler; equal closures give equal text.
func (c Closure) MarshalJSON() ([]byte, error) {
	return json.Marshal(closureJSON{1, c.followed, c.real, c.beyond, c.listed})
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Closure) UnmarshalJSON(data []byte) error {
	var in closureJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if in.Version != 1 {
		return fmt.Errorf("closure of version %d is not known", in.Version)
	}
	c.followed, c.real, c.beyond, c.listed = in.Followed, in.Real, in.Beyond, in.Listed
	return nil
}
