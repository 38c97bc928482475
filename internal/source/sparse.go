package source

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"plumb.dev/plumb/internal/app"
)

// Sparse gives fsys with nothing but some directories, and those on the way to
// them. No directories mean all of it.
func Sparse(fsys fs.FS, dirs []string) fs.FS {
	if len(dirs) == 0 {
		return fsys
	}
	return &sparse{fsys, dirs}
}

type sparse struct {
	fsys fs.FS
	dirs []string
}

// shows reports whether a path is there; of a directory that only leads to
// others, nothing else is.
func (s *sparse) shows(name string, isDir bool) bool {
	for _, dir := range s.dirs {
		if dir == "." || name == dir || strings.HasPrefix(name, dir+"/") {
			return true
		}
		if isDir && (name == "." || strings.HasPrefix(dir, name+"/")) {
			return true
		}
	}
	return false
}

// Hides implements Filter.
func (s *sparse) Hides(name string, isDir bool) (bool, error) { return !s.shows(name, isDir), nil }

// Rules implements Filter.
func (s *sparse) Rules(string) (string, error) { return fmt.Sprintf("sparse %q", s.dirs), nil }

func (s *sparse) check(op, name string, isDir bool) error {
	if s.shows(name, isDir) {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

func (s *sparse) Open(name string) (fs.File, error) {
	f, err := s.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = s.check("open", name, info.IsDir())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if d, ok := f.(fs.ReadDirFile); ok && info.IsDir() {
		return &openDir{path: name, info: info, read: func() ([]fs.DirEntry, error) {
			defer d.Close()
			entries, err := d.ReadDir(-1)
			return s.filter(name, entries), err
		}}, nil
	}
	return f, nil
}

func (s *sparse) ReadFile(name string) ([]byte, error) {
	if err := s.check("read", name, false); err != nil {
		return nil, err
	}
	return fs.ReadFile(s.fsys, name)
}

func (s *sparse) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := s.check("readdir", name, true); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(s.fsys, name)
	return s.filter(name, entries), err
}

func (s *sparse) filter(dir string, entries []fs.DirEntry) []fs.DirEntry {
	var kept []fs.DirEntry
	for _, e := range entries {
		if s.shows(path.Join(dir, e.Name()), e.IsDir()) {
			kept = append(kept, e)
		}
	}
	return kept
}

func (s *sparse) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(s.fsys, name)
	if err != nil {
		return nil, err
	}
	return info, s.check("stat", name, info.IsDir())
}

func (s *sparse) Lstat(name string) (fs.FileInfo, error) {
	info, err := fs.Lstat(s.fsys, name)
	if err != nil {
		return nil, err
	}
	return info, s.check("lstat", name, info.IsDir())
}

func (s *sparse) ReadLink(name string) (string, error) {
	if err := s.check("readlink", name, false); err != nil {
		return "", err
	}
	return fs.ReadLink(s.fsys, name)
}

// Shown gives what a source shows of a tree of it: what it excludes, and what
// is outside of its sparse directories, is left out.
func Shown(src app.Source, tree fs.FS) fs.FS {
	if dirs := src.Sparse; len(dirs) > 0 {
		shown := append([]string{}, dirs...)
		for _, include := range src.Include {
			shown = append(shown, include.To)
		}
		tree = Sparse(tree, shown)
	}
	if !src.UseIgnore {
		return tree
	}
	return Exclude(tree, src.Ignore)
}

// sparseThere makes sure that the directories exist.
func sparseThere(src app.Source, rev app.Revision, repo *Repo) error {
	if len(src.Sparse) == 0 {
		return nil
	}
	tree, err := repo.Tree(rev.ID())
	if err != nil {
		return err
	}
	for _, dir := range src.Sparse {
		if _, err := tree.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return app.Fail(app.StageFetch, app.ReasonPathNotFound, "sparse checkout dir '%s' does not exist in repository", dir).
				WithHint("Correct spec.sparseCheckout, or push the directory.")
		} else if err != nil {
			return err
		}
	}
	return nil
}
