package render

import (
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/kustomize/kyaml/filesys"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// confined shows Kustomize the tree as a read-only file system of which "/" is
// the root, with the one kustomization file that Plumb wrote or changed laid
// over it. Nothing outside of the tree has a name in it.
type confined struct {
	files   *files
	overlay map[string][]byte // by resolved name
}

var _ filesys.FileSystem = confined{}

// name makes a path of Kustomize one of the tree.
func (confined) name(p string) string {
	return strings.TrimPrefix(path.Clean("/"+filepath.ToSlash(p)), "/")
}

func (c confined) stat(p string) (string, fs.FileInfo, error) {
	name := c.name(p)
	if name == "" {
		name = "."
	}
	return c.files.stat(name)
}

func (c confined) ReadFile(p string) ([]byte, error) {
	name := c.name(p)
	if data, ok := c.overlay[name]; ok {
		return data, c.files.alive()
	}
	data, err := c.files.content(name)
	if err != nil {
		return nil, err
	}
	if suspicious(data) {
		// Kustomize expands aliases without a bound of its own.
		if err := object.CheckSize(name, data); err != nil {
			return nil, c.files.stop(failure(app.ReasonBuild, "%w", err))
		}
	}
	return data, nil
}

func (c confined) Exists(p string) bool {
	if _, ok := c.overlay[c.name(p)]; ok {
		return true
	}
	_, _, err := c.stat(p)
	return err == nil
}

func (c confined) IsDir(p string) bool {
	_, info, err := c.stat(p)
	return err == nil && info.IsDir()
}

func (c confined) CleanedAbs(p string) (filesys.ConfirmedDir, string, error) {
	if name := c.name(p); c.overlay[name] != nil {
		return filesys.ConfirmedDir(path.Dir("/" + name)), path.Base(name), nil
	}
	real, info, err := c.stat(p)
	if err != nil {
		return "", "", err
	}
	if info.IsDir() {
		return filesys.ConfirmedDir(path.Clean("/" + real)), "", nil
	}
	return filesys.ConfirmedDir(path.Dir("/" + real)), path.Base(real), nil
}

func (c confined) ReadDir(p string) ([]string, error) {
	real, _, err := c.stat(p)
	if err != nil {
		return nil, err
	}
	entries, err := c.files.list(real)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Glob and Walk are for commands that edit kustomizations; a build uses
// neither.
func (c confined) Glob(string) ([]string, error) { return nil, errReadOnly("glob", "") }

func (c confined) Walk(p string, _ filepath.WalkFunc) error { return errReadOnly("walk", p) }

func (c confined) Open(p string) (filesys.File, error)   { return nil, errReadOnly("open", p) }
func (c confined) Create(p string) (filesys.File, error) { return nil, errReadOnly("create", p) }
func (c confined) Mkdir(p string) error                  { return errReadOnly("mkdir", p) }
func (c confined) MkdirAll(p string) error               { return errReadOnly("mkdir", p) }
func (c confined) RemoveAll(p string) error              { return errReadOnly("remove", p) }
func (c confined) WriteFile(p string, _ []byte) error    { return errReadOnly("write", p) }

func errReadOnly(op, p string) error {
	return &fs.PathError{Op: op, Path: p, Err: fs.ErrPermission}
}

// suspicious reports whether a text may hold aliases, or nests deeply.
func suspicious(data []byte) bool {
	const deep = 400
	anchor, alias, depth := false, false, 0
	for _, c := range data {
		switch c {
		case '&':
			anchor = true
		case '*':
			alias = alias || anchor
		case '\n':
			depth = 0
		case '[', '{', '-', ' ', '?', ':':
			if depth++; depth > 2*deep {
				return true
			}
		}
	}
	return alias
}
