package diff

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Carry gives obj with the fields that rules leave to others as live has them.
// Where live has none, or they cannot be placed, obj has none either.
func Carry(obj object.Object, live map[string]any, rules []app.IgnoreRule) object.Object {
	ref := obj.Ref()
	content := runtime.DeepCopyJSON(obj.Unstructured().Object)
	carried := false
	for _, rule := range rules {
		if !Matches(rule, ref, content) {
			continue
		}
		for _, pointer := range rule.Pointers {
			var steps []string
			if text, ok := strings.CutPrefix(pointer, "/"); ok {
				for _, step := range strings.Split(text, "/") {
					steps = append(steps, unescape.Replace(step))
				}
			}
			carried = carryOver(content, live, steps) || carried
		}
	}
	if !carried {
		return obj
	}
	return object.New(content, obj.Origin)
}

// carryOver copies what is at path in from into to, and reports whether it did.
func carryOver(to, from any, path []string) bool {
	if len(path) == 0 {
		return false
	}
	step, rest := path[0], path[1:]
	switch from := from.(type) {
	case map[string]any:
		into, ok := to.(map[string]any)
		value, there := from[step]
		if !ok || !there {
			return false
		}
		if len(rest) == 0 {
			into[step] = runtime.DeepCopyJSONValue(value)
			return true
		}
		if _, there := into[step]; !there {
			if _, ok := value.(map[string]any); !ok {
				return false
			}
			made := map[string]any{}
			if !carryOver(made, value, rest) {
				return false
			}
			into[step] = made
			return true
		}
		return carryOver(into[step], value, rest)
	case []any:
		into, ok := to.([]any)
		i, err := strconv.Atoi(step)
		if !ok || err != nil || i < 0 || i >= len(from) || i >= len(into) {
			return false
		}
		if len(rest) == 0 {
			into[i] = runtime.DeepCopyJSONValue(from[i])
			return true
		}
		return carryOver(into[i], from[i], rest)
	}
	return false
}
