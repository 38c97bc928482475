package flux

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// EncodeKustomization gives the status that tells of r, made from the status
// before; old stays as it is. A report that says nothing new gives a status
// equal to old, so that nothing need be written. A suspended Kustomization is
// not reported on: Flux leaves its status untouched.
func EncodeKustomization(r app.Report, spec app.Spec, old map[string]any) map[string]any {
	status := runtime.DeepCopyJSON(orEmpty(old))
	delete(status, "snapshot") // of v1beta1
	conds := readConditions(status, r.At, r.Generation)
	if r.Phase == app.PhaseDone && r.Handled != "" {
		status["lastHandledReconcileAt"] = r.Handled
	}
	if attempted(r) {
		status["lastAttemptedRevision"] = FormatRevision(r.Revision)
	}
	if applied := FormatRevision(r.Applied); applied != "" {
		status["lastAppliedRevision"] = applied
		if r.Applied.ID() == r.Revision.ID() { // of others only the name may be known
			if origin := r.Revision.Metadata[originRevision]; origin != "" {
				status["lastAppliedOriginRevision"] = origin
			} else {
				delete(status, "lastAppliedOriginRevision")
			}
		}
	}
	if !spec.Policy.Wait {
		conds.drop(condHealthy)
	}
	switch {
	case running(r):
		kustomizationRunning(r, spec, conds)
	case r.Failure == nil:
		kustomizationDone(r, status, conds)
	default:
		kustomizationFailed(r, spec, status, conds)
	}
	status["conditions"] = conds.encode()
	// What is recorded of one cluster says nothing about another.
	moved := recordedAt(old) != r.Cluster && section(old, "plumb") != nil
	if written(r) || moved {
		records := r.Records
		if !moved {
			records = remembered(r, status)
		}
		encodeRecords(records, status)
		if !running(r) && written(r) {
			upsertHistory(r, conds.reason(condReady), status)
		}
	}
	if r.Attempt != nil && !r.Attempt.Running {
		orSet(status, "plumb")["lastSync"] = encodeAttempt(r.Attempt.Attempt)
	}
	encodeAhead(r.Ahead, status)
	setPlumb(status, "drift", mergeDrift(list(status, "plumb", "drift"), r.Drift))
	setPlumb(status, "warnings", encodeWarnings(slices.Concat(spec.Warnings, r.Warnings)))
	encodeLeft(r, status)
	encodeSince(r, status)
	return status
}

// running: a run that a newer revision took over goes on as the next one.
// Only a health check that is cut short is told, as Flux does.
func running(r app.Report) bool {
	return r.Phase == app.PhaseRunning ||
		r.Failure != nil && r.Failure.Reason == app.ReasonSuperseded && r.Failure.Stage != app.StageHealth
}

// progress orders the stages; a run that is done without failure is past all.
func progress(r app.Report) int {
	stages := []app.Stage{
		app.StageSpec, app.StageDepends, app.StageFetch, app.StageRender, app.StageObserve,
		app.StagePlan, app.StageApply, app.StagePrune, app.StageHealth, app.StageDelete,
	}
	switch {
	case r.Failure != nil:
		return slices.Index(stages, r.Failure.Stage)
	case r.Phase == app.PhaseRunning:
		return slices.Index(stages, r.Stage)
	}
	return len(stages)
}

const (
	atFetch  = 2
	atRender = 3
	atApply  = 6
)

// attempted: the revision counts as tried once it is fetched and has the path.
func attempted(r app.Report) bool {
	if r.Revision.IsZero() {
		return false
	}
	p := progress(r)
	return p > atRender || p == atRender && r.Failure != nil && r.Failure.Reason != app.ReasonPathNotFound
}

// written: the run came as far as writing, so that its records are newer than
// those of the status. Before that the inventory stays, whatever the report
// holds: what is not in it is never pruned.
func written(r app.Report) bool { return progress(r) >= atApply }

func kustomizationRunning(r app.Report, spec app.Spec, conds *conditionSet) {
	message := progressMessage(r, spec)
	conds.set(condReady, "Unknown", "Progressing", "Reconciliation in progress")
	conds.set(condReconciling, "True", "Progressing", message)
	conds.drop(condStalled)
	if spec.Policy.Wait && r.Stage == app.StageHealth {
		conds.set(condHealthy, "Unknown", "Progressing", message)
	}
}

func kustomizationDone(r app.Report, status map[string]any, conds *conditionSet) {
	revision := orElse(FormatRevision(r.Applied), FormatRevision(r.Revision))
	conds.set(condReady, "True", "ReconciliationSucceeded", "Applied revision: "+revision)
	if r.WaitedForHealth {
		message := "Health check passed in " + duration(r.At.Sub(r.Started))
		if r.Attempt == nil && conds.has(condHealthy, "True") {
			message = conds.message(condHealthy) // it passed then; now it still holds
		}
		conds.set(condHealthy, "True", "Succeeded", message)
	}
	conds.drop(condReconciling, condStalled)
	status["observedGeneration"] = r.Generation
}

func kustomizationFailed(r app.Report, spec app.Spec, status map[string]any, conds *conditionSet) {
	f := r.Failure
	means := translate(kustomizationReasons(), f)
	message := failureMessage(f)
	conds.set(condReady, "False", means.reason, readyMessage(r, conds))
	if conds.stall(means, message, status, r.Generation) {
		return
	}
	// Flux announces a run only once source and dependencies are there. What
	// fails before keeps the announcement of an earlier run, if there is one.
	begun := progress(r) >= atFetch && f.Reason != app.ReasonSourceNotFound && f.Reason != app.ReasonSourceNotReady
	switch {
	case begun:
		conds.set(condReconciling, "True", "ProgressingWithRetry", progressMessage(r, spec))
	case conds.has(condReconciling, "True"):
		conds.set(condReconciling, "True", "ProgressingWithRetry", conds.message(condReconciling))
	}
	if f.Stage == app.StageHealth && spec.Policy.Wait {
		conds.set(condHealthy, "False", means.reason, message)
	}
}

// readyMessage is what Ready, and the event, say of a failed run. How long the
// checks took stays as long as nothing else about them changes: it alone is no
// news.
func readyMessage(r app.Report, before *conditionSet) string {
	message := failureMessage(r.Failure)
	switch translate(kustomizationReasons(), r.Failure).reason {
	case "HealthCheckFailed":
		const failed = "health check failed after "
		if old := before.message(condReady); strings.HasPrefix(old, failed) && strings.HasSuffix(old, ": "+message) {
			return old
		}
		return failed + duration(r.At.Sub(r.Started)) + ": " + message
	case "HealthCheckCanceled":
		return "New reconciliation triggered: " + message
	}
	return message
}

// progressMessage is what Reconciling says of the stage that a run is in.
func progressMessage(r app.Report, spec app.Spec) string {
	stage := r.Stage
	if r.Failure != nil {
		stage = r.Failure.Stage
	}
	doing := "Detecting drift"
	switch stage {
	case app.StageSpec, app.StageDepends:
		return orElse(r.Progress, "Reconciliation in progress")
	case app.StageFetch:
		doing = "Fetching manifests"
	case app.StageRender:
		doing = "Building manifests"
		if f := r.Failure; f != nil && f.Reason == app.ReasonPathNotFound {
			doing = "Fetching manifests"
		} else if f != nil && f.Reason == app.ReasonEncrypted {
			doing = "Detecting drift"
		}
	case app.StageHealth:
		doing = "Running health checks"
	case app.StageDelete:
		return orElse(r.Progress, "Deleting objects")
	}
	return fmt.Sprintf("%s for revision %s with a timeout of %s",
		doing, orElse(FormatRevision(r.Revision), "unknown"), spec.Policy.Timeout)
}

// remembered is what the status must hold from now on. Only a run that got as
// far as pruning may forget an object; one that is still going, or did not
// get there, adds to what is known, so that nothing it leaves behind is lost
// if it is the last that this process does.
func remembered(r app.Report, status map[string]any) []app.Record {
	if !running(r) && progress(r) > atApply {
		return r.Records
	}
	known := map[object.Ref]bool{}
	for _, rec := range r.Records {
		known[rec.Ref] = true
	}
	out := slices.Clone(r.Records)
	before, _ := recorded(status)
	for _, rec := range before {
		if !known[rec.Ref] {
			known[rec.Ref] = true
			out = append(out, rec)
		}
	}
	return out
}

// encodeRecords writes the inventory, and the digests beside it. Both are
// sorted, so that equal records are equal text.
func encodeRecords(records []app.Record, status map[string]any) {
	sorted := slices.SortedFunc(slices.Values(records), func(a, b app.Record) int {
		return cmp.Compare(app.FormatRef(a.Ref), app.FormatRef(b.Ref))
	})
	entries := make([]any, 0, len(sorted))
	objects := make([]any, 0, len(sorted))
	for _, rec := range sorted {
		entries = append(entries, map[string]any{"id": app.FormatRef(rec.Ref), "v": rec.Version})
		objects = append(objects, app.FormatRecord(rec))
	}
	status["inventory"] = map[string]any{"entries": entries}
	setPlumb(status, "objects", objects)
}

func encodeAttempt(a app.Attempt) map[string]any {
	out := map[string]any{
		"revision":  a.Revision,
		"specHash":  a.SpecHash,
		"started":   stamp(a.Started),
		"finished":  stamp(a.Finished),
		"succeeded": a.Succeeded,
	}
	if a.Heals != 0 {
		out["heals"] = int64(a.Heals)
	}
	if a.Retries != 0 {
		out["retries"] = int64(a.Retries)
	}
	return out
}

func decodeAttempt(m map[string]any) *app.Attempt {
	if len(m) == 0 {
		return nil
	}
	when := func(field string) time.Time {
		t, _ := time.Parse(time.RFC3339, text(m, field))
		return t
	}
	ok, _ := m["succeeded"].(bool)
	return &app.Attempt{
		Revision:  text(m, "revision"),
		SpecHash:  text(m, "specHash"),
		Started:   when("started"),
		Finished:  when("finished"),
		Succeeded: ok,
		Heals:     int(integer(m, "heals")),
		Retries:   int(integer(m, "retries")),
	}
}

// duration is a time span for people.
func duration(d time.Duration) string { return max(d, 0).Round(time.Millisecond).String() }

// orSet is the map at a key, made if it is not there.
func orSet(m map[string]any, key string) map[string]any {
	if inner, ok := m[key].(map[string]any); ok {
		return inner
	}
	inner := map[string]any{}
	m[key] = inner
	return inner
}
