package argo

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// maxDrift is how many drift entries a status keeps.
const maxDrift = 20

// own writes status.plumb: what Plumb must remember, and what it has to tell
// that the status of Argo CD has no place for.
func (e *encoder) own() {
	own, _ := e.status["plumb"].(map[string]any)
	if own == nil {
		own = map[string]any{}
	}
	// A run that failed without saying what is delivered forgets nothing, save
	// of another cluster than it was about.
	if e.r.Records != nil || e.done() && e.r.Failure == nil || e.moved() {
		setList(own, "objects", recordLines(e.r.Records))
	}
	if e.r.LastSync != nil {
		own["lastSync"] = encodeAttempt(*e.r.LastSync)
	}
	if e.done() {
		var lines []any
		for _, text := range warningTexts(e.r.Warnings) {
			lines = append(lines, text)
		}
		setList(own, "warnings", lines)
	}
	e.drift(own)
	delete(own, "cluster")
	set(own, "cluster", e.r.Cluster)
	setList(own, "left", encodeLeft(e.r.Left))
	if len(own) > 0 {
		e.status["plumb"] = own
	}
}

// moved reports whether the status before tells of another cluster.
func (e *encoder) moved() bool {
	at, _, known := recordedAt(e.old)
	return known && at != e.r.Cluster
}

// recordedAt reads which cluster a status tells of, "" for the one that Plumb
// serves, and what moves left behind. known is false if Plumb never wrote it.
func recordedAt(u *unstructured.Unstructured) (at string, left []app.Left, known bool) {
	own, known, _ := unstructured.NestedMap(u.Object, "status", "plumb")
	for _, entry := range objects(own, "left") {
		l := app.Left{Cluster: text(entry, "cluster")}
		for _, line := range texts(entry, "objects") {
			if r, err := app.ParseRecord(line); err == nil {
				l.Records = append(l.Records, r)
			}
		}
		if more, ok := entry["more"].(int64); ok {
			l.More = int(more)
		}
		left = append(left, l)
	}
	return text(own, "cluster"), left, known
}

func encodeLeft(left []app.Left) []any {
	var out []any
	for _, l := range left {
		entry := map[string]any{}
		set(entry, "cluster", l.Cluster)
		setList(entry, "objects", recordLines(l.Records))
		if l.More > 0 {
			entry["more"] = int64(l.More)
		}
		out = append(out, entry)
	}
	return out
}

func recordLines(records []app.Record) []any {
	lines := make([]any, 0, len(records))
	for _, r := range slices.SortedFunc(slices.Values(records), func(x, y app.Record) int { return x.Ref.Compare(y.Ref) }) {
		lines = append(lines, app.FormatRecord(r))
	}
	return lines
}

func (e *encoder) drift(own map[string]any) {
	list, _ := own["drift"].([]any)
	list, e.fresh = mergeDrift(list, e.r.Drift)
	setList(own, "drift", list)
}

// mergeDrift adds what was found to what is known, newest first, and says what
// of it is news. Drift that stands is found by every look and told once; its
// restoration replaces its entry.
func mergeDrift(known []any, found []app.Drift) (list []any, fresh []app.Drift) {
	list = slices.Clone(known)
	var added []any
	for _, d := range found {
		entry := encodeDrift(d)
		at := slices.IndexFunc(list, func(v any) bool {
			was, _ := v.(map[string]any)
			return was["restored"] != true && was["object"] == entry["object"] && was["group"] == entry["group"] &&
				was["deleted"] == entry["deleted"] && slices.Equal(texts(was, "fields"), d.Fields)
		})
		switch {
		case at >= 0 && !d.Restored:
			continue
		case at >= 0:
			list[at] = entry
		case slices.ContainsFunc(list, func(v any) bool { return reflect.DeepEqual(v, any(entry)) }):
			continue
		default:
			added = append(added, entry)
		}
		fresh = append(fresh, d)
	}
	list = append(added, list...)
	return list[:min(len(list), maxDrift)], fresh
}

func encodeDrift(d app.Drift) map[string]any {
	out := map[string]any{"object": d.Ref.String(), "at": stamp(d.At), "restored": d.Restored}
	set(out, "group", d.Ref.Group)
	set(out, "by", d.By)
	set(out, "subresource", d.Subresource)
	set(out, "restoredAt", stamp(d.RestoredAt))
	if d.Deleted {
		out["deleted"] = true
	}
	var fields []any
	for _, f := range d.Fields {
		fields = append(fields, f)
	}
	setList(out, "fields", fields)
	return out
}

// warningTexts gives warnings as lines, each once.
func warningTexts(warnings []app.Warning) []string {
	var out []string
	for _, w := range warnings {
		text := w.Message
		if w.Field != "" {
			text = w.Field + ": " + w.Message
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// setList writes a list, or removes an empty one.
func setList(into map[string]any, key string, list []any) {
	if len(list) == 0 {
		delete(into, key)
		return
	}
	into[key] = list
}

func texts(m map[string]any, key string) []string {
	list, _ := m[key].([]any)
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
