package flux

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"

	"plumb.dev/plumb/internal/app"
)

// maxHistory and maxDrift bound what a status remembers; Flux keeps five.
const (
	maxHistory     = 5
	maxDrift       = 10
	maxDriftFields = 10
)

// upsertHistory counts a run in status.history: one entry for each pair of
// delivered content and outcome, newest first. A run that wrote nothing and
// has the newest entry already is not counted, for a status that changes with
// every look would be a write with every look.
func upsertHistory(r app.Report, outcome string, status map[string]any) {
	digest := contentDigest(r.Records)
	history := list(status, "history")
	at := slices.IndexFunc(history, func(item any) bool {
		m, _ := item.(map[string]any)
		return text(m, "digest") == digest && text(m, "lastReconciledStatus") == outcome
	})
	if at == 0 && r.Attempt == nil {
		return
	}
	entry := map[string]any{
		"digest":                 digest,
		"firstReconciled":        stamp(r.At),
		"lastReconciled":         stamp(r.At),
		"lastReconciledDuration": duration(r.At.Sub(r.Started)),
		"lastReconciledStatus":   outcome,
		"totalReconciliations":   int64(1),
		"metadata":               map[string]any{"revision": FormatRevision(r.Revision)},
	}
	if origin := r.Revision.Metadata[originRevision]; origin != "" {
		section(entry, "metadata")["originRevision"] = origin
	}
	if at >= 0 {
		before := history[at].(map[string]any)
		entry["firstReconciled"] = orElse(text(before, "firstReconciled"), stamp(r.At))
		entry["totalReconciliations"] = integer(before, "totalReconciliations") + 1
		history = slices.Delete(history, at, at+1)
	}
	history = slices.Insert(history, 0, any(entry))
	status["history"] = history[:min(len(history), maxHistory)]
}

// contentDigest identifies what was delivered, in any order.
func contentDigest(records []app.Record) string {
	lines := make([]string, 0, len(records))
	for _, r := range records {
		lines = append(lines, app.FormatRef(r.Ref)+" "+r.Version+" "+r.Desired)
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// mergeDrift puts what was found into status.plumb.drift, newest first. What
// is there already (the same object at the same time) is updated.
func mergeDrift(old []any, found []app.Drift) []any {
	out := slices.Clone(old)
	for _, d := range found {
		entry := encodeDrift(d)
		out = slices.DeleteFunc(out, func(item any) bool {
			m, _ := item.(map[string]any)
			return m["object"] == entry["object"] && m["group"] == entry["group"] && m["at"] == entry["at"] &&
				(m["restored"] != true || reflect.DeepEqual(m["fields"], entry["fields"])) // two changes in a second are two
		})
		out = slices.Insert(out, 0, any(entry))
	}
	return out[:min(len(out), maxDrift)]
}

// encodeDrift has the keys that app.DriftFrom reads.
func encodeDrift(d app.Drift) map[string]any {
	entry := map[string]any{
		"object":   d.Ref.String(),
		"at":       stamp(d.At),
		"restored": d.Restored,
	}
	for key, value := range map[string]string{"group": d.Ref.Group, "by": d.By, "subresource": d.Subresource} {
		if value != "" {
			entry[key] = value
		}
	}
	if d.Deleted {
		entry["deleted"] = true
	}
	if d.Restored && !d.RestoredAt.IsZero() {
		entry["restoredAt"] = stamp(d.RestoredAt)
	}
	if len(d.Fields) > 0 {
		fields := make([]any, 0, maxDriftFields)
		for _, f := range d.Fields[:min(len(d.Fields), maxDriftFields)] {
			fields = append(fields, f)
		}
		entry["fields"] = fields
	}
	return entry
}
