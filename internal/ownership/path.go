package ownership

import (
	"encoding/json"
	"fmt"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// pathText writes a path as app.FieldChange has it:
// .spec.containers[name="web"].image, .metadata.labels["app.kubernetes.io/name"].
func pathText(path fieldpath.Path) string {
	var b strings.Builder
	for _, e := range path {
		switch {
		case e.FieldName != nil && plain(*e.FieldName):
			b.WriteString("." + *e.FieldName)
		case e.FieldName != nil:
			fmt.Fprintf(&b, "[%q]", *e.FieldName)
		case e.Key != nil:
			parts := make([]string, len(*e.Key))
			for i, field := range *e.Key {
				parts[i] = field.Name + "=" + valueText(field.Value)
			}
			b.WriteString("[" + strings.Join(parts, ",") + "]")
		case e.Value != nil:
			b.WriteString("[=" + valueText(*e.Value) + "]")
		case e.Index != nil:
			fmt.Fprintf(&b, "[%d]", *e.Index)
		}
	}
	return b.String()
}

func valueText(v value.Value) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v.Unstructured()); err != nil {
		return value.ToString(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// plain reports whether a field name can follow a dot.
func plain(field string) bool {
	for i, r := range field {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			return false
		}
	}
	return field != ""
}
