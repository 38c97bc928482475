package flux

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"plumb.dev/plumb/internal/app"
)

// maxUnknown bounds the unknown fields that one resource is told about.
const maxUnknown = 20

// convert fills the struct that into points to from a spec. A field of the
// wrong type, which the schema lets pass nowhere, is a failure that names it.
func convert(spec map[string]any, into any) *app.Failure {
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, into)
	if err == nil {
		return nil
	}
	for _, key := range sortedKeys(spec) {
		probe := reflect.New(reflect.TypeOf(into).Elem()).Interface()
		if e := runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{key: spec[key]}, probe); e != nil {
			return app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.%s has the wrong type: %w", key, e)
		}
	}
	return app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec has the wrong type: %w", err)
}

// unknownFields compares value with the JSON fields of the struct type t,
// nested ones included, and reports each field that t does not have, in the
// order of their paths.
func unknownFields(path string, value any, t reflect.Type) []app.Warning {
	var out []app.Warning
	walkUnknown(path, value, t, func(p string) {
		if len(out) < maxUnknown {
			out = append(out, app.Warning{Field: p, Message: "unknown field, ignored"})
		}
	})
	return out
}

var selfDecoding = reflect.TypeFor[json.Unmarshaler]()

func walkUnknown(path string, value any, t reflect.Type, report func(string)) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(selfDecoding) {
		return
	}
	switch t.Kind() {
	case reflect.Slice:
		items, _ := value.([]any)
		for i, item := range items {
			walkUnknown(fmt.Sprintf("%s[%d]", path, i), item, t.Elem(), report)
		}
	case reflect.Struct:
		fields, _ := value.(map[string]any)
		known := map[string]reflect.Type{}
		for _, f := range reflect.VisibleFields(t) {
			if f.Anonymous {
				continue // what is in it is visible too
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			known[name] = f.Type
		}
		for _, key := range sortedKeys(fields) {
			if ft, ok := known[key]; ok {
				walkUnknown(path+"."+key, fields[key], ft, report)
			} else {
				report(path + "." + key)
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// section is a map below a resource or a status, nil if absent or no map.
func section(m map[string]any, path ...string) map[string]any {
	v, _, _ := unstructured.NestedFieldNoCopy(m, path...)
	out, _ := v.(map[string]any)
	return out
}

func list(m map[string]any, path ...string) []any {
	v, _, _ := unstructured.NestedFieldNoCopy(m, path...)
	out, _ := v.([]any)
	return out
}

func text(m map[string]any, path ...string) string {
	v, _, _ := unstructured.NestedFieldNoCopy(m, path...)
	out, _ := v.(string)
	return out
}

func integer(m map[string]any, path ...string) int64 {
	v, _, _ := unstructured.NestedFieldNoCopy(m, path...)
	switch n := v.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}
