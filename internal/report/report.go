// Package report turns what was planned and what came of it into the neutral
// result of a run. It is pure, and must not know how a dialect words it.
package report

import (
	"fmt"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/health"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// Input is what Compose looks at.
type Input struct {
	Spec     app.Spec
	URL      string
	Revision app.Revision // what was looked at
	Applied  app.Revision // what was fully delivered before this run
	Started  time.Time
	Now      time.Time
	Cause    app.Cause
	SpecHash string

	// Planned: the run came as far as a plan. Without it the objects are those
	// that are recorded, in unknown state.
	Planned bool
	Intent  plan.Intent
	Plan    plan.Plan
	// Early: the plan was made before Intent.NotBefore, to look only.
	Early bool
	// Executed: the plan was carried out, with this outcome.
	Executed bool
	Outcome  plan.Outcome
	// Health of the objects, where it was looked at.
	Health map[object.Ref]app.Health

	Failure  *app.Failure // of any stage; nil if all went well
	Warnings []app.Warning
	Rendered app.RenderMode // how the files were read
	// Ahead is what to remember of the source's status once the revision is
	// delivered, or begins to be.
	Ahead app.Ahead
}

// Compose makes the report of a finished run.
func Compose(in Input) app.Report {
	r := app.Report{
		App: in.Spec.ID, UID: in.Spec.UID, Generation: in.Spec.Generation,
		Phase: app.PhaseDone, At: in.Now, Started: in.Started,
		Source: in.Spec.Source, URL: in.URL, Revision: in.Revision, Applied: in.Applied,
		Failure: in.Failure, Sync: app.Unknown, Rendered: in.Rendered,
		Warnings: append(append([]app.Warning(nil), in.Spec.Warnings...), in.Warnings...),
		Records:  in.Spec.Recorded, LastSync: in.Spec.LastSync, Ahead: in.Ahead, Cluster: in.Spec.Target.Cluster, Left: in.Spec.Left,
		WaitedForHealth: in.Spec.Policy.Wait || len(in.Spec.Policy.HealthChecks) > 0,
	}
	for _, l := range r.Left {
		r.Warnings = append(r.Warnings, leftBehind(l, r.Cluster))
	}
	if q := in.Spec.Request; q != nil {
		r.Handled, r.Answered = q.Token, q
	}
	if in.Failure != nil {
		r.Stage = in.Failure.Stage
	}
	if !in.Planned {
		r.Health = app.Health{Status: app.HealthLost}
		return r
	}
	results := map[object.Ref]plan.Result{}
	for _, res := range in.Outcome.Results {
		results[res.Step.Ref] = res
	}
	r.Records = nil
	for _, s := range in.Plan.Steps() {
		res, done := results[s.Ref]
		o, rec := compose(s, res, done)
		if o.Sync != "" || o.Action != app.ActionNone {
			o.Health = in.Health[s.Ref]
			r.Objects = append(r.Objects, o)
		}
		if rec != nil {
			r.Records = append(r.Records, *rec)
		}
		if d, ok := drift(s, res, done, in.Now); ok {
			r.Drift = append(r.Drift, d)
		}
	}
	if in.Spec.Deletion != nil && in.Failure != nil {
		r.Records = in.Spec.Recorded // until all is gone, all is looked after
	}
	r.Sync = syncOf(r.Objects)
	r.Health = health.Worst(present(r.Objects), in.Spec.Policy.HealthRules)
	r.Attempt = attempt(in)
	settle(&r, in)
	return r
}

// leftBehind warns of what an app left in a cluster when it went to another one;
// here is where it goes now.
func leftBehind(l app.Left, here string) app.Warning {
	if l.Cluster == here { // it came back, and the others that it left are its own again
		return app.Warning{Message: fmt.Sprintf("the destination changed back, and of %d objects that were left here the names are not known any more: "+
			"those that are not in Git stay, delete them by hand", l.More)}
	}
	const shown = 5
	where := "the cluster that Plumb serves"
	if l.Cluster != "" {
		where = "cluster " + l.Cluster
	}
	var names []string
	for _, r := range l.Records[:min(len(l.Records), shown)] {
		names = append(names, r.Ref.String())
	}
	text := strings.Join(names, ", ")
	if more := len(l.Records) + l.More - min(len(l.Records), shown); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return app.Warning{Message: fmt.Sprintf("the destination changed, and %d objects are still in %s, which Plumb does not delete: %s",
		len(l.Records)+l.More, where, text)}
}

// settle says what is remembered of this run for the next decision.
func settle(r *app.Report, in Input) {
	if in.Failure != nil && in.Failure.Reason == app.ReasonSuperseded {
		return // no try: the run that took over decides as if there had been none
	}
	if a := r.Attempt; a != nil && !a.DryRun {
		if a.Partial && a.By != "" {
			return // a user's selection says nothing about the whole
		}
		r.LastSync = &a.Attempt
		if a.Succeeded {
			r.Applied = in.Revision
		}
		return
	}
	if in.Failure == nil && (r.Sync == app.Synced || in.Plan.Writes() == 0 && delivered(r.Objects)) {
		// All is as this revision says without a write: it counts as delivered.
		r.Applied = in.Revision
		last := in.Spec.LastSync
		if last == nil || last.Revision != in.Revision.Commit || last.SpecHash != in.SpecHash {
			r.LastSync = &app.Attempt{Revision: in.Revision.Commit, SpecHash: in.SpecHash,
				Started: in.Started, Finished: in.Now, Succeeded: true}
		}
	}
}

// delivered reports whether all that Git holds is as it says. What it no
// longer holds and is left in the cluster does not count.
func delivered(objects []app.ObjectReport) bool {
	for _, o := range objects {
		if o.Sync == app.OutOfSync && !o.RequiresPrune {
			return false
		}
	}
	return true
}

// compose gives the report and the record of one step. The record is nil for
// what leaves the inventory.
func compose(s plan.Step, res plan.Result, done bool) (app.ObjectReport, *app.Record) {
	o := app.ObjectReport{Ref: s.Ref, Version: s.Version, Origin: s.Object.Origin,
		Sync: s.Sync, Wave: s.Wave, Reason: s.Reason, Changes: s.Changes}
	var old *app.Record
	if s.Recorded != (app.Record{}) {
		old = &s.Recorded
	}
	switch {
	case done && res.Failure != nil:
		o.Sync, o.Action, o.Message = app.OutOfSync, res.Action, res.Message
		if old == nil && !s.OfNamespace() {
			// The write may have landed although the answer was an error.
			return o, &app.Record{Ref: s.Ref, Version: s.Version}
		}
		return o, old
	case done && s.Verb == plan.Prune:
		if o.Action = res.Action; res.Remains {
			o.Sync, o.Reason, o.RequiresPrune = app.OutOfSync, plan.ReasonDeleting, true
			return o, old // until it is gone
		}
		o.Sync = ""
		return o, nil
	case done:
		o.Action, o.Message, o.Sync = res.Action, res.Message, app.Synced
		if s.OfNamespace() {
			return o, nil
		}
		return o, &app.Record{Ref: s.Ref, Version: s.Version, Desired: s.Desired, Owned: res.Written.Owned}
	case s.Verb == plan.Leave:
		o.RequiresPrune = true
		return o, old
	case s.Verb == plan.Skip:
		o.Action = app.ActionSkipped
		if old == nil {
			old = &app.Record{Ref: s.Ref, Version: s.Version}
		}
		return o, old
	case s.Verb == plan.Prune:
		o.RequiresPrune = true
		return o, old
	case s.Verb == plan.Report && s.Object.IsZero():
		o.RequiresPrune = true
		return o, old
	case s.OfNamespace():
		return app.ObjectReport{}, nil
	}
	return o, old
}

// drift tells of a step that undid, or only reports, a change by someone else.
func drift(s plan.Step, res plan.Result, done bool, now time.Time) (app.Drift, bool) {
	if !s.Drifted {
		return app.Drift{}, false
	}
	d := app.Drift{Ref: s.Ref, At: now, Deleted: s.Verb == plan.Create || s.Verb == plan.Report && s.UID == ""}
	held := res.Written.Regained
	if done && res.Failure == nil {
		if s.Verb == plan.Apply && !res.Written.Changed {
			return app.Drift{}, false // the value was equal: retaken, no change
		}
		d.Restored, d.RestoredAt = true, res.At
	} else {
		held = s.Held
		if s.Sync == app.Synced {
			return app.Drift{}, false
		}
	}
	for _, h := range held {
		d.Fields = append(d.Fields, h.Path)
		if h.By != "" && d.By == "" {
			d.By, d.Subresource = h.By, h.Subresource
		}
		if h.At > 0 && (d.At.Equal(now) || h.At > d.At.Unix()) {
			d.At = time.Unix(h.At, 0).UTC()
		}
	}
	return d, true
}

func syncOf(objects []app.ObjectReport) app.SyncStatus {
	for _, o := range objects {
		if o.Sync == app.OutOfSync {
			return app.OutOfSync
		}
	}
	return app.Synced
}

// attempt tells of the sync, if there was one: a plan that was carried out, or
// refused, or a user's request that found nothing to do.
func attempt(in Input) *app.SyncAttempt {
	asked := in.Intent.Apply && in.Intent.By != ""
	refused := in.Intent.Apply && in.Plan.Refused != nil && !in.Early
	if !in.Executed && !asked && !refused {
		return nil
	}
	a := &app.SyncAttempt{
		Attempt: app.Attempt{Revision: in.Revision.Commit, SpecHash: in.SpecHash, Started: in.Started,
			Finished: in.Now, Succeeded: in.Failure == nil, Retries: in.Intent.Retry},
		Cause: in.Cause, By: in.Intent.By, Failure: in.Failure,
		Partial: in.Plan.Partial, Pruned: in.Intent.Prune, DryRun: in.Intent.DryRun,
		RetryNumber: in.Intent.Retry,
	}
	if in.Failure != nil && in.Failure.Passes() && a.Retries > 0 {
		a.Retries-- // it counts for nothing
	}
	if in.Intent.Heal {
		a.Heals = in.Intent.Heals + 1
	}
	switch {
	case in.Failure != nil:
		a.Message = in.Failure.Error()
	default:
		a.Message = fmt.Sprintf("%d of %d objects written", len(in.Outcome.Results), len(in.Plan.Steps()))
	}
	return a
}

// present leaves out what the run deleted.
func present(objects []app.ObjectReport) []app.ObjectReport {
	var out []app.ObjectReport
	for _, o := range objects {
		if o.Sync != "" {
			out = append(out, o)
		}
	}
	return out
}

// Running makes the report of a sync that is about to write: the recorded
// objects, and those it will create, so that none is unknown if the process
// ends in the middle.
func Running(in Input, creates []app.Record) app.Report {
	r := Compose(Input{Spec: in.Spec, URL: in.URL, Revision: in.Revision, Applied: in.Applied,
		Started: in.Started, Now: in.Now, Cause: in.Cause, SpecHash: in.SpecHash, Warnings: in.Warnings, Rendered: in.Rendered, Ahead: in.Ahead})
	r.Phase, r.Stage = app.PhaseRunning, app.StageApply
	r.Handled, r.Answered = "", nil
	r.Records = append(append([]app.Record(nil), in.Spec.Recorded...), creates...)
	r.Attempt = &app.SyncAttempt{
		Attempt: app.Attempt{Revision: in.Revision.Commit, SpecHash: in.SpecHash, Started: in.Started, Retries: in.Intent.Retry},
		Cause:   in.Cause, By: in.Intent.By, Partial: in.Plan.Partial, Pruned: in.Intent.Prune, Running: true, RetryNumber: in.Intent.Retry,
	}
	for _, s := range in.Plan.Steps() {
		if o, _ := compose(s, plan.Result{}, false); o.Sync != "" {
			r.Objects = append(r.Objects, o)
		}
	}
	r.Sync = syncOf(r.Objects)
	r.Health = app.Health{Status: app.Progressing}
	return r
}
