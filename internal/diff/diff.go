// Package diff tells a person how a live object differs from the desired one,
// field by field, and knows which fields are left to others. It compares
// values only: who owns a field, and whether a difference must be acted upon,
// is decided elsewhere. It must not know clusters or custom resources.
package diff

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/runtime"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Fields lists what differs between live and desired, ordered by path. Both
// are whole objects: a field that only one of them has is a difference, so
// desired should be what the API server would make of it (a dry run), unless
// defaulted fields shall be listed too. Neither is changed; nil stands for an
// object that does not exist. A part that is absent on one side is one change.
//
// Items of lists are matched by their merge key (as in
// .spec.template.spec.containers[name="web"].image) where the list has one,
// else by index. Left out are status, the metadata that the API server keeps
// for itself, and the pointers of the ignore rules that match ref. Values of
// Secrets appear as fingerprints.
func Fields(ref object.Ref, live, desired map[string]any, ignore []app.IgnoreRule) []app.FieldChange {
	from, to := prepare(ref, live, ignore), prepare(ref, desired, ignore)
	if from == nil || to == nil {
		dropIdentity(from)
		dropIdentity(to)
	}
	var c comparison
	c.maps("", from, to)
	return c.changes
}

// noise is metadata that says nothing about what someone wanted.
var noise = []string{"managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink"}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// prepare returns a redacted copy of content without what is not compared.
func prepare(ref object.Ref, content map[string]any, ignore []app.IgnoreRule) map[string]any {
	if content == nil {
		return nil
	}
	content = runtime.DeepCopyJSON(content)
	if ref.Kind == "Secret" && ref.Group == "" {
		content["apiVersion"], content["kind"] = "v1", "Secret"
		content = object.Redact(content)
	}
	Strip(content, ref, ignore)
	delete(content, "status")
	if meta, ok := content["metadata"].(map[string]any); ok {
		for _, field := range noise {
			delete(meta, field)
		}
		if notes, ok := meta["annotations"].(map[string]any); ok {
			delete(notes, lastApplied)
			if len(notes) == 0 {
				delete(meta, "annotations")
			}
		}
	}
	return content
}

// dropIdentity removes what names the object: of one that comes or goes, that is
// said elsewhere.
func dropIdentity(content map[string]any) {
	delete(content, "apiVersion")
	delete(content, "kind")
	if meta, ok := content["metadata"].(map[string]any); ok {
		delete(meta, "name")
		delete(meta, "namespace")
		if len(meta) == 0 {
			delete(content, "metadata")
		}
	}
}

type comparison struct{ changes []app.FieldChange }

func (c *comparison) values(path string, from, to any) {
	if fromMap, ok := from.(map[string]any); ok {
		if toMap, ok := to.(map[string]any); ok {
			c.maps(path, fromMap, toMap)
			return
		}
	}
	if fromList, ok := from.([]any); ok {
		if toList, ok := to.([]any); ok {
			c.lists(path, fromList, toList)
			return
		}
	}
	if reflect.DeepEqual(from, to) {
		return
	}
	_, fromText := from.(string)
	_, toText := to.(string)
	quote := fromText != toText // tell "5" from 5
	c.changes = append(c.changes, app.FieldChange{Path: path, From: render(from, quote), To: render(to, quote)})
}

func (c *comparison) maps(path string, from, to map[string]any) {
	keys := slices.Collect(maps.Keys(from))
	for k := range to {
		if _, both := from[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		was, inFrom := from[k]
		is, inTo := to[k]
		c.either(path+fieldPath(k), was, inFrom, is, inTo)
	}
}

// either compares two values of which one may be absent.
func (c *comparison) either(path string, from any, inFrom bool, to any, inTo bool) {
	switch {
	case inFrom && inTo:
		c.values(path, from, to)
	case inFrom:
		c.changes = append(c.changes, app.FieldChange{Path: path, From: render(from, false), ToAbsent: true})
	default:
		c.changes = append(c.changes, app.FieldChange{Path: path, To: render(to, false), FromAbsent: true})
	}
}

func (c *comparison) lists(path string, from, to []any) {
	keys := mergeKey(path, from, to)
	if keys == nil {
		for i := range max(len(from), len(to)) {
			var was, is any
			if i < len(from) {
				was = from[i]
			}
			if i < len(to) {
				is = to[i]
			}
			c.either(fmt.Sprintf("%s[%d]", path, i), was, i < len(from), is, i < len(to))
		}
		return
	}
	byKey := func(list []any) map[string]any {
		out := make(map[string]any, len(list))
		for _, item := range list {
			key, _ := itemKey(item, keys)
			if m := item.(map[string]any); m["protocol"] == nil && slices.Contains(keys, "protocol") {
				m["protocol"] = defaultProtocol // said or not, it is the same
			}
			out[key] = item
		}
		return out
	}
	was, is := byKey(from), byKey(to)
	// In the order that the desired object has; what leaves comes last.
	for _, list := range [][]any{to, from} {
		for _, item := range list {
			key, _ := itemKey(item, keys)
			f, inFrom := was[key]
			t, inTo := is[key]
			if inFrom || inTo {
				c.either(path+"["+key+"]", f, inFrom, t, inTo)
				delete(was, key)
				delete(is, key)
			}
		}
	}
}

// mergeKeys are the keys by which Kubernetes tells the items of its lists
// apart, in the order in which they are tried.
var mergeKeys = [][]string{
	{"name"}, {"containerPort", "protocol"}, {"port", "protocol"}, {"mountPath"}, {"devicePath"},
	{"topologyKey", "whenUnsatisfiable"}, {"key"}, {"type"}, {"ip"}, {"uid"},
}

// mergeKey picks the keys that every item of both lists has and that occur
// once in each; nil if there are none.
func mergeKey(path string, lists ...[]any) []string {
	candidates := mergeKeys
	if strings.HasSuffix(path, ".ports") { // names of ports change, numbers identify
		candidates = append(slices.Clone(mergeKeys[1:3]), mergeKeys...)
	}
	for _, keys := range candidates {
		if slices.ContainsFunc(lists, func(list []any) bool { return !keyed(list, keys) }) {
			continue
		}
		return keys
	}
	return nil
}

func keyed(list []any, keys []string) bool {
	seen := make(map[string]bool, len(list))
	for _, item := range list {
		key, ok := itemKey(item, keys)
		if !ok || seen[key] {
			return false
		}
		seen[key] = true
	}
	return true
}

// defaultProtocol is the protocol of a port that names none.
const defaultProtocol = "TCP"

// itemKey writes an item's key as it stands in paths: name="web".
func itemKey(item any, keys []string) (string, bool) {
	m, ok := item.(map[string]any)
	if !ok {
		return "", false
	}
	parts := make([]string, 0, len(keys))
	for _, k := range keys {
		v, ok := m[k]
		if !ok && k == "protocol" {
			v, ok = defaultProtocol, true
		}
		switch v.(type) {
		case string, int64, float64:
		default:
			ok = false
		}
		if !ok {
			return "", false
		}
		parts = append(parts, k+"="+render(v, true))
	}
	return strings.Join(parts, ","), true
}

var plainField = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func fieldPath(k string) string {
	if plainField.MatchString(k) {
		return "." + k
	}
	return fmt.Sprintf("[%q]", k)
}

// maxValue is how many runes of a value are shown.
const maxValue = 200

// render writes a value on one line: text as it is, unless that would be
// unclear or unsafe on a terminal, all else as JSON.
func render(v any, quote bool) string {
	text, isText := v.(string)
	if !isText || quote || text == "" || text != strings.TrimSpace(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		var out strings.Builder
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return fmt.Sprintf("<%T>", v)
		}
		text = strings.TrimSuffix(out.String(), "\n")
	}
	if r := []rune(text); len(r) > maxValue {
		return string(r[:maxValue-1]) + "…"
	}
	return text
}
