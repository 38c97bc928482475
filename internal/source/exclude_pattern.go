package source

import (
	"path"
	"strings"
)

// pattern is one of gitignore's, for what lies below the directory that names
// it. It is met by a path when its elements are found in the path's names one
// after the other, and by all that is below such a path.
//
// That is how go-git reads patterns, and so Flux: it differs from Git where "**"
// stands within an element, which meets nothing, and where it is the last
// element, which says nothing.
type pattern struct {
	elements []element
	includes bool // it began with "!"
	dirOnly  bool
	standard bool // one of the default exclusions
}

// element meets one name on a path.
type element struct {
	text     string
	how      comparison
	anywhere bool // names that it does not meet may come before
}

type comparison int

const (
	equal  comparison = iota
	ending            // "*" and text
	glob
)

// parsePattern reads a line that is neither empty nor a comment. ok is false if
// it can meet nothing.
func parsePattern(line string) (p pattern, ok bool) {
	line, p.includes = strings.CutPrefix(line, "!")
	if !strings.HasSuffix(line, `\ `) {
		line = strings.TrimRight(line, " ")
	}
	line, p.dirOnly = strings.CutSuffix(line, "/")
	names := strings.Split(line, "/")
	anywhere := len(names) == 1
	for i, name := range names {
		switch {
		case name == "":
			anywhere = false
			continue
		case name == "**" && len(names) > 1:
			anywhere = true
			if i == len(names)-1 {
				return p, len(p.elements) > 0
			}
			continue
		case strings.Contains(name, "**") && len(names) > 1:
			return p, false
		}
		if _, err := path.Match(name, ""); err != nil {
			return p, false
		}
		p.elements = append(p.elements, elementOf(name, anywhere))
		anywhere = false
	}
	return p, len(p.elements) > 0
}

func elementOf(name string, anywhere bool) element {
	const special = `*?[\`
	switch tail, star := strings.CutPrefix(name, "*"); {
	case !strings.ContainsAny(name, special):
		return element{name, equal, anywhere}
	case star && !strings.ContainsAny(tail, special):
		return element{tail, ending, anywhere}
	}
	return element{name, glob, anywhere}
}

func (e element) meets(name string) bool {
	switch e.how {
	case equal:
		return name == e.text
	case ending:
		return strings.HasSuffix(name, e.text)
	}
	ok, _ := path.Match(e.text, name) // parsePattern has tried whether it can be read
	return ok
}

// progress is how far a path has met a pattern.
type progress struct {
	*pattern
	met int // so many of its elements
}

// done reports whether the pattern is met by all below.
func (p progress) done() bool { return p.met == len(p.elements) }

// step goes on with the next name on the path. ok is false if nothing below can
// meet the pattern any more.
func (p progress) step(name string) (_ progress, ok bool) {
	if p.done() {
		return p, true
	}
	e := &p.elements[p.met]
	if e.meets(name) {
		p.met++
		return p, true
	}
	return p, e.anywhere
}

// decides reports whether the pattern says something of the entry of a
// directory.
func (p progress) decides(name string, isDir bool) bool {
	return p.done() || p.met == len(p.elements)-1 && p.elements[p.met].meets(name) && (isDir || !p.dirOnly)
}
