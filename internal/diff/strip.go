package diff

import (
	"path"
	"strconv"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Matches reports whether rule is about ref: Group and Kind are patterns in
// which * stands for any text, as are Namespace and Name, where "" matches
// any.
func Matches(rule app.IgnoreRule, ref object.Ref) bool {
	match := func(pattern, value string) bool {
		ok, err := path.Match(pattern, value)
		return err == nil && ok
	}
	return match(rule.Group, ref.Group) && match(rule.Kind, ref.Kind) &&
		(rule.Namespace == "" || match(rule.Namespace, ref.Namespace)) &&
		(rule.Name == "" || match(rule.Name, ref.Name))
}

// Strip removes from content, in place, what the pointers of the rules that
// match ref point at (JSON Pointer, RFC 6901; indices count in the list as it
// came). A pointer to nothing is no error.
func Strip(content map[string]any, ref object.Ref, rules []app.IgnoreRule) {
	items := false
	for _, rule := range rules {
		if !Matches(rule, ref) {
			continue
		}
		for _, pointer := range rule.Pointers {
			items = mark(content, pointer) || items
		}
	}
	if items {
		sweep(content)
	}
}

// removed takes the place of a list item until all pointers are followed, so
// that indices keep their meaning.
type removed struct{}

var unescape = strings.NewReplacer("~1", "/", "~0", "~")

// mark follows one pointer. It deletes a field at once; an item of a list is
// only marked, which the result tells.
func mark(content map[string]any, pointer string) (item bool) {
	if !strings.HasPrefix(pointer, "/") {
		return false
	}
	var at any = content
	steps := strings.Split(pointer[1:], "/")
	for i, step := range steps {
		step = unescape.Replace(step)
		last := i == len(steps)-1
		switch in := at.(type) {
		case map[string]any:
			if last {
				delete(in, step)
				return false
			}
			at = in[step]
		case []any:
			index, err := strconv.Atoi(step)
			if err != nil || index < 0 || index >= len(in) {
				return false
			}
			if last {
				in[index] = removed{}
				return true
			}
			at = in[index]
		default:
			return false
		}
	}
	return false
}

// sweep takes out the marked list items and returns v without them.
func sweep(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if swept := sweep(item); swept != nil {
				v[k] = swept
			}
		}
	case []any:
		kept := v[:0]
		for _, item := range v {
			if _, gone := item.(removed); !gone {
				kept = append(kept, sweep(item))
			}
		}
		return kept
	}
	return v
}
