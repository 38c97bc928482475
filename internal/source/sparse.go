package source

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"plumb.dev/plumb/internal/app"
)

// Sparse gives fsys with nothing but some directories, and those on the way to
// them. No directories mean all of it.
func Sparse(fsys fs.FS, dirs []string) fs.FS {
	if len(dirs) == 0 {
		return fsys
	}
	return &filtered{fsys, sparse(dirs)}
}

// sparse is the Filter of Sparse: the directories.
type sparse []string

// Hides implements Filter. Of a directory that only leads to others, nothing
// but these is there.
func (s sparse) Hides(name string, isDir bool) (bool, error) {
	for _, dir := range s {
		if dir == "." || name == dir || strings.HasPrefix(name, dir+"/") {
			return false, nil
		}
		if isDir && (name == "." || strings.HasPrefix(dir, name+"/")) {
			return false, nil
		}
	}
	return true, nil
}

// Rules implements Filter.
func (s sparse) Rules(string) (string, error) { return fmt.Sprintf("sparse %q", []string(s)), nil }

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
