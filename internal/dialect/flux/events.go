package flux

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
)

// maxNote is the length of an event's message that the API server permits.
const maxNote = 1024

// KustomizationEvents are the events of a run, given the status before it. A
// run that is still going has none but those of drift and warnings, and one
// that found nothing to do has none at all.
func KustomizationEvents(r app.Report, spec app.Spec, old map[string]any) []app.Event {
	notes := map[string]string{}
	if revision := FormatRevision(r.Revision); revision != "" {
		notes[KustomizeGroup+"/revision"] = revision
	}
	if origin := r.Revision.Metadata[originRevision]; origin != "" {
		notes[KustomizeGroup+"/originRevision"] = origin
	}
	out := warningEvents(append(spec.Warnings[:len(spec.Warnings):len(spec.Warnings)], r.Warnings...), old)
	for _, d := range r.Drift {
		out = append(out, driftEvent(d, notes))
	}
	if running(r) {
		return out
	}
	if changes := changeLog(r); changes != "" {
		out = append(out, app.Event{Reason: "Progressing", Message: changes, Annotations: notes, Leads: true})
	}
	if r.Deleted {
		return out
	}
	before := readConditions(old, r.At, 0)
	if r.Failure != nil {
		return append(out, failureEvents(r, before, notes)...)
	}
	if r.WaitedForHealth && (before.has(condHealthy, "False") || newlyApplied(r, old) && r.Attempt != nil) {
		out = append(out, app.Event{
			Reason: "ReconciliationSucceeded", Message: "Health check passed in " + duration(r.At.Sub(r.Started)), Annotations: notes,
		})
	}
	asked := r.Handled != "" && r.Handled != text(old, "lastHandledReconcileAt")
	if r.Attempt != nil || asked || !before.has(condReady, "True") {
		finished := map[string]string{KustomizeGroup + "/commit_status": "update"}
		for k, v := range notes {
			finished[k] = v
		}
		out = append(out, app.Event{
			Reason:      "ReconciliationSucceeded",
			Message:     fmt.Sprintf("Reconciliation finished in %s, next run in %s", duration(r.At.Sub(r.Started)), spec.Policy.Interval),
			Annotations: finished,
		})
	}
	return out
}

func newlyApplied(r app.Report, old map[string]any) bool {
	return FormatRevision(r.Applied) != text(old, "lastAppliedRevision")
}

// failureEvents: waiting for a dependency is no fault, and is told once.
func failureEvents(r app.Report, before *conditionSet, notes map[string]string) []app.Event {
	means := translate(kustomizationReasons(), r.Failure)
	if r.Failure.Stage == app.StageDepends && r.Failure.Reason != app.ReasonCycle {
		if before.reason(condReady) == means.reason {
			return nil
		}
		message := "Dependencies do not meet ready condition"
		if wait := r.RetryAt.Sub(r.At); !r.RetryAt.IsZero() && wait > 0 {
			message += ", retrying in " + wait.Round(time.Second).String()
		}
		return []app.Event{{Reason: means.reason, Message: message, Annotations: notes}}
	}
	if r.Failure.Reason == app.ReasonClusterDown && before.message(condReady) == readyMessage(r, before) {
		return nil // one outage is one piece of news
	}
	if means.reason == "HealthCheckCanceled" { // no fault either
		return []app.Event{{
			Reason: means.reason, Message: clip("Health checks canceled due to new reconciliation: "+failureMessage(r.Failure), maxNote), Annotations: notes,
		}}
	}
	return []app.Event{{
		Warning: true, Reason: means.reason, Message: clip(readyMessage(r, before), maxNote), Annotations: notes,
	}}
}

// changeLog has a line for each object that was changed, as far as an event
// can hold them.
func changeLog(r app.Report) string {
	const room = maxNote - len("\n… and 1000000 more")
	var text strings.Builder
	left := 0
	for _, o := range r.Objects {
		switch o.Action {
		case app.ActionCreated, app.ActionConfigured, app.ActionPruned:
		default:
			continue
		}
		line := o.Ref.String() + " " + string(o.Action)
		if left > 0 || text.Len()+len(line)+1 > room {
			left++
			continue
		}
		if text.Len() > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(line)
	}
	if left > 0 {
		fmt.Fprintf(&text, "\n… and %d more", left)
	}
	return text.String()
}

// driftEvent tells who changed what and when, and whether it was undone:
// "Deployment/web/api .spec.replicas changed by kubectl (scale) at …, restored".
func driftEvent(d app.Drift, notes map[string]string) app.Event {
	var s strings.Builder
	s.WriteString(d.Ref.String())
	if d.Deleted {
		s.WriteString(" deleted")
	} else {
		if len(d.Fields) > 0 {
			s.WriteString(" " + strings.Join(d.Fields[:min(len(d.Fields), maxDriftFields)], ", "))
		}
		if more := len(d.Fields) - maxDriftFields; more > 0 {
			fmt.Fprintf(&s, " and %d more", more)
		}
		s.WriteString(" changed")
	}
	if by := driftBy(d); by != "" {
		s.WriteString(" by " + by)
	}
	s.WriteString(" at " + stamp(d.At))
	e := app.Event{Warning: true, Reason: "DriftDetected", Annotations: notes}
	if d.Restored {
		s.WriteString(", restored")
		e = app.Event{Reason: "DriftCorrected", Annotations: notes, Leads: true}
	}
	e.Message = clip(s.String(), maxNote)
	return e
}

// driftBy is who, and through which subresource: kubectl (scale).
func driftBy(d app.Drift) string {
	if d.By != "" && d.Subresource != "" {
		return d.By + " (" + d.Subresource + ")"
	}
	return d.By
}

// warningEvents tell of what the status does not tell of yet.
func warningEvents(warnings []app.Warning, old map[string]any) []app.Event {
	known := map[any]bool{}
	for _, line := range list(old, "plumb", "warnings") {
		known[line] = true
	}
	var out []app.Event
	for _, w := range warnings {
		line := warningLine(w)
		if known[line] || len(out) == maxWarnings {
			continue
		}
		known[line] = true
		reason := "IgnoredField"
		switch {
		case w.Field == "":
			reason = "Warning"
		case strings.HasPrefix(w.Message, "unknown field"):
			reason = "UnknownField"
		}
		out = append(out, app.Event{Warning: true, Reason: reason, Message: clip(line, maxNote)})
	}
	return out
}

// eventPrefix begins annotations of a resource that its events carry too.
const eventPrefix = "event.toolkit.fluxcd.io/"

// Annotated gives events the annotations of their resource that are meant for
// them.
func Annotated(events []app.Event, resource map[string]string) []app.Event {
	for i := range events {
		notes := map[string]string{}
		for key, value := range resource {
			if strings.HasPrefix(key, eventPrefix) {
				notes[key] = value
			}
		}
		maps.Copy(notes, events[i].Annotations)
		events[i].Annotations = notes
	}
	return events
}
