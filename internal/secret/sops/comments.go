package sops

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// level is a mapping or a list that is being visited: whether a comment that
// stands before its next value, and so is about it, is one that the rule is
// about. Comments are not kept, so that many do not take long.
type level struct {
	latest  bool // the comment that was seen last
	earlier bool // one before it
}

func (w *walker) enter() { w.levels = append(w.levels, level{}) }
func (w *walker) leave() { w.levels = w.levels[:len(w.levels)-1] }

// passed forgets the comments before a value that was visited.
func (w *walker) passed() { w.levels[len(w.levels)-1] = level{} }

// encrypted tells whether the value at a path is, or the comment that was seen
// last.
func (w *walker) encrypted(path []string, comment bool) bool {
	matches := false
	if w.rule.comments {
		for i, l := range w.levels {
			// A comment that asks for encryption cannot be encrypted itself.
			itself := comment && w.rule.encrypts && i == len(w.levels)-1
			matches = matches || l.earlier || l.latest && !itself
		}
	} else {
		matches = slices.ContainsFunc(path, w.rule.match)
	}
	return matches == w.rule.encrypts
}

// note visits one comment, without what makes it one. Comments count in no
// sum, and one that cannot be decrypted is one that someone added.
func (w *walker) note(text string, path []string) (_ string, opened bool) {
	if w.rule.comments {
		top := &w.levels[len(w.levels)-1]
		top.earlier = top.earlier || top.latest
		top.latest = w.rule.match(text)
	}
	if !strings.HasPrefix(text, "ENC[") || !w.encrypted(path, true) {
		return text, false
	}
	v, err := decryptValue(w.key, text, where(path))
	if err != nil {
		return text, false
	}
	return v.text, true
}

// remarks are comments before the next value, without what makes them comments.
// To sops a comment is one line, stands in order with the values, and belongs
// to the next; so it writes them, wherever they stood.
type remarks struct {
	head   []string // above it
	inline []string // behind it
}

func (r *remarks) takeHead() string   { return written(&r.head) }
func (r *remarks) takeInline() string { return written(&r.inline) }

func written(lines *[]string) string {
	if len(*lines) == 0 {
		return ""
	}
	text := "#" + strings.Join(*lines, "\n#")
	*lines = nil
	return text
}

func uncomment(n *yaml.Node) { n.HeadComment, n.LineComment, n.FootComment = "", "", "" }

// remark visits comments of YAML.
func (w *walker) remark(r *remarks, path []string, comments ...string) {
	for _, c := range comments {
		for line := range strings.SplitSeq(c, "\n") {
			if line != "" {
				plain, _ := w.note(line[1:], path)
				r.head = append(r.head, plain)
			}
		}
	}
}

// inline visits a comment behind a value. One that was encrypted then stands
// above it.
func (w *walker) inline(r *remarks, path []string, comment string) {
	for line := range strings.SplitSeq(comment, "\n") {
		if line == "" {
			continue
		}
		if plain, opened := w.note(line[1:], path); opened {
			r.head = append(r.head, plain)
		} else {
			r.inline = append(r.inline, plain)
		}
	}
}
