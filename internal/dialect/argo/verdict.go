package argo

import (
	"fmt"
	"slices"
	"strings"

	"plumb.dev/plumb/internal/app"
)

// Types of the conditions of an Application. A type that ends in Error is an
// error to clients.
const (
	conditionInvalidSpec = "InvalidSpecError"
	conditionComparison  = "ComparisonError"
	conditionSync        = "SyncError"
	conditionDeletion    = "DeletionError"
	conditionUnknown     = "UnknownError"
)

// verdict is what a failure means in the words of this dialect.
type verdict struct {
	condition string // "" for none
	message   string
	phase     string // of an operation that ended with it
}

// blind reports whether nothing can be said about how the app stands to Git.
func (v verdict) blind() bool {
	switch v.condition {
	case conditionInvalidSpec, conditionComparison, conditionUnknown:
		return true
	}
	return false
}

// judge is the one table from failures to conditions and operation phases.
func judge(f *app.Failure) verdict {
	if f == nil {
		return verdict{}
	}
	const target = "Failed to load target state: failed to generate manifest for source 1 of 1: "
	message := f.Error()
	if f.Hint != "" {
		message = strings.TrimSuffix(message, ".") + ". " + strings.ToUpper(f.Hint[:1]) + f.Hint[1:]
	}
	switch f.Reason {
	case app.ReasonTerminated:
		return verdict{phase: phaseFailed, message: "Operation terminated"}
	case app.ReasonSuperseded:
		return verdict{phase: phaseFailed, message: message}
	case app.ReasonClusterUnknown:
		return verdict{conditionInvalidSpec, message, phaseError}
	}
	switch f.Stage {
	case app.StageSpec:
		return verdict{conditionInvalidSpec, message, phaseError}
	case app.StageDepends:
		return verdict{conditionComparison, message, phaseError}
	case app.StageFetch, app.StageRender:
		return verdict{conditionComparison, target + message, phaseError}
	case app.StageObserve:
		return verdict{conditionComparison, "Failed to load live state: " + message, phaseError}
	case app.StagePlan:
		if f.Reason == app.ReasonEmpty {
			return verdict{conditionSync, wipesAll, phaseFailed}
		}
		return verdict{conditionComparison, "Failed to compare desired state to live state: " + message, phaseError}
	case app.StageApply, app.StagePrune:
		return verdict{conditionSync, "one or more objects failed to apply, reason: " + message, phaseFailed}
	case app.StageHealth:
		return verdict{conditionSync, "one or more synchronization tasks completed unsuccessfully, reason: " + message, phaseFailed}
	case app.StageDelete:
		return verdict{conditionDeletion, message, phaseError}
	}
	return verdict{conditionUnknown, message, phaseError}
}

const wipesAll = "auto-sync will wipe out all resources"

// conditions rewrites the list. A condition that is there with the same type
// and message keeps its time; what is no longer so is left out.
func (e *encoder) conditions(v verdict) {
	type condition struct{ kind, message string }
	var want []condition
	switch {
	case v.condition == "":
		if text := e.standingSyncError(); text != "" {
			want = append(want, condition{conditionSync, text})
		}
	case v.condition == conditionSync:
		if text := e.syncError(v); text != "" {
			want = append(want, condition{conditionSync, text})
		}
	default:
		want = append(want, condition{v.condition, v.message})
	}
	if len(want) == 0 {
		delete(e.status, "conditions")
		return
	}
	since := map[condition]string{}
	for _, c := range objects(e.status, "conditions") {
		since[condition{text(c, "type"), text(c, "message")}] = text(c, "lastTransitionTime")
	}
	slices.SortFunc(want, func(x, y condition) int {
		return strings.Compare(x.kind+"\n"+x.message, y.kind+"\n"+y.message)
	})
	list := make([]any, 0, len(want))
	for _, c := range want {
		at := since[c]
		if at == "" {
			at = stamp(e.r.At)
		}
		list = append(list, map[string]any{"type": c.kind, "message": c.message, "lastTransitionTime": at})
	}
	e.status["conditions"] = list
}

// syncError is the message for an automated sync that failed for good. One
// that will be retried, or that a user asked for, is told by the operation
// state alone.
func (e *encoder) syncError(v verdict) string {
	if !e.automated() || e.retries() {
		return ""
	}
	if standing := e.standingSyncError(); standing != "" {
		return standing
	}
	if v.message == wipesAll {
		return fmt.Sprintf("Skipping sync attempt to %s: %s", e.r.Revision.Commit, wipesAll)
	}
	message := v.message
	switch state := text(e.status, "operationState", "phase"); {
	case e.r.Attempt != nil, state == phaseFailed, state == phaseError:
		message = text(e.status, "operationState", "message")
	}
	return fmt.Sprintf("Failed last sync attempt to %s: %s", e.r.Revision.Commit, message)
}

// standingSyncError keeps the condition while a run that did not sync finds
// the app as the failed sync left it.
func (e *encoder) standingSyncError() string {
	before, _ := e.old.Object["status"].(map[string]any)
	if e.r.Attempt != nil || e.r.Sync != app.OutOfSync || !e.automated() || e.commitOf(before, "sync") != e.r.Revision.Commit {
		return ""
	}
	for _, c := range objects(before, "conditions") {
		if text(c, "type") == conditionSync {
			return text(c, "message")
		}
	}
	return ""
}

// commitOf reads a revision back that setRevision wrote.
func (e *encoder) commitOf(m map[string]any, path ...string) string {
	if commit := text(m, append(slices.Clone(path), "revision")...); commit != "" {
		return commit
	}
	return firstText(m, append(slices.Clone(path), "revisions")...)
}
