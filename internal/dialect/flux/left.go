package flux

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// recordedAt is the cluster that a status of Plumb's tells of, "" for the one
// that Plumb serves.
func recordedAt(status map[string]any) string { return text(status, "plumb", "cluster") }

// decodeLeft reads where the recorded objects are, and what moves left
// behind. A status that Flux wrote is of the cluster that the spec names.
func decodeLeft(status map[string]any, target string) (at string, left []app.Left) {
	if section(status, "plumb") == nil {
		return target, nil
	}
	for _, item := range list(status, "plumb", "left") {
		entry, _ := item.(map[string]any)
		l := app.Left{Cluster: text(entry, "cluster")}
		for _, line := range list(entry, "objects") {
			id, _ := line.(string)
			if r, err := app.ParseRecord(id); err == nil {
				l.Records = append(l.Records, r)
			}
		}
		if more, ok := entry["more"].(int64); ok {
			l.More = int(more)
		}
		left = append(left, l)
	}
	return recordedAt(status), left
}

// encodeLeft is the reverse of decodeLeft.
func encodeLeft(r app.Report, status map[string]any) {
	var out []any
	for _, l := range r.Left {
		var objects []any
		for _, rec := range slices.SortedFunc(slices.Values(l.Records), func(a, b app.Record) int {
			return cmp.Compare(app.FormatRef(a.Ref), app.FormatRef(b.Ref))
		}) {
			objects = append(objects, app.FormatRecord(rec))
		}
		entry := map[string]any{}
		if len(objects) > 0 {
			entry["objects"] = objects
		}
		if l.More > 0 {
			entry["more"] = int64(l.More)
		}
		if l.Cluster != "" {
			entry["cluster"] = l.Cluster
		}
		out = append(out, entry)
	}
	setPlumb(status, "left", out)
	plumb := section(status, "plumb")
	if r.Cluster != "" {
		orSet(status, "plumb")["cluster"] = r.Cluster
	} else if plumb != nil {
		delete(plumb, "cluster")
	}
}

// encodeSince makes sure that a status says whose it is: that of a release to
// which nothing was done says the same whoever delivers, and who takes over from
// Flux waits for a word of Plumb's. It comes after all else that is Plumb's.
func encodeSince(r app.Report, status map[string]any) {
	if !running(r) && section(status, "plumb") == nil {
		orSet(status, "plumb")["since"] = stamp(r.At)
	}
}

// IsPlumbs reports whether the status of an app was written by Plumb last, or
// by Flux without taking out what Plumb had written.
func IsPlumbs(u *unstructured.Unstructured) bool {
	return section(u.Object, "status", "plumb") != nil
}
