package source

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Recorder is a Tree that notes what is read from it. It may be used at once
// by many.
type Recorder struct {
	tree *Tree

	mu       sync.Mutex
	followed map[string]fact
	real     map[string]fact
	beyond   map[string]bool // see Closure; true for those in listed
}

// Record wraps a tree.
func Record(tree *Tree) *Recorder {
	return &Recorder{tree: tree, followed: map[string]fact{}, real: map[string]fact{}, beyond: map[string]bool{}}
}

// Closure gives what has been read so far.
func (r *Recorder) Closure() Closure {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := Closure{followed: maps.Clone(r.followed), real: maps.Clone(r.real)}
	for _, name := range slices.Sorted(maps.Keys(r.beyond)) {
		c.beyond = append(c.beyond, name)
		if r.beyond[name] {
			c.listed = append(c.listed, name)
		}
	}
	return c
}

// note records the answer to a question. Faults of the cache are not answers.
func (r *Recorder) note(name string, follow, listed bool) {
	if !fs.ValidPath(name) {
		return // the same for every tree
	}
	f, walked, err := r.tree.factAt(name, follow, listed)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, real := range walked {
		last := i == len(walked)-1
		r.beyond[real] = r.beyond[real] || last && strings.HasPrefix(string(f), "t ")
	}
	facts := r.followed
	if !follow {
		facts = r.real
	}
	if strings.HasPrefix(string(facts[name]), "t ") {
		return // says more than "d"
	}
	facts[name] = f
}

// Open implements fs.FS. An opened directory counts as listed.
func (r *Recorder) Open(name string) (fs.File, error) {
	r.note(name, true, true)
	return r.tree.Open(name)
}

// ReadFile implements fs.ReadFileFS.
func (r *Recorder) ReadFile(name string) ([]byte, error) {
	r.note(name, true, false)
	return r.tree.ReadFile(name)
}

// ReadDir implements fs.ReadDirFS. The id of the directory covers what Info of
// its entries tells.
func (r *Recorder) ReadDir(name string) ([]fs.DirEntry, error) {
	r.note(name, true, true)
	return r.tree.ReadDir(name)
}

// Stat implements fs.StatFS.
func (r *Recorder) Stat(name string) (fs.FileInfo, error) {
	r.note(name, true, false)
	return r.tree.Stat(name)
}

// Lstat implements fs.ReadLinkFS.
func (r *Recorder) Lstat(name string) (fs.FileInfo, error) {
	r.note(name, false, false)
	return r.tree.Lstat(name)
}

// ReadLink implements fs.ReadLinkFS.
func (r *Recorder) ReadLink(name string) (string, error) {
	r.note(name, false, false)
	return r.tree.ReadLink(name)
}
