package argo

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// Phases of an operation.
const (
	phaseRunning   = "Running"
	phaseSucceeded = "Succeeded"
	phaseFailed    = "Failed"
	phaseError     = "Error"
)

// Results of one object in an operation.
const (
	resultSynced       = "Synced"
	resultFailed       = "SyncFailed"
	resultPruned       = "Pruned"
	resultPruneSkipped = "PruneSkipped"
)

// defaultHistory is how many deployments are remembered where the resource
// does not say.
const defaultHistory = 10

// operationState tells of the sync that this run did. A request that led to no
// sync, because something failed before or nothing was to do, is answered here
// too: whoever asked waits for it.
func (e *encoder) operationState(v verdict) {
	asked := answers(e.r.Answered, operationToken(e.old))
	a := e.r.Attempt
	if a != nil && a.By == "" && v.message == wipesAll {
		return // refused: an automated sync did not begin
	}
	if a == nil {
		if !asked {
			e.settleState()
			return
		}
		if !e.done() {
			return
		}
		a = &app.SyncAttempt{By: e.r.Answered.By, DryRun: e.r.Answered.DryRun, Failure: e.r.Failure}
		a.Revision, a.Succeeded = e.r.Revision.Commit, e.r.Failure == nil
		a.Started, a.Finished = e.r.Started, e.r.At
	}
	state := map[string]any{
		"operation": e.operation(*a, asked),
		"startedAt": stamp(a.Started),
	}
	result := map[string]any{"resources": e.results(*a)}
	e.setRevision(result, a.Revision)
	if asked && (e.old.Object["operation"] != nil) {
		e.setSource(result, "operation", "sync")
	}
	if result["source"] == nil && result["sources"] == nil {
		e.setSource(result, "spec")
	}
	state["syncResult"] = result
	if a.Failure != nil && v.message == "" {
		v = judge(a.Failure)
	}
	retries := int64(a.RetryNumber)
	switch {
	case a.Running || !e.done() || a.Failure != nil && a.Failure.Reason == app.ReasonSuperseded:
		// What took over goes on with it: nothing has failed.
		state["phase"], state["message"] = phaseRunning, e.progress()
	case a.Succeeded:
		state["phase"], state["message"] = phaseSucceeded, e.success()
		state["finishedAt"] = stamp(e.finished(a.Finished))
	case e.retries():
		retries++
		state["phase"] = phaseRunning
		state["finishedAt"] = stamp(e.finished(a.Finished))
		state["message"] = fmt.Sprintf("%s. Retrying attempt #%d at %s.", strings.TrimSuffix(v.message, "."),
			retries, e.r.RetryAt.UTC().Format(time.Kitchen))
	default:
		state["phase"], state["message"] = v.phase, v.message
		if v.blind() {
			state["message"] = v.condition + ": " + v.message
		}
		state["finishedAt"] = stamp(e.finished(a.Finished))
		if retries > 0 {
			state["message"] = fmt.Sprintf("%s (retried %d times).", state["message"], retries)
		}
	}
	if retries > 0 {
		state["retryCount"] = retries
	}
	e.status["operationState"] = state
}

// settleState ends a sync that the status shows as running although this run,
// which is over, did not sync: the process that ran it was killed, or what it
// waited to try again was settled otherwise.
func (e *encoder) settleState() {
	state := mapAt(e.status, "operationState")
	if !e.done() || text(state, "phase") != phaseRunning {
		return
	}
	waits := text(state, "finishedAt") != ""
	switch {
	case e.r.Failure == nil && e.r.Sync == app.Synced:
		state["phase"], state["message"] = phaseSucceeded, e.success()
	case waits:
		return
	default:
		state["phase"], state["message"] = phaseError, "the sync was interrupted before its end"
	}
	if !waits {
		state["finishedAt"] = stamp(e.r.At)
	}
}

// retries reports whether the failed sync of this run is tried again by
// itself. A sync that a user asked for is not.
func (e *encoder) retries() bool {
	a := e.r.Attempt
	return a != nil && a.Failure != nil && a.By == "" && !e.r.RetryAt.IsZero()
}

func (e *encoder) finished(t time.Time) time.Time {
	if t.IsZero() {
		return e.r.At
	}
	return t
}

func (e *encoder) progress() string {
	if e.r.Progress != "" {
		return e.r.Progress
	}
	return "one or more tasks are running"
}

// success words the end as Argo CD does: one wave ends after applying it, more
// than one when none is left.
func (e *encoder) success() string {
	waves := map[int]bool{}
	for _, o := range e.r.Objects {
		waves[o.Wave] = true
	}
	if len(waves) > 1 {
		return "successfully synced (no more tasks)"
	}
	return "successfully synced (all tasks run)"
}

// operation is the request that the state tells of: the one on the resource,
// or the one that an automated sync stands for.
func (e *encoder) operation(a app.SyncAttempt, asked bool) map[string]any {
	if op, ok := e.old.Object["operation"].(map[string]any); ok && asked {
		copied, _, _ := unstructured.NestedMap(map[string]any{"operation": op}, "operation")
		return copied
	}
	sync := map[string]any{}
	e.setRevision(sync, a.Revision)
	if a.Pruned {
		sync["prune"] = true
	}
	if a.DryRun {
		sync["dryRun"] = true
	}
	if a.Heals > 0 {
		sync["autoHealAttemptsCount"] = int64(a.Heals)
	}
	if options, ok, _ := unstructured.NestedSlice(e.old.Object, "spec", "syncPolicy", "syncOptions"); ok && len(options) > 0 {
		sync["syncOptions"] = options
	}
	if a.Partial {
		sync["resources"] = e.chosen()
	}
	out := map[string]any{"sync": sync}
	if a.By != "" {
		out["initiatedBy"] = map[string]any{"username": a.By}
		return out
	}
	out["initiatedBy"] = map[string]any{"automated": true}
	out["retry"] = map[string]any{"limit": int64(defaultRetries)}
	if retry, ok, _ := unstructured.NestedMap(e.old.Object, "spec", "syncPolicy", "retry"); ok {
		out["retry"] = retry
	}
	return out
}

// chosen lists what a partial sync wrote.
func (e *encoder) chosen() []any {
	list := []any{}
	for _, o := range e.r.Objects {
		if o.Action != app.ActionNone && o.Action != app.ActionSkipped {
			item := map[string]any{"kind": o.Ref.Kind, "name": o.Ref.Name}
			set(item, "group", o.Ref.Group)
			set(item, "namespace", o.Ref.Namespace)
			list = append(list, item)
		}
	}
	return list
}

// results tells what became of each object in the operation, in the order in
// which the report has them.
func (e *encoder) results(a app.SyncAttempt) []any {
	list := []any{}
	for _, o := range e.r.Objects {
		status, message := result(o, a)
		if status == "" {
			continue
		}
		phase := phaseSucceeded
		switch {
		case status == resultFailed:
			phase = phaseFailed
		case a.Running:
			phase = phaseRunning
		}
		list = append(list, map[string]any{
			"group": o.Ref.Group, "version": o.Version, "kind": o.Ref.Kind, "namespace": o.Ref.Namespace, "name": o.Ref.Name,
			"status": status, "message": message, "hookPhase": phase, "syncPhase": "Sync",
		})
	}
	return list
}

// result words one object's part: kind.group/name and what was done, as
// kubectl prints it.
func result(o app.ObjectReport, a app.SyncAttempt) (status, message string) {
	name := strings.ToLower(o.Ref.Kind)
	if o.Ref.Group != "" {
		name += "." + o.Ref.Group
	}
	name += "/" + o.Ref.Name
	switch o.Action {
	case app.ActionFailed:
		return resultFailed, o.Message
	case app.ActionPruned:
		return resultPruned, "pruned"
	case app.ActionCreated, app.ActionConfigured, app.ActionUnchanged:
		message = name + " " + string(o.Action)
		if a.DryRun {
			message += " (dry run)"
		}
		if o.Message != "" {
			message += ". " + o.Message
		}
		return resultSynced, message
	case app.ActionSkipped:
		return "", "" // as if it were not there
	}
	switch {
	case o.RequiresPrune && a.Pruned:
		return resultPruneSkipped, "ignored (no prune)"
	case o.RequiresPrune:
		return resultPruneSkipped, "ignored (requires pruning)"
	case o.Sync == app.Synced && !a.Partial:
		return resultSynced, name + " unchanged" // true without a request
	}
	return "", ""
}

// history remembers a full, successful sync. Ids are never used twice.
func (e *encoder) history() {
	a := e.r.Attempt
	if a == nil || !a.Succeeded || a.Partial || a.DryRun || a.Running {
		return
	}
	entry := map[string]any{
		"deployStartedAt": stamp(a.Started), "deployedAt": stamp(e.finished(a.Finished)),
	}
	e.setRevision(entry, a.Revision)
	if result, ok := e.status["operationState"].(map[string]any)["syncResult"].(map[string]any); ok {
		for _, key := range []string{"source", "sources"} {
			if v, ok, _ := unstructured.NestedFieldCopy(result, key); ok {
				entry[key] = v
			}
		}
	}
	entry["initiatedBy"] = map[string]any{"automated": true}
	if a.By != "" {
		entry["initiatedBy"] = map[string]any{"username": a.By}
	}
	list, _ := e.status["history"].([]any)
	id := int64(0)
	if n := len(list); n > 0 {
		last, _ := list[n-1].(map[string]any)
		id = number(last, "id") + 1
	}
	entry["id"] = id
	list = append(slices.Clone(list), entry)
	limit := int64(defaultHistory)
	if l := e.spec.RevisionHistoryLimit; l != nil {
		limit = max(0, *l)
	}
	if over := int64(len(list)) - limit; over > 0 {
		list = list[over:]
	}
	if len(list) == 0 {
		delete(e.status, "history")
		return
	}
	e.status["history"] = list
}

func firstText(m map[string]any, path ...string) string {
	list, _, _ := unstructured.NestedStringSlice(m, path...)
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
