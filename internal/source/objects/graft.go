package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Modes of tree entries, as Git writes them.
const (
	modeDir       = "40000"
	modeSubmodule = "160000"
)

var errMalformedTree = errors.New("malformed tree object")

// Graft takes in a tree of another store at a path, "." being the root of what
// is built. What the store has already is not read: trees are taken over by
// their ids. Submodules in it stay what they are; what is at the path already
// is replaced.
func (b *Build) Graft(ctx context.Context, at string, from *Store, tree plumbing.Hash) error {
	if !fs.ValidPath(at) {
		return fmt.Errorf("%q is no path", at)
	}
	if err := b.copyTree(ctx, from, tree, 0); err != nil {
		return err
	}
	e := buildEntry{mode: modeDir, id: tree, from: from}
	if at == "." {
		var err error
		b.root, err = e.entries()
		return err
	}
	dir, name, err := b.parent(at)
	if err != nil {
		return err
	}
	dir[name] = e
	return nil
}

// At tells what is at a path: nothing, a submodule that has not been replaced,
// or something else.
func (b *Build) At(name string) (exists, submodule bool, err error) {
	dir := b.root
	parts := strings.Split(name, "/")
	for i, part := range parts {
		e, ok := dir[part]
		switch {
		case !ok:
			return false, false, nil
		case i == len(parts)-1:
			return true, e.mode == modeSubmodule, nil
		}
		if dir, err = b.open(dir, part); err != nil || dir == nil {
			return false, false, err
		}
	}
	return false, false, nil
}

// parent gives the directory that a path is in, making what is missing. What
// is in the way and no directory is replaced.
func (b *Build) parent(name string) (buildDir, string, error) {
	parts := strings.Split(name, "/")
	if len(parts) > maxBuildDepth {
		return nil, "", fmt.Errorf("%s is deeper than %d directories", name, maxBuildDepth)
	}
	dir := b.root
	for _, part := range parts[:len(parts)-1] {
		below, err := b.open(dir, part)
		if err != nil {
			return nil, "", err
		}
		if below == nil {
			below = buildDir{}
			dir[part] = buildEntry{mode: modeDir, dir: below}
		}
		dir = below
	}
	return dir, parts[len(parts)-1], nil
}

// open gives a directory to be changed; nil if there is none of the name.
func (b *Build) open(dir buildDir, name string) (buildDir, error) {
	e := dir[name]
	if e.dir != nil || e.mode != modeDir {
		return e.dir, nil
	}
	var err error
	if e.dir, err = e.entries(); err != nil {
		return nil, err
	}
	dir[name] = e
	return e.dir, nil
}

// entries reads a directory that was taken over by its id.
func (e buildEntry) entries() (buildDir, error) {
	o, err := e.from.Get(e.id, 0)
	if err != nil {
		return nil, err
	}
	dir := buildDir{}
	err = eachEntry(o, func(mode, name string, id plumbing.Hash) error {
		dir[name] = buildEntry{mode: mode, id: id, from: e.from}
		return nil
	})
	return dir, err
}

// copyTree copies what the store lacks of a tree. A tree that is there is there
// whole: nothing is visible before everything is.
func (b *Build) copyTree(ctx context.Context, from *Store, id plumbing.Hash, depth int) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case depth > maxBuildDepth:
		return fmt.Errorf("a tree is deeper than %d directories", maxBuildDepth)
	case b.known[id] || b.store.Has(id):
		return nil
	}
	o, err := from.Get(id, 0)
	if err != nil {
		return err
	}
	err = eachEntry(o, func(mode, _ string, id plumbing.Hash) error {
		switch {
		case mode == modeSubmodule || b.known[id]:
			return nil
		case mode == modeDir:
			return b.copyTree(ctx, from, id, depth+1)
		case b.store.Has(id):
			return nil
		}
		if b.files++; b.files > maxBuildFiles {
			return fmt.Errorf("%w: more than %d files", ErrTooLarge, maxBuildFiles)
		}
		blob, err := from.Get(id, 0)
		if err != nil {
			return err
		}
		if b.bytes += int64(len(blob.Data)); b.bytes > b.store.limit.Pack {
			return fmt.Errorf("%w: all files together may have %d bytes", ErrTooLarge, b.store.limit.Pack)
		}
		_, err = b.add(blob.Type, blob.Data)
		return err
	})
	if err != nil {
		return err
	}
	_, err = b.add(plumbing.TreeObject, o.Data)
	return err
}

// eachEntry reads a tree object. Names that could be mistaken for paths, which
// only a forged object holds, are refused.
func eachEntry(o Object, visit func(mode, name string, id plumbing.Hash) error) error {
	if o.Type != plumbing.TreeObject {
		return errMalformedTree
	}
	for data := o.Data; len(data) > 0; {
		mode, after, ok := bytes.Cut(data, []byte{' '})
		name, rest, ok2 := bytes.Cut(after, []byte{0})
		if !ok || !ok2 || len(rest) < idSize {
			return errMalformedTree
		}
		switch s := string(name); {
		case s == "" || s == "." || s == ".." || strings.Contains(s, "/"):
			return fmt.Errorf("%w: entry is named %q", errMalformedTree, s)
		}
		if err := visit(strings.TrimPrefix(string(mode), "0"), string(name), plumbing.Hash(rest[:idSize])); err != nil {
			return err
		}
		data = rest[idSize:]
	}
	return nil
}
