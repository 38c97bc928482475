package argo

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// recorded reads what was delivered so far: status.resources, which Argo CD
// writes as well, with the digests of status.plumb.objects added. Entries that
// cannot be read are left out: they are then found again by their mark.
func recorded(u *unstructured.Unstructured) []app.Record {
	byRef := map[object.Ref]app.Record{}
	for _, item := range objects(u.Object, "status", "resources") {
		r := app.Record{
			Ref: object.Ref{
				Group: text(item, "group"), Kind: text(item, "kind"),
				Namespace: text(item, "namespace"), Name: text(item, "name"),
			},
			Version: text(item, "version"),
		}
		// Hooks are no part of what is delivered, and what is missing never
		// arrived.
		if r.Ref.Kind == "" || r.Ref.Name == "" || item["hook"] == true || text(item, "health", "status") == "Missing" {
			continue
		}
		byRef[r.Ref] = r
	}
	lines, _, _ := unstructured.NestedStringSlice(u.Object, "status", "plumb", "objects")
	for _, line := range lines {
		if r, err := app.ParseRecord(line); err == nil {
			byRef[r.Ref] = r
		}
	}
	out := make([]app.Record, 0, len(byRef))
	for _, r := range byRef {
		out = append(out, r)
	}
	slices.SortFunc(out, func(x, y app.Record) int { return x.Ref.Compare(y.Ref) })
	if len(out) == 0 {
		return nil
	}
	return out
}

// lastSync reads what the next decision builds on: what Plumb remembered, or
// the operation state if Argo CD wrote a later one.
func lastSync(u *unstructured.Unstructured) *app.Attempt {
	byState := syncOfState(u)
	own, ok, _ := unstructured.NestedMap(u.Object, "status", "plumb", "lastSync")
	if !ok {
		return byState
	}
	a := &app.Attempt{
		Revision: text(own, "revision"),
		SpecHash: text(own, "specHash"),
		Started:  moment(own, "startedAt"),
		Finished: moment(own, "finishedAt"),
		Heals:    int(number(own, "heals")),
		Retries:  int(number(own, "retries")),
	}
	a.Succeeded, _, _ = unstructured.NestedBool(own, "succeeded")
	if byState != nil && byState.Started.After(a.Started) && byState.Started.After(a.Finished) && !byState.Finished.IsZero() {
		return byState
	}
	return a
}

// encodeAttempt is the reverse of lastSync.
func encodeAttempt(a app.Attempt) map[string]any {
	out := map[string]any{"revision": a.Revision, "succeeded": a.Succeeded}
	set(out, "specHash", a.SpecHash)
	set(out, "startedAt", stamp(a.Started))
	set(out, "finishedAt", stamp(a.Finished))
	if a.Heals != 0 {
		out["heals"] = int64(a.Heals)
	}
	if a.Retries != 0 {
		out["retries"] = int64(a.Retries)
	}
	return out
}

func syncOfState(u *unstructured.Unstructured) *app.Attempt {
	state, ok, _ := unstructured.NestedMap(u.Object, "status", "operationState")
	if !ok {
		return nil
	}
	dry, _, _ := unstructured.NestedBool(state, "operation", "sync", "dryRun")
	chosen, _, _ := unstructured.NestedSlice(state, "operation", "sync", "resources")
	heals := number(state, "operation", "sync", "autoHealAttemptsCount")
	if dry || len(chosen) > 0 && heals == 0 {
		return nil // it says nothing about the whole
	}
	a := &app.Attempt{
		Revision:  text(state, "syncResult", "revision"),
		Started:   moment(state, "startedAt"),
		Finished:  moment(state, "finishedAt"),
		Succeeded: text(state, "phase") == phaseSucceeded,
		Heals:     int(heals),
		Retries:   int(number(state, "retryCount")),
	}
	if revisions, _, _ := unstructured.NestedStringSlice(state, "syncResult", "revisions"); a.Revision == "" && len(revisions) == 1 {
		a.Revision = revisions[0]
	}
	return a
}

// The readers below take what is there and of the right type; a status is
// never a reason to fail.

func text(m map[string]any, path ...string) string {
	s, _, _ := unstructured.NestedString(m, path...)
	return s
}

func number(m map[string]any, path ...string) int64 {
	v, ok, _ := unstructured.NestedFieldNoCopy(m, path...)
	if !ok {
		return 0
	}
	switch n := v.(type) {
	case int64:
		return n
	case float64:
		return int64(n)
	}
	return 0
}

func moment(m map[string]any, path ...string) time.Time {
	t, err := time.Parse(time.RFC3339, text(m, path...))
	if err != nil {
		return time.Time{}
	}
	return t
}

func objects(m map[string]any, path ...string) []map[string]any {
	v, _, _ := unstructured.NestedFieldNoCopy(m, path...)
	list, _ := v.([]any)
	var out []map[string]any
	for _, item := range list {
		if o, ok := item.(map[string]any); ok {
			out = append(out, o)
		}
	}
	return out
}
