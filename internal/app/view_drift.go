package app

import (
	"slices"
	"strings"
	"time"

	"plumb.dev/plumb/internal/object"
)

// DriftFrom reads the entries of status.plumb.drift, which all dialects write
// alike: maps of object ("Kind/namespace/name"), group, at, by, subresource,
// fields, deleted, restored and restoredAt, of which only object must be there,
// and by may hold the subresource, as in "kubectl (scale)".
// Entries that make no sense are left out. The newest comes first.
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
		ref.Group = textOf(m, "group")
		by, subresource := textOf(m, "by"), textOf(m, "subresource")
		if who, through, ok := strings.Cut(strings.TrimSuffix(by, ")"), " ("); ok && subresource == "" {
			by, subresource = who, through
		}
		d := Drift{
			Ref: ref, At: timeOf(m, "at"), By: by, Subresource: subresource,
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
	slices.SortStableFunc(out, func(a, b Drift) int { return b.At.Compare(a.At) })
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
