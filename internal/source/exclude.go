package source

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
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
// neither has a pattern, the default exclusions apply. A directory is kept, if
// only as a way to what is below, when a pattern may include something in it.
//
// It differs from Flux in one point: there, a .sourceignore anywhere in the
// repository lifts the default exclusions everywhere; here, where it applies.
//
// The .sourceignore files are read through fsys, so that a Recorder beneath
// knows of them.
func Exclude(fsys fs.FS, ignore *string) fs.FS {
	return &filtered{fsys, newExclusions(fsys, ignore)}
}

// exclusions is the Filter of Exclude. What decides is worked out once for each
// directory, from that of the one above.
type exclusions struct {
	fsys fs.FS
	top  level // as if it were above the root

	mu     sync.Mutex
	levels map[string]*level // by directory
}

// level is what decides about the entries of a directory.
type level struct {
	// own are the patterns that are built in and those of .sourceignore files;
	// above are those that outweigh them. Of each, the last that says something
	// counts, and those that can say nothing here are left out.
	own, above []progress
	found      bool // whether there is any line but those that are built in
	includes   bool // whether one of them includes
	rules      [sha256.Size]byte
}

func newExclusions(fsys fs.FS, ignore *string) *exclusions {
	x := &exclusions{fsys: fsys, levels: map[string]*level{}}
	vcs, standard := read(vcsPatterns), read(defaultPatterns)
	for _, p := range standard.patterns {
		p.standard = true
	}
	x.top.own = append(vcs.patterns, standard.patterns...)
	if ignore != nil {
		given := read(*ignore)
		x.top.above, given.patterns = given.patterns, nil
		x.top.add(given, *ignore)
	}
	return x
}

// lines are those of one text, in order of increasing weight.
type lines struct {
	patterns []progress
	found    bool
	includes bool
}

func read(text string) lines {
	var l lines
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		p, ok := parsePattern(line)
		if ok {
			l.patterns = append(l.patterns, progress{pattern: &p})
		}
		l.found, l.includes = true, l.includes || p.includes
	}
	return l
}

// add takes up the lines of a text; rules names it.
func (l *level) add(more lines, rules string) {
	if !more.found {
		return
	}
	if !l.found { // they stand for what nobody has said
		l.own = slices.DeleteFunc(slices.Clone(l.own), func(p progress) bool { return p.standard })
	}
	l.own = slices.Concat(l.own, more.patterns)
	l.found, l.includes = true, l.includes || more.includes
	l.rules = sha256.Sum256(append(l.rules[:], rules...))
}

// level gives what decides about the entries of a directory.
func (x *exclusions) level(dir string) (*level, error) {
	x.mu.Lock()
	l := x.levels[dir]
	x.mu.Unlock()
	if l != nil {
		return l, nil
	}
	l, err := x.enter(&x.top, ".", "")
	for end := 0; err == nil && dir != "." && end < len(dir); {
		name, _, _ := strings.Cut(dir[end:], "/")
		end += len(name)
		l, err = x.enter(l, dir[:end], name)
		end++
	}
	return l, err
}

// enter gives the level of a directory, given that of the one above.
func (x *exclusions) enter(above *level, dir, name string) (*level, error) {
	x.mu.Lock()
	l := x.levels[dir]
	x.mu.Unlock()
	if l != nil {
		return l, nil
	}
	text, err := fs.ReadFile(x.fsys, path.Join(dir, ignoreFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading exclusions: %w", err)
	}
	l = &level{}
	*l = *above
	if above != &x.top {
		l.own, l.above = steps(above.own, name), steps(above.above, name)
	}
	l.add(read(string(text)), fmt.Sprintf("%q %q", dir, text))
	x.mu.Lock()
	x.levels[dir] = l
	x.mu.Unlock()
	return l, nil
}

// steps goes on with the next name on a path. What it gives must not be
// changed: it is the same slice, if the name makes no difference.
func steps(all []progress, name string) []progress {
	for i, p := range all {
		if next, ok := p.step(name); !ok || next != p {
			out := slices.Clone(all[:i])
			for _, p := range all[i:] {
				if next, ok := p.step(name); ok {
					out = append(out, next)
				}
			}
			return out
		}
	}
	return all
}

// Hides implements Filter.
func (x *exclusions) Hides(name string, isDir bool) (bool, error) {
	if name == "." {
		return false, nil
	}
	dir, base := ".", name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		dir, base = name[:i], name[i+1:]
	}
	l, err := x.level(dir)
	if err != nil || isDir && l.includes {
		return false, err
	}
	for _, patterns := range [][]progress{l.above, l.own} {
		for _, p := range slices.Backward(patterns) {
			if p.decides(base, isDir) {
				return !p.includes, nil
			}
		}
	}
	return false, nil
}

// Rules implements Filter.
func (x *exclusions) Rules(dir string) (string, error) {
	l, err := x.level(dir)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(l.rules[:16]), nil
}
