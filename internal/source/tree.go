package source

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
)

const (
	maxDepth    = 64      // components of a path, links resolved
	maxLinks    = 40      // links followed for one path, as on Linux
	maxLinkText = 4 << 10 // bytes of a link's target
	maxTree     = 16 << 20
)

// Tree is the files of one commit as a file system (fs.FS, ReadDirFS,
// ReadFileFS, StatFS, ReadLinkFS), read straight from the objects. It does not
// change and may be used at once by many.
//
// Symbolic links are followed within the tree only; one that leads out of it,
// or in a circle, is a *LinkError. A submodule is an empty directory. Files
// have no times.
type Tree struct {
	objs    *objects.Store
	repo    *Repo
	root    plumbing.Hash
	maxFile int64
}

// LinkError is a symbolic link that may not be followed.
type LinkError struct {
	Link   string // path of the link
	Target string // what it says
	Why    string
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("symbolic link %s -> %s %s", e.Link, e.Target, e.Why)
}

func (e LinkError) because(why string) *LinkError {
	e.Why = why
	return &e
}

// Tree gives the files of a revision that Resolve has returned, by its ID. The
// error is an *app.Failure.
func (r *Repo) Tree(revision string) (*Tree, error) {
	objs, err := r.open()
	if err != nil {
		return nil, app.AsFailure(err, app.StageFetch)
	}
	id, ok := r.imported(revision)
	if !ok {
		if len(revision) != fullID || !isHex(revision) {
			if r.remote == nil {
				return nil, r.notThere(revision)
			}
			return nil, app.Fail(app.StageFetch, app.ReasonInternal, "%s: %q is not a commit id", r.addr, revision)
		}
		id = plumbing.NewHash(revision)
	}
	if !objs.Has(id) {
		return nil, r.notThere(revision)
	}
	c, err := commitAt(objs, id)
	if err != nil {
		return nil, r.readFailure(err)
	}
	return &Tree{objs: objs, repo: r, root: c.TreeHash, maxFile: r.store.opt.MaxFile}, nil
}

func (r *Repo) notThere(revision string) error {
	return app.Fail(app.StageFetch, app.ReasonSourceLost, "%s: revision %s is not in the cache", r.addr, revision).
		WithHint("Nothing needs to be done: it will be fetched again.")
}

// readFailure notes damage, so that the next Resolve fetches anew.
func (r *Repo) readFailure(err error) error {
	if !r.lost(err) {
		return app.Fail(app.StageFetch, app.ReasonInternal, "%s: %w", r.addr, err)
	}
	return app.Fail(app.StageFetch, app.ReasonSourceLost, "%s: the cached repository was cleaned away or is damaged: %w", r.addr, err).
		WithHint("Nothing needs to be done: it will be fetched again.")
}

// ID is the object id of the whole tree. Trees of equal id hold the same files.
func (t *Tree) ID() string { return t.root.String() }

// node is what a path leads to.
type node struct {
	mode fs.FileMode
	id   plumbing.Hash // zero for a submodule
	name string        // base name as it was asked for
}

func (n node) submodule() bool { return n.mode.IsDir() && n.id.IsZero() }

// get reads an object and gives errors their final form.
func (t *Tree) get(id plumbing.Hash, limit int64) (objects.Object, error) {
	o, err := t.objs.Get(id, limit)
	if err != nil && !errors.Is(err, objects.ErrTooLarge) {
		return o, t.repo.readFailure(err)
	}
	return o, err
}

func (t *Tree) blob(id plumbing.Hash, limit int64) (objects.Object, error) {
	o, err := t.get(id, limit)
	if err == nil && o.Type != plumbing.BlobObject {
		err = fmt.Errorf("object %s is a %s, not a file", id, o.Type)
	}
	return o, err
}

// lookup walks to a path, following links on the way, and a last one if
// follow is set.
func (t *Tree) lookup(name string, follow bool) (node, error) {
	return t.walk(name, follow, nil)
}

// trail is what a walk came by.
type trail struct {
	real   []string // each entry that was looked at
	linked bool     // a link was followed
}

// walk is lookup, and notes the trail if one is given.
func (t *Tree) walk(name string, follow bool, trail *trail) (node, error) {
	if !fs.ValidPath(name) {
		return node{}, fs.ErrInvalid
	}
	type dir struct {
		id   plumbing.Hash
		name string // real path, for messages
	}
	dirs := []dir{{t.root, "."}}
	type step struct {
		part string
		from *LinkError // the link that says so; nil for the path itself
	}
	steps := func(text string, from *LinkError) (s []step) {
		for part := range strings.SplitSeq(text, "/") {
			if part != "" && part != "." {
				s = append(s, step{part, from})
			}
		}
		return s
	}
	rest := steps(name, nil)
	links := 0
	for len(rest) > 0 {
		if len(dirs)+len(rest) > maxDepth+maxLinks {
			return node{}, fmt.Errorf("path is deeper than %d directories", maxDepth)
		}
		part, from := rest[0].part, rest[0].from
		rest = rest[1:]
		here := dirs[len(dirs)-1]
		if part == ".." { // a valid path has none: it is a link's
			if len(dirs) == 1 {
				return node{}, from.because("leads out of the repository")
			}
			dirs = dirs[:len(dirs)-1]
			continue
		}
		if here.id.IsZero() { // within a submodule
			return node{}, fs.ErrNotExist
		}
		o, err := t.get(here.id, maxTree)
		if err != nil {
			return node{}, err
		}
		if trail != nil {
			trail.real = append(trail.real, path.Join(here.name, part))
		}
		e, ok, err := t.repo.dirs.find(here.id, o, part)
		if err != nil {
			return node{}, fmt.Errorf("directory %s: %w", here.name, err)
		}
		if !ok {
			return node{}, fs.ErrNotExist
		}
		switch {
		case e.mode.IsDir():
			if len(dirs) > maxDepth {
				return node{}, fmt.Errorf("path is deeper than %d directories", maxDepth)
			}
			dirs = append(dirs, dir{e.id, path.Join(here.name, part)})
		case e.mode&fs.ModeSymlink != 0 && (follow || len(rest) > 0):
			link := path.Join(here.name, part)
			if trail != nil {
				trail.linked = true
			}
			to, err := t.linkText(e.id)
			if err != nil {
				return node{}, fmt.Errorf("symbolic link %s: %w", link, err)
			}
			found := &LinkError{Link: link, Target: to}
			if links++; links > maxLinks {
				return node{}, found.because("is one of too many: they lead in a circle")
			}
			if to == "" || to[0] == '/' {
				return node{}, found.because("leads out of the repository")
			}
			rest = append(steps(to, found), rest...)
		case len(rest) > 0: // a file is no directory
			return node{}, fs.ErrNotExist
		default:
			e.name = path.Base(name)
			return e, nil
		}
	}
	if trail != nil { // a link may have led back to where nothing new was looked at
		trail.real = append(trail.real, dirs[len(dirs)-1].name)
	}
	return node{mode: fs.ModeDir | 0o755, id: dirs[len(dirs)-1].id, name: path.Base(name)}, nil
}

func (t *Tree) linkText(id plumbing.Hash) (string, error) {
	o, err := t.blob(id, maxLinkText)
	return string(o.Data), err
}

// Open implements fs.FS. A file's content is read at the first Read.
func (t *Tree) Open(name string) (fs.File, error) {
	n, err := t.lookup(name, true)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	info, err := t.info(n)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	if n.mode.IsDir() {
		return &openDir{path: name, info: info, read: func() ([]fs.DirEntry, error) { return t.list(n) }}, nil
	}
	return &openFile{path: name, info: info, read: func() ([]byte, error) { return t.content(n) }}, nil
}

// ReadFile implements fs.ReadFileFS.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	n, err := t.lookup(name, true)
	if err == nil {
		var data []byte
		if data, err = t.content(n); err == nil {
			return append([]byte{}, data...), nil // the caller may change it
		}
	}
	return nil, &fs.PathError{Op: "read", Path: name, Err: err}
}

// content gives the bytes of a file, shared with the cache.
func (t *Tree) content(n node) ([]byte, error) {
	if n.mode.IsDir() {
		return nil, errIsDir
	}
	o, err := t.blob(n.id, t.maxFile)
	if errors.Is(err, objects.ErrTooLarge) {
		return nil, fmt.Errorf("file is too large: %w", err)
	}
	return o.Data, err
}

var (
	errIsDir  = errors.New("is a directory")
	errNotDir = errors.New("not a directory")
)

// ReadDir implements fs.ReadDirFS; entries are sorted by name.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.lookup(name, true)
	if err == nil {
		var entries []fs.DirEntry
		if entries, err = t.list(n); err == nil {
			return entries, nil
		}
	}
	return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
}

func (t *Tree) list(n node) ([]fs.DirEntry, error) {
	if !n.mode.IsDir() {
		return nil, errNotDir
	}
	if n.submodule() {
		return nil, nil
	}
	o, err := t.get(n.id, maxTree)
	if err != nil {
		return nil, err
	}
	nodes, err := entriesOf(o)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, len(nodes))
	for i, n := range nodes {
		entries[i] = &dirEntry{node: n, tree: t}
	}
	return entries, nil
}

// Stat implements fs.StatFS; it follows links.
func (t *Tree) Stat(name string) (fs.FileInfo, error) { return t.stat("stat", name, true) }

// Lstat implements fs.ReadLinkFS.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) { return t.stat("lstat", name, false) }

func (t *Tree) stat(op, name string, follow bool) (fs.FileInfo, error) {
	n, err := t.lookup(name, follow)
	if err == nil {
		var info fs.FileInfo
		if info, err = t.info(n); err == nil {
			return info, nil
		}
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: err}
}

func (t *Tree) info(n node) (fs.FileInfo, error) {
	i := &fileInfo{node: n}
	if !n.mode.IsDir() {
		_, size, err := t.objs.Stat(n.id)
		if err != nil {
			return nil, t.repo.readFailure(err)
		}
		i.size = size
	}
	return i, nil
}

// ReadLink implements fs.ReadLinkFS.
func (t *Tree) ReadLink(name string) (string, error) {
	n, err := t.lookup(name, false)
	if err == nil && n.mode&fs.ModeSymlink == 0 {
		err = fs.ErrInvalid
	}
	if err == nil {
		var text string
		if text, err = t.linkText(n.id); err == nil {
			return text, nil
		}
	}
	return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
}
