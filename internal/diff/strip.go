package diff

import (
	"path"
	"regexp"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Matches reports whether rule is about the object ref with that content: Group and Kind are patterns in
// which * stands for any text, as are Namespace and Name, where "" matches
// any.
func Matches(rule app.IgnoreRule, ref object.Ref, content map[string]any) bool {
	if rule.Target != nil {
		return selected(*rule.Target, ref, content)
	}
	match := func(pattern, value string) bool {
		ok, err := path.Match(pattern, value)
		return err == nil && ok
	}
	return match(rule.Group, ref.Group) && match(rule.Kind, ref.Kind) &&
		(rule.Namespace == "" || match(rule.Namespace, ref.Namespace)) &&
		(rule.Name == "" || match(rule.Name, ref.Name))
}

// selected reports whether a selector picks an object. Its fields are anchored
// regular expressions, and label selectors as Kubernetes has them; one that
// cannot be parsed picks nothing.
func selected(s app.Selector, ref object.Ref, content map[string]any) bool {
	u := unstructured.Unstructured{Object: content}
	version := u.GroupVersionKind().Version
	for _, field := range [][2]string{{s.Group, ref.Group}, {s.Version, version}, {s.Kind, ref.Kind}, {s.Namespace, ref.Namespace}, {s.Name, ref.Name}} {
		if field[0] == "" {
			continue
		}
		pattern, err := regexp.Compile("^(?:" + field[0] + ")$")
		if err != nil || !pattern.MatchString(field[1]) {
			return false
		}
	}
	for _, field := range []struct {
		selector string
		on       map[string]string
	}{{s.LabelSelector, u.GetLabels()}, {s.AnnotationSelector, u.GetAnnotations()}} {
		if field.selector == "" {
			continue
		}
		pattern, err := labels.Parse(field.selector)
		if err != nil || !pattern.Matches(labels.Set(field.on)) {
			return false
		}
	}
	return true
}

// Strip removes from content, in place, what the pointers of the rules that
// match ref point at (JSON Pointer, RFC 6901; indices count in the list as it
// came). A pointer to nothing is no error.
func Strip(content map[string]any, ref object.Ref, rules []app.IgnoreRule) {
	items := false
	for _, rule := range rules {
		if !Matches(rule, ref, content) {
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
