package app

import (
	"strings"
	"time"

	"plumb.dev/plumb/internal/object"
)

// DriftFrom reads the entries of status.plumb.drift, which all dialects write
// alike: maps of object ("Kind/namespace/name"), at, by, subresource, fields,
// deleted, restored and restoredAt, newest first. Entries that make no sense
// are left out. The group of an object is not told there.
func DriftFrom(entries []any) []Drift {
	var out []Drift
	for _, e := range entries {
		m, ok := e.(map[string]any)
		if !ok {
			continue
		}
		ref, ok := refFrom(textOf(m, "object"))
		if !ok {
			continue
		}
		d := Drift{
			Ref: ref, At: timeOf(m, "at"), By: textOf(m, "by"), Subresource: textOf(m, "subresource"),
			Deleted: m["deleted"] == true, Restored: m["restored"] == true, RestoredAt: timeOf(m, "restoredAt"),
		}
		fields, _ := m["fields"].([]any)
		for _, f := range fields {
			if path, ok := f.(string); ok {
				d.Fields = append(d.Fields, path)
			}
		}
		out = append(out, d)
	}
	return out
}

// refFrom reads Kind/namespace/name or Kind/name.
func refFrom(text string) (object.Ref, bool) {
	parts := strings.Split(text, "/")
	for _, p := range parts {
		if p == "" {
			return object.Ref{}, false
		}
	}
	switch len(parts) {
	case 2:
		return object.Ref{Kind: parts[0], Name: parts[1]}, true
	case 3:
		return object.Ref{Kind: parts[0], Namespace: parts[1], Name: parts[2]}, true
	}
	return object.Ref{}, false
}

func textOf(m map[string]any, key string) string {
	s, _ := m[key].(string)
	return s
}

func timeOf(m map[string]any, key string) time.Time {
	t, err := time.Parse(time.RFC3339, textOf(m, key))
	if err != nil {
		return time.Time{}
	}
	return t
}
