package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/remote"
)

// pushTries bounds how often a commit is made anew because someone else pushed.
const pushTries = 10

// Change is what a commit does. Files that are as they should be do not count.
type Change struct {
	Files   map[string][]byte // by path; regular files, in place of whatever is there
	Remove  []string          // files or directories
	Message string
}

// Author is who commits.
type Author struct{ Name, Email string }

// Commit makes a commit on a branch and pushes it. change is told the files as
// they are, nil in a repository without commits, and asked again whenever
// someone else was faster: nobody's work is lost. It returns the revision that
// holds the change, and whether that is a new commit: if nothing would change,
// none is made. The error is change's own, or an *app.Failure.
//
// src.Ref must be a branch. It is made if the repository has no commits.
func (s *Store) Commit(ctx context.Context, src app.Source, author Author, change func(*Tree) (Change, error)) (app.Revision, bool, error) {
	addr, err := giturl.Parse(src.URL)
	if err != nil {
		return app.Revision{}, false, app.Fail(app.StageFetch, app.ReasonInvalidSpec, "%w", err)
	}
	rem, err := s.dialer.Open(addr, src.Auth)
	if err != nil {
		return app.Revision{}, false, err
	}
	for try := 1; ; try++ {
		rev, made, err := s.commitOnce(ctx, rem, src, author, change)
		if err == nil || !errors.Is(err, remote.ErrMoved) || try == pushTries || ctx.Err() != nil {
			return rev, made, err
		}
	}
}

func (s *Store) commitOnce(ctx context.Context, rem remote.Remote, src app.Source, author Author, change func(*Tree) (Change, error)) (app.Revision, bool, error) {
	rev, tree, err := s.tip(ctx, rem, src)
	if err != nil {
		return app.Revision{}, false, err
	}
	c, err := change(tree)
	if err != nil {
		return app.Revision{}, false, err
	}
	w := &writer{tree: tree, made: memory.NewStorage()}
	root, err := w.apply(c)
	if err != nil {
		return app.Revision{}, false, app.AsFailure(err, app.StageFetch)
	}
	if tree != nil && root == tree.root {
		return rev, false, nil
	}
	now := s.opt.Now()
	signature := object.Signature{Name: author.Name, Email: author.Email, When: now}
	commit := &object.Commit{Author: signature, Committer: signature, Message: c.Message, TreeHash: root}
	parent := plumbing.ZeroHash
	if tree != nil {
		parent = plumbing.NewHash(rev.Commit)
		commit.ParentHashes = []plumbing.Hash{parent}
	}
	id, err := w.add(commit)
	if err != nil {
		return app.Revision{}, false, app.AsFailure(err, app.StageFetch)
	}
	var pack bytes.Buffer
	if _, err := packfile.NewEncoder(&pack, w.made, false).Encode(w.ids, 0); err != nil {
		return app.Revision{}, false, app.AsFailure(err, app.StageFetch)
	}
	update := remote.Update{Ref: "refs/heads/" + src.Ref.Branch, Old: parent, New: id, Pack: pack.Bytes()}
	if err := rem.Push(ctx, update); err != nil {
		return app.Revision{}, false, err
	}
	subject, _, _ := strings.Cut(c.Message, "\n")
	return app.Revision{Commit: id.String(), Ref: src.Ref.Branch, Subject: subject, Author: author.Name + " <" + author.Email + ">", Time: now}, true, nil
}

// tip gives the files of the branch as it is now; nil if the repository has no
// commits at all.
func (s *Store) tip(ctx context.Context, rem remote.Remote, src app.Source) (app.Revision, *Tree, error) {
	listing, err := rem.List(ctx)
	if err != nil {
		return app.Revision{}, nil, err
	}
	if len(listing.Refs) == 0 {
		return app.Revision{}, nil, nil
	}
	rev, repo, err := s.Resolve(ctx, src, time.Now())
	if err != nil {
		return app.Revision{}, nil, err
	}
	tree, err := repo.Tree(rev.Commit)
	return rev, tree, err
}

// writer makes the objects that a change needs and the repository lacks.
type writer struct {
	tree *Tree // nil: there are no files yet
	made *memory.Storage
	ids  []plumbing.Hash
}

// encoder is an object of Git in the making.
type encoder interface {
	Encode(plumbing.EncodedObject) error
}

func (w *writer) add(o encoder) (plumbing.Hash, error) {
	encoded := w.made.NewEncodedObject()
	if err := o.Encode(encoded); err != nil {
		return plumbing.ZeroHash, err
	}
	return w.keep(encoded)
}

func (w *writer) keep(o plumbing.EncodedObject) (plumbing.Hash, error) {
	id, err := w.made.SetEncodedObject(o)
	if err == nil && !slices.Contains(w.ids, id) {
		w.ids = append(w.ids, id)
	}
	return id, err
}

func (w *writer) blob(data []byte) (plumbing.Hash, error) {
	id := plumbing.ComputeHash(plumbing.BlobObject, data)
	if w.tree != nil && w.tree.objs.Has(id) {
		return id, nil
	}
	o := w.made.NewEncodedObject()
	o.SetType(plumbing.BlobObject)
	out, err := o.Writer()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if _, err := io.Copy(out, bytes.NewReader(data)); err != nil {
		return plumbing.ZeroHash, err
	}
	return w.keep(o)
}

// apply gives the tree that the change leads to.
func (w *writer) apply(c Change) (plumbing.Hash, error) {
	edits := edit{}
	for _, name := range c.Remove {
		if err := edits.set(name, nil); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	for name, data := range c.Files {
		id, err := w.blob(data)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		if err := edits.set(name, &id); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	root := plumbing.ZeroHash
	if w.tree != nil {
		root = w.tree.root
	}
	id, empty, err := w.directory(root, edits)
	if err == nil && empty {
		return w.add(&object.Tree{})
	}
	return id, err
}

// edit is what becomes of the entries of a directory: a file, nothing (file is
// nil), or edits below.
type edit map[string]editEntry

type editEntry struct {
	file  *plumbing.Hash
	below edit
}

func (e edit) set(name string, file *plumbing.Hash) error {
	clean := path.Clean(name)
	if clean != name || clean == "." || strings.HasPrefix(clean, "../") || path.IsAbs(clean) || strings.Count(clean, "/") > maxDepth {
		return fmt.Errorf("%q is no path within a repository", name)
	}
	parts := strings.Split(clean, "/")
	if slices.ContainsFunc(parts, func(p string) bool { return strings.EqualFold(p, ".git") }) {
		return fmt.Errorf("%q is not a path that Git keeps", name)
	}
	for _, p := range parts[:len(parts)-1] {
		if e[p].below == nil {
			e[p] = editEntry{below: edit{}}
		}
		e = e[p].below
	}
	e[parts[len(parts)-1]] = editEntry{file: file}
	return nil
}

// directory gives the id of a directory after the edits; empty tells that
// nothing is left in it.
func (w *writer) directory(id plumbing.Hash, edits edit) (_ plumbing.Hash, empty bool, err error) {
	before, err := w.entries(id)
	if err != nil {
		return plumbing.ZeroHash, false, err
	}
	var after []object.TreeEntry
	for _, e := range before {
		if _, changed := edits[e.Name]; !changed {
			after = append(after, e)
		}
	}
	for name, change := range edits {
		at := slices.IndexFunc(before, func(e object.TreeEntry) bool { return e.Name == name })
		switch {
		case change.below != nil:
			sub := plumbing.ZeroHash
			if at >= 0 && before[at].Mode == filemode.Dir {
				sub = before[at].Hash
			} else if at >= 0 {
				return plumbing.ZeroHash, false, fmt.Errorf("%s is no directory in the repository", name)
			}
			id, empty, err := w.directory(sub, change.below)
			if err != nil {
				return plumbing.ZeroHash, false, err
			}
			if !empty {
				after = append(after, object.TreeEntry{Name: name, Mode: filemode.Dir, Hash: id})
			}
		case change.file != nil:
			mode := filemode.Regular
			if at >= 0 && before[at].Mode == filemode.Executable {
				mode = filemode.Executable
			}
			after = append(after, object.TreeEntry{Name: name, Mode: mode, Hash: *change.file})
		}
	}
	if len(after) == 0 {
		return plumbing.ZeroHash, true, nil
	}
	slices.SortFunc(after, func(a, b object.TreeEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	if slices.Equal(before, after) {
		return id, false, nil
	}
	made, err := w.add(&object.Tree{Entries: after})
	return made, false, err
}

// sortName is what Git orders entries by: directories as if they ended in a
// slash.
func sortName(e object.TreeEntry) string {
	if e.Mode == filemode.Dir {
		return e.Name + "/"
	}
	return e.Name
}

func (w *writer) entries(id plumbing.Hash) ([]object.TreeEntry, error) {
	if id.IsZero() {
		return nil, nil
	}
	o, err := w.tree.get(id, maxTree)
	if err != nil {
		return nil, err
	}
	return treeEntries(o)
}

// treeEntries reads a tree object with the modes as they are written.
func treeEntries(o objects.Object) ([]object.TreeEntry, error) {
	if o.Type != plumbing.TreeObject {
		return nil, errMalformedTree
	}
	var out []object.TreeEntry
	for data := o.Data; len(data) > 0; {
		mode, name, id, rest, err := nextEntry(data)
		if err != nil {
			return nil, err
		}
		m, err := filemode.New(string(mode))
		if err != nil {
			return nil, fmt.Errorf("%w: entry %q has mode %q", errMalformedTree, name, mode)
		}
		out = append(out, object.TreeEntry{Name: string(name), Mode: m, Hash: plumbing.Hash(id)})
		data = rest
	}
	return out, nil
}
