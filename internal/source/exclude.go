package source

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// ignoreFile holds exclusions for its directory and those below.
const ignoreFile = ".sourceignore"

// vcsPatterns are always excluded, unless a later pattern includes them.
const vcsPatterns = `.git/
.gitignore
.gitmodules
.gitattributes
`

// defaultPatterns are Flux' default exclusions beside vcsPatterns. They are
// replaced by any other pattern that applies.
const defaultPatterns = `*.jpg
*.jpeg
*.gif
*.png
*.wmv
*.flv
*.tar.gz
*.zip
.github/
.circleci/
.travis.yml
.gitlab-ci.yml
appveyor.yml
.drone.yml
cloudbuild.yaml
codeship-services.yml
codeship-steps.yml
**/.goreleaser.yml
**/.sops.yaml
**/.flux.yaml
`

// Exclude gives fsys without the files that a Flux source leaves out: those
// that the .sourceignore files on the way to them name, then those that ignore
// names, in gitignore syntax; the last pattern that matches decides. Where
// neither has a pattern, the default exclusions apply.
//
// It differs from Flux in one point: there, a .sourceignore anywhere in the
// repository lifts the default exclusions everywhere; here, where it applies.
//
// The .sourceignore files are read through fsys, so that a Recorder beneath
// knows of them.
func Exclude(fsys fs.FS, ignore *string) fs.FS {
	x := &excluded{fsys: fsys, dirs: map[string]*rules{}}
	x.base = patterns(vcsPatterns, nil).patterns
	x.defaults = patterns(defaultPatterns, nil).patterns
	if ignore != nil {
		x.ignore = *patterns(*ignore, nil)
	}
	return x
}

type excluded struct {
	fsys           fs.FS
	base, defaults []gitignore.Pattern
	ignore         rules

	mu   sync.Mutex
	dirs map[string]*rules // of the .sourceignore file in each directory
}

// rules are patterns in order of increasing weight.
type rules struct {
	text     string
	patterns []gitignore.Pattern
	includes bool // whether one of them begins with "!"
}

func patterns(text string, domain []string) *rules {
	r := &rules{text: text}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		r.patterns = append(r.patterns, gitignore.ParsePattern(line, domain))
		r.includes = r.includes || strings.HasPrefix(line, "!")
	}
	return r
}

// file gives the rules of the .sourceignore file in dir.
func (x *excluded) file(dir string) (*rules, error) {
	x.mu.Lock()
	r, ok := x.dirs[dir]
	x.mu.Unlock()
	if ok {
		return r, nil
	}
	text, err := fs.ReadFile(x.fsys, path.Join(dir, ignoreFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading exclusions: %w", err)
	}
	r = patterns(string(text), split(dir))
	x.mu.Lock()
	x.dirs[dir] = r
	x.mu.Unlock()
	return r, nil
}

func split(name string) []string {
	if name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

// hides reports whether a path is left out. A directory is kept, if only as a
// way to what is below, when a pattern may include something in it.
func (x *excluded) hides(name string, isDir bool) (bool, error) {
	if name == "." {
		return false, nil
	}
	parts := split(name)
	all := slices.Clone(x.base)
	includes := x.ignore.includes
	found := len(x.ignore.patterns) > 0
	var own []gitignore.Pattern
	for i := range parts { // each directory above the path
		dir := "."
		if i > 0 {
			dir = path.Join(parts[:i]...)
		}
		r, err := x.file(dir)
		if err != nil {
			return false, err
		}
		own = append(own, r.patterns...)
		includes = includes || r.includes
		found = found || len(r.patterns) > 0
	}
	if !found {
		all = append(all, x.defaults...)
	}
	all = append(append(all, own...), x.ignore.patterns...)
	hidden := gitignore.NewMatcher(all).Match(parts, isDir)
	return hidden && !(isDir && includes), nil
}

// check gives fs.ErrNotExist for a path that is left out.
func (x *excluded) check(op, name string, isDir bool) error {
	hidden, err := x.hides(name, isDir)
	if err == nil && hidden {
		err = fs.ErrNotExist
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (x *excluded) Open(name string) (fs.File, error) {
	f, err := x.fsys.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = x.check("open", name, info.IsDir())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if d, ok := f.(fs.ReadDirFile); ok && info.IsDir() {
		return &openDir{path: name, info: info, read: func() ([]fs.DirEntry, error) {
			defer d.Close()
			entries, err := d.ReadDir(-1)
			if err != nil {
				return nil, err
			}
			return x.filter(name, entries)
		}}, nil
	}
	return f, nil
}

func (x *excluded) ReadFile(name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrInvalid}
	}
	if err := x.check("read", name, false); err != nil {
		return nil, err
	}
	return fs.ReadFile(x.fsys, name)
}

func (x *excluded) ReadDir(name string) ([]fs.DirEntry, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrInvalid}
	}
	if err := x.check("readdir", name, true); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(x.fsys, name)
	if err != nil {
		return nil, err
	}
	return x.filter(name, entries)
}

func (x *excluded) filter(dir string, entries []fs.DirEntry) ([]fs.DirEntry, error) {
	var kept []fs.DirEntry
	for _, e := range entries {
		hidden, err := x.hides(path.Join(dir, e.Name()), e.IsDir())
		if err != nil {
			return nil, err
		}
		if !hidden {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

func (x *excluded) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(x.fsys, name)
	if err != nil {
		return nil, err
	}
	return info, x.check("stat", name, info.IsDir())
}

func (x *excluded) Lstat(name string) (fs.FileInfo, error) {
	info, err := fs.Lstat(x.fsys, name)
	if err != nil {
		return nil, err
	}
	return info, x.check("lstat", name, info.IsDir())
}

func (x *excluded) ReadLink(name string) (string, error) {
	text, err := fs.ReadLink(x.fsys, name)
	if err != nil {
		return "", err
	}
	return text, x.check("readlink", name, false)
}
