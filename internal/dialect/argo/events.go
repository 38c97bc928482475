package argo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// Reasons of events on an Application: the first three as Argo CD has them.
const (
	eventStarted   = "OperationStarted"
	eventCompleted = "OperationCompleted"
	eventUpdated   = "ResourceUpdated"
	eventDrift     = "DriftDetected"
	eventCorrected = "DriftCorrected"
	eventWarning   = "SpecWarning"
)

// maxFields is how many changed fields an event names.
const maxFields = 5

// Events tells what the report adds to what the Application (old, before the
// report was written to it) already says. Nothing new gives no events.
func Events(r app.Report, old *unstructured.Unstructured, opt Options) []app.Event {
	if r.Deleted {
		return nil
	}
	e := newEncoder(r, old, opt)
	before, _, _ := unstructured.NestedMap(old.Object, "status")
	e.write()

	var out []app.Event
	add := func(warning bool, reason, format string, args ...any) {
		out = append(out, app.Event{Warning: warning, Reason: reason, Message: fmt.Sprintf(format, args...),
			Leads: reason == eventCompleted || reason == eventCorrected})
	}
	known := texts(mapAt(before, "plumb"), "warnings")
	for _, text := range warningTexts(r.Warnings) {
		if e.done() && !slices.Contains(known, text) {
			add(true, eventWarning, "%s", text)
		}
	}
	for _, c := range objects(e.status, "conditions") {
		if !hasCondition(before, c) {
			add(true, text(c, "type"), "%s", text(c, "message"))
		}
	}
	e.operationEvents(before, add)
	for _, d := range e.fresh {
		reason := eventDrift
		if d.Restored {
			reason = eventCorrected
		}
		add(!d.Restored, reason, "%s", e.driftText(d))
	}
	change := func(what string) {
		from, to := text(before, what, "status"), text(e.status, what, "status")
		if from != to && to != "" {
			add(what == "health" && to == string(app.Degraded), eventUpdated, "Updated %s status: %s -> %s", what, from, to)
		}
	}
	change("sync")
	change("health")
	return out
}

// hasCondition reports whether a status holds this condition already.
func hasCondition(status, c map[string]any) bool {
	return slices.ContainsFunc(objects(status, "conditions"), func(o map[string]any) bool {
		return text(o, "type") == text(c, "type") && text(o, "message") == text(c, "message")
	})
}

// operationEvents tells that a sync began and how it ended, each once.
func (e *encoder) operationEvents(before map[string]any, add func(bool, string, string, ...any)) {
	state, was := mapAt(e.status, "operationState"), mapAt(before, "operationState")
	if state == nil || e.r.Attempt == nil && e.r.Answered == nil {
		return
	}
	revision := e.commitOf(state, "syncResult")
	started := text(state, "startedAt") != text(was, "startedAt")
	if started {
		who := "Initiated automated"
		if a := e.r.Attempt; a != nil && a.By != "" {
			who = a.By + " initiated"
		} else if a == nil {
			who = e.r.Answered.By + " initiated"
		}
		add(false, eventStarted, "%s sync to %s", who, revision)
	}
	phase, message := text(state, "phase"), text(state, "message")
	if phase == phaseRunning || !started && phase == text(was, "phase") && message == text(was, "message") {
		return
	}
	what := "Sync operation"
	if a := e.r.Attempt; a != nil && a.Partial {
		what = "Partial sync operation"
	}
	if phase == phaseSucceeded {
		add(false, eventCompleted, "%s to %s succeeded", what, revision)
		return
	}
	add(true, eventCompleted, "%s to %s failed: %s", what, revision, message)
}

// driftText is one line: which object and fields, who, when, and what was done.
func (e *encoder) driftText(d app.Drift) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", d.Ref)
	switch {
	case d.Deleted:
		b.WriteString("deleted")
	case len(d.Fields) == 0:
		b.WriteString("changed")
	default:
		shown := d.Fields[:min(len(d.Fields), maxFields)]
		b.WriteString(strings.Join(shown, ", "))
		if more := len(d.Fields) - len(shown); more > 0 {
			fmt.Fprintf(&b, " and %d more", more)
		}
		b.WriteString(" changed")
	}
	if d.By != "" {
		fmt.Fprintf(&b, " by %s", d.By)
	}
	if d.Subresource != "" {
		fmt.Fprintf(&b, " (%s)", d.Subresource)
	}
	if !d.At.IsZero() {
		fmt.Fprintf(&b, " at %s", d.At.UTC().Format(time.RFC3339))
	}
	switch {
	case d.Restored:
		b.WriteString(", restored")
	case e.selfHeal():
		b.WriteString(", not restored yet")
	default:
		b.WriteString(", reported only: self-heal is off")
	}
	return b.String()
}

func (e *encoder) selfHeal() bool {
	return e.automated() && e.spec.SyncPolicy.Automated.SelfHeal
}

func mapAt(m map[string]any, key string) map[string]any {
	v, _ := m[key].(map[string]any)
	return v
}
