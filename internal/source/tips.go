package source

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/source/objects"
)

// tips are the refs as last fetched, by full name. Whatever they reach is
// completely in the store. On disk they are Git's packed-refs, so that the
// repository can be looked at, and collected, with stock Git.
type tips map[string]plumbing.Hash

const (
	packedRefs = "packed-refs"
	// maxHaves bounds what a fetch tells the server, in commits.
	maxHaves = 256
	// maxTips bounds the refs that are kept.
	maxTips = 100_000
)

// isRoot reports whether a ref is one whose history is worth keeping.
func isRoot(name string) bool {
	return strings.HasPrefix(name, headPrefix) || strings.HasPrefix(name, tagPrefix)
}

// readTips reads the refs of a repository, leaving out those whose commit is
// not there. A missing or broken file costs a larger fetch, nothing else.
func readTips(dir string, objs *objects.Store) tips {
	t := tips{}
	text, err := os.ReadFile(filepath.Join(dir, packedRefs))
	if err != nil {
		return t
	}
	for line := range strings.Lines(string(text)) {
		id, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && len(id) == fullID && isHex(id) && objs.Has(plumbing.NewHash(id)) {
			t[name] = plumbing.NewHash(id)
		}
	}
	return t
}

func (t tips) write(dir string) error {
	var b strings.Builder
	b.WriteString("# pack-refs with: sorted \n")
	for _, name := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "%s %s\n", t[name], name)
	}
	return objects.WriteFile(filepath.Join(dir, packedRefs), []byte(b.String()))
}

func (t tips) clone() tips {
	if t == nil {
		return tips{}
	}
	return maps.Clone(t)
}

// update notes what a batch has fetched, and drops refs that are gone.
func (t tips) update(b *batch) {
	for name := range t {
		if _, ok := b.listing.Refs[name]; !ok && strings.HasPrefix(name, "refs/") && !strings.HasPrefix(name, keptPrefix) {
			delete(t, name)
		}
	}
	for id, name := range b.wants {
		if name == "" { // a commit that was asked for by id
			name = keptPrefix + id.String()
		}
		if len(t) < maxTips && !strings.ContainsAny(name, " \n\r\t") {
			t[name] = id
		}
	}
}

// keptPrefix names commits that no ref was found for.
const keptPrefix = "refs/plumb/commits/"

// haves chooses the commits to tell the server: the old heads of the refs
// that are wanted, with some of their history in case the server has dropped
// them after a forced push, and the heads of other refs.
func (t tips) haves(objs *objects.Store, wants map[plumbing.Hash]string) []plumbing.Hash {
	var haves []plumbing.Hash
	seen := map[plumbing.Hash]bool{}
	add := func(id plumbing.Hash) bool {
		if !seen[id] {
			seen[id] = true
			haves = append(haves, id)
		}
		return len(haves) < maxHaves
	}
	var old []plumbing.Hash
	for _, name := range wants {
		if id, ok := t[name]; ok {
			old = append(old, id)
			add(id)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if !add(t[name]) {
			break
		}
		if len(old) == 0 { // a new ref: it has most likely left one of these
			old = append(old, t[name])
		}
	}
	for _, id := range old[:min(len(old), 8)] {
		n := 0
		// A history that cannot be read only makes the fetch larger.
		_ = ancestors(context.Background(), objs, id, func(id plumbing.Hash) bool {
			n++
			return add(id) && n < 32
		})
	}
	return haves
}
