package flux

import (
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// HelmReleaseEvents are the events of a report, given the status before it.
// One that found nothing to do has none.
func HelmReleaseEvents(r app.Report, spec app.Spec, old map[string]any) []app.Event {
	out := warningEvents(append(spec.Warnings[:len(spec.Warnings):len(spec.Warnings)], r.Warnings...), old)
	before := readConditions(old, r.At, 0)
	acted := false
	if rel := r.Release; rel != nil {
		for _, result := range rel.Results {
			acted = true
			if e, ok := resultEvent(result); ok {
				out = append(out, e)
			}
		}
		out = append(out, driftEvents(r, before)...)
		if len(rel.Unscoped) > 0 {
			out = append(out, unscopedEvent(rel.Unscoped))
		}
	}
	if running(r) || r.Deleted || r.Failure == nil {
		return out
	}
	f := r.Failure
	notes := releaseNotes(lookedAt(r))
	means := translate(helmReleaseReasons(), f)
	if acted && !means.stalled {
		return out // the results told of it
	}
	if f.Stage == app.StageDepends && f.Reason != app.ReasonCycle {
		if before.reason(condReady) == means.reason && before.message(condReady) == failureMessage(f) {
			return out
		}
		return append(out, app.Event{Reason: means.reason, Message: clip(failureMessage(f), maxNote), Annotations: notes})
	}
	if (means.stalled || f.Reason == app.ReasonClusterDown) && before.message(condStalled) == failureMessage(f) {
		return out
	}
	return append(out, app.Event{Warning: true, Reason: means.reason, Message: clip(failureMessage(f), maxNote), Annotations: notes})
}

// unscopedEvent tells of objects that the inventory may have in a namespace
// where they are in none.
func unscopedEvent(refs []object.Ref) app.Event {
	var names []string
	for _, ref := range refs {
		names = append(names, ref.String())
	}
	return app.Event{Warning: true, Reason: "NamespaceCheckSkipped", Message: clip(
		"It is not known whether these have a namespace, and the inventory takes them to have that of the release: "+strings.Join(names, ", "), maxNote)}
}

// resultEvent tells of one action. What Helm logged last follows a failure.
func resultEvent(result app.ReleaseResult) (app.Event, bool) {
	_, reason, message := resultOf(result)
	if reason == "" {
		return app.Event{}, false
	}
	e := app.Event{Reason: reason, Message: message, Annotations: releaseNotes(result.Release), Leads: true}
	if result.Failure != nil {
		e.Warning = reason != "HealthCheckCanceled"
		if len(result.Log) > 0 {
			e.Message += "\n\nLast Helm logs:\n\n" + strings.Join(result.Log, "\n")
		}
	}
	e.Message = clip(e.Message, maxNote)
	return e, true
}

// driftEvents: what was undone is told each time, what is only reported once.
func driftEvents(r app.Report, before *conditionSet) []app.Event {
	rel := r.Release
	if len(rel.Memory.History) == 0 {
		return nil
	}
	current := rel.Memory.History[0]
	notes := releaseNotes(current)
	var undone []string
	for _, d := range r.Drift {
		if d.Restored {
			undone = append(undone, driftEvent(d, notes).Message)
		}
	}
	var out []app.Event
	if len(undone) > 0 {
		out = append(out, app.Event{Reason: "DriftCorrected", Leads: true, Annotations: notes, Message: clip(
			"Cluster state of release "+current.FullName()+" has been corrected:\n"+strings.Join(undone, "\n"), maxNote)})
	}
	if rel.State != app.ReleaseDrifted {
		return out
	}
	summary := driftSummary(r, current)
	if before.message(condDrifted) != summary || !before.has(condDrifted, "True") {
		out = append(out, app.Event{Warning: true, Reason: "DriftDetected", Message: clip(summary, maxNote), Annotations: notes})
	}
	for _, result := range rel.Results {
		if result.Action == app.ReleaseCorrect && result.Failure != nil {
			out = append(out, app.Event{Warning: true, Reason: "DriftCorrectionFailed", Annotations: notes, Message: clip(
				"Failed to correct cluster state of release "+current.FullName()+":\n"+failureMessage(result.Failure), maxNote)})
		}
	}
	return out
}

// lookedAt is what there is to say of a run that acted upon nothing.
func lookedAt(r app.Report) app.ReleaseSnapshot {
	if r.Release == nil {
		return app.ReleaseSnapshot{}
	}
	return app.ReleaseSnapshot{ChartVersion: r.Release.ChartVersion, AppVersion: r.Release.AppVersion, OCIDigest: r.Release.OCIDigest,
		ConfigDigest: r.Release.Memory.Attempt.ConfigDigest}
}

// releaseNotes are the annotations of an event about a revision.
func releaseNotes(s app.ReleaseSnapshot) map[string]string {
	notes := map[string]string{}
	for key, value := range map[string]string{
		"revision": s.ChartVersion, "app-version": s.AppVersion, "oci-digest": s.OCIDigest, "token": s.ConfigDigest,
	} {
		if value != "" {
			notes[HelmGroup+"/"+key] = value
		}
	}
	return notes
}
