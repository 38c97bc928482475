package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/apply"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/report"
)

// run is one passage of an app along the line.
type run struct {
	e      *Engine
	a      *state
	dest   *destination
	spec   app.Spec
	hash   string // of all but the revision that decides the outcome, values included once they are known
	asked  string // the same without the values, once they are known
	cause  app.Cause
	freed  bool               // what stood against it may have come about, whatever it runs for
	came   map[app.Reason]int // what had come for want of which apps fail, when it began
	began  time.Time
	read   inputs // what was rendered from, if it came to that
	values values
	rev    string // the commit, once it is fetched

	// between ends what may end between two writes; waits ends waits only.
	between, waits        context.Context
	stopBetween, stopWait context.CancelCauseFunc

	// waiting tells that the run now waits for health, and for what; nil if
	// nobody is to be told.
	waiting func(ctx context.Context, what string)
}

// work runs an app once and publishes what came of it.
func (e *Engine) work(ctx context.Context, dest *destination, id app.ID, cause app.Cause) {
	a := e.app(id)
	if a == nil {
		return
	}
	if cause == app.CauseHealth && e.refreshHealth(ctx, a) {
		if next := a.planned(); !next.at.IsZero() {
			e.due(a, next.cause, next.at) // this look was none of what it is for
		}
		return
	}
	if cause == app.CauseBookkeeping && e.publishBooks(ctx, a) {
		if next := a.planned(); !next.at.IsZero() {
			e.due(a, next.cause, next.at)
		}
		return
	}
	e.catchUp(a) // or the run would take a commit that is not its own for news
	r := &run{e: e, a: a, dest: dest, cause: cause, came: dest.arrivals(), began: time.Now()}
	r.between, r.stopBetween = context.WithCancelCause(ctx)
	r.waits, r.stopWait = context.WithCancelCause(r.between)
	defer r.stopBetween(nil)
	if !a.begin(r) {
		return
	}
	rep, publish := r.line(ctx)
	a.mu.Lock()
	a.run = nil
	moved := a.dest != dest
	a.mu.Unlock()
	if publish {
		if e.opts.Worked != nil {
			e.opts.Worked(Work{Kind: id.Kind, Namespace: id.Namespace, Name: id.Name, Took: time.Since(r.began), Failed: rep.Failure != nil})
		}
		e.finish(ctx, a, r, rep)
	}
	if moved {
		e.trigger(id, app.CauseSpec, 0)
	}
}

// line takes the app along the straight line: fetch, render, observe, plan,
// apply, report. It tells false where there is nothing to say yet.
func (r *run) line(ctx context.Context) (app.Report, bool) {
	r.spec.Warnings = slices.Concat(r.spec.Warnings, r.dest.warnings())
	spec := r.spec
	in := report.Input{Spec: spec, Applied: r.a.appliedRevision(), Started: r.began, Cause: r.cause, SpecHash: r.hash, Ahead: spec.Ahead}
	end := func(f *app.Failure) (app.Report, bool) {
		in.Failure, in.Now = r.dest.explain(f), time.Now()
		return r.values.hide(report.Compose(in)), true
	}
	if spec.Deletion != nil {
		return r.remove(ctx, in)
	}
	if spec.Invalid != nil {
		return end(spec.Invalid)
	}
	waiting, failure := r.e.dependencies(ctx, spec)
	if waiting {
		return app.Report{}, false
	}
	if failure != nil {
		return end(failure)
	}

	// fetch
	src, waiting, failure := r.fetch(ctx)
	if waiting {
		return app.Report{}, false
	}
	in.URL, in.Revision, r.rev = src.of.URL, src.revision, src.revision.Commit
	if failure != nil {
		return end(failure)
	}

	if failure := r.dest.unreachable(); failure != nil {
		return end(failure) // there is nothing to compare with
	}
	if spec.Release != nil {
		return r.release(ctx, in, src) // Helm renders and applies
	}

	// render
	rendered, failure := r.renderOrRegain(ctx, src)
	in.SpecHash = r.hash
	if failure != nil {
		return end(failure)
	}
	in.Warnings, in.Rendered = rendered.warnings, rendered.mode

	// observe, plan
	cl, writer, waiting, failure := r.dest.access(spec.Target)
	if waiting {
		return app.Report{}, false
	}
	if failure != nil {
		return end(failure)
	}
	in.Intent = plan.Decide(spec, plan.Situation{Cause: r.cause, Freed: r.freed, Revision: src.revision.Commit, SpecHash: r.hash,
		LastSync: spec.LastSync, Now: time.Now()})
	intent := in.Intent
	var warnings []app.Warning
	in.Plan, warnings, failure = r.plan(ctx, cl, writer, spec, rendered, intent)
	in.Warnings = append(in.Warnings, warnings...)
	if failure != nil {
		return end(failure)
	}
	in.Planned = true
	early := time.Now().Before(intent.NotBefore)
	if in.Plan.Refused != nil {
		in.Health = r.healthOf(ctx, in.Plan) // what is there fares as it did
		in.Early = early                     // a look before its time is no try
		rep, _ := end(in.Plan.Refused)
		if early {
			rep.RetryAt = intent.NotBefore
		}
		return rep, true
	}
	in.Warnings = append(in.Warnings, in.Plan.Warnings...)

	// apply
	held := in.Plan.Writes() > 0 && early
	if in.Plan.Writes() == 0 || intent.Apply && !intent.DryRun && !held {
		in.Ahead = src.ahead(spec.Ahead)
	}
	if intent.Apply && !intent.DryRun && !held && len(in.Plan.Groups) > 0 {
		if failure := r.announce(ctx, in); failure != nil {
			return end(failure)
		}
		r.waiting = func(ctx context.Context, what string) { _ = r.tell(ctx, in, app.StageHealth, what) }
		in.Executed = in.Plan.Writes() > 0 || r.newRevision(src.revision)
		in.Outcome = apply.Run(ctx, in.Plan, apply.Options{
			Writer: &tracked{Writer: writer, dest: r.dest, a: r.a, manager: spec.FieldManager},
			Await:  r.awaitHealthy, Gone: r.awaitGone, Preempted: r.between, Now: time.Now})
		failure = in.Outcome.Failure
	}
	if ctx.Err() != nil {
		return app.Report{}, false // the process ends: what was done is found again by observing
	}
	in.Health = r.healthOf(ctx, in.Plan)
	if failure == nil {
		failure = src.failure // delivered from what was fetched before
	}
	rep, _ := end(failure)
	if held {
		rep.RetryAt = intent.NotBefore
		if rep.Failure == nil && spec.Policy.RetryInterval > 0 && !spec.LastSync.Succeeded {
			rep.Failure = r.a.lastFailure(src.revision) // waiting for the next try is not being well
			rep.Stage = rep.Failure.Stage
		}
	}
	if intent.Refused != nil && rep.Failure == nil && in.Plan.Writes() > 0 {
		rep.Failure, rep.Stage = intent.Refused, intent.Refused.Stage
	}
	return rep, true
}

// plan observes what the cluster holds of what was rendered, and plans what
// follows from it.
func (r *run) plan(ctx context.Context, cl *cluster.Cluster, writer *cluster.Writer, spec app.Spec, rendered rendering, intent plan.Intent) (plan.Plan, []app.Warning, *app.Failure) {
	kinds, err := cl.Kinds(ctx, plan.GVKs(rendered.objects, spec.Recorded))
	if err != nil {
		return plan.Plan{}, nil, app.AsFailure(err, app.StageObserve)
	}
	desired, warnings, failure := plan.Prepare(rendered.objects, spec, kinds)
	if failure != nil {
		return plan.Plan{}, warnings, failure
	}
	if key := r.e.digestKey; key != nil {
		for i := range desired {
			desired[i] = desired[i].Keyed(key)
		}
	}
	facts, err := writer.Observe(ctx, query(spec, desired, intent))
	if err != nil {
		return plan.Plan{}, warnings, app.AsFailure(err, app.StageObserve)
	}
	return plan.Build(plan.Input{Spec: spec, Objects: desired, Facts: facts, Intent: intent, Owners: r.e.opts.Owners}), warnings, nil
}

// query says what to observe. Several changes at once are all predicted before
// the first is written, so that a refusal leaves what runs as it is; where
// nothing runs yet, there is nothing to protect. Undoing drift goes straight to
// the write.
func query(spec app.Spec, desired []object.Object, intent plan.Intent) plan.Query {
	q := plan.Query{Desired: desired, Recorded: spec.Recorded, Manager: spec.FieldManager, Mark: spec.Mark,
		Switches: spec.Policy.Switches, Ignore: spec.Policy.Ignore, Waves: spec.Policy.WaveAnnotations}
	if ns := plan.NamespaceOf(spec); !ns.IsZero() {
		q.Namespace = ns
	}
	switch {
	case !intent.Apply || intent.DryRun || intent.Force || time.Now().Before(intent.NotBefore):
		q.PredictFrom = 1
	case !intent.Heal:
		q.PredictFrom = 2
		q.First = len(spec.Recorded) == 0 && (spec.LastSync == nil || !spec.LastSync.Succeeded)
	}
	return q
}

func (r *run) newRevision(rev app.Revision) bool {
	last := r.spec.LastSync
	return last == nil || last.Revision != rev.Commit || last.SpecHash != r.hash || !last.Succeeded
}

// fetch gives the current revision of the app's source. It waits, by telling
// so, for a source that has not been looked at yet.
func (r *run) fetch(ctx context.Context) (sourceNow, bool, *app.Failure) {
	id := r.spec.Source
	if id.Kind == "" && r.spec.Request != nil && r.spec.Request.Refresh {
		r.e.refresh(id)
	}
	if r.spec.Request != nil && r.spec.Request.Revision != "" {
		src, failure := r.e.at(ctx, id, r.spec.Request.Revision)
		return src, false, failure
	}
	src, there := r.e.current(id)
	switch {
	case !there && r.spec.SourceAs != "" && r.a.awaitsChart(r.e):
		return src, true, nil // it is made for this app, and about to be there
	case !there:
		return src, false, app.Fail(app.StageFetch, app.ReasonSourceNotFound, "source %s not found", id).
			WithHint("create it, or correct the reference")
	case !src.looked:
		return src, true, nil
	case r.spec.SourceAs != "" && (src.of.Form != r.spec.SourceAs || src.asked != src.of.Generation):
		return src, true, nil // it is about to be
	case src.revision.IsZero() && src.failure != nil && id.Kind == "":
		return src, false, src.failure
	case (src.revision.IsZero() || src.repo == nil) && src.failure != nil && r.spec.Release != nil:
		return src, false, sourceNotReady(id, src.failure)
	case src.revision.IsZero() || src.repo == nil:
		return src, false, app.Fail(app.StageFetch, app.ReasonSourceNotReady, "source %s is not ready, artifact not found", id)
	}
	if failure := src.behind(r.spec.Ahead); failure != nil {
		return src, false, failure
	}
	if id.Kind != "" && r.spec.Release != nil && src.failure != nil && r.cause != app.CauseDrift {
		return src, false, sourceNotReady(id, src.failure)
	}
	if id.Kind != "" {
		src.failure = nil // the source's own status tells of it
	} else if src.failure != nil && r.cause != app.CauseDrift {
		return src, false, src.failure
	}
	return src, false, nil
}

// sourceNotReady is the failure of an app for which what was fetched before is
// not good enough.
func sourceNotReady(id app.SourceID, why *app.Failure) *app.Failure {
	return app.Fail(app.StageFetch, app.ReasonSourceNotReady, "%s '%s/%s' is not ready: %w", id.Kind, id.Namespace, id.Name, why).
		WithHint("%s", why.Hint)
}

// rendering is what a revision of a source renders to.
type rendering struct {
	objects  []object.Object
	warnings []app.Warning
	mode     app.RenderMode
}

// announce publishes that a sync runs, with what it is about to create, so
// that a crash in its middle leaves no object unknown. A sync that only
// changes objects, or waits for nothing, needs no announcement. What is about
// to be created and cannot be noted is not created: it could be lost.
func (r *run) announce(ctx context.Context, in report.Input) *app.Failure {
	creates := in.Plan.Creates()
	waits := false
	for _, g := range in.Plan.Groups {
		waits = waits || len(g.Await) > 0
	}
	if len(creates) == 0 && !waits {
		return nil
	}
	if err := r.tell(ctx, in, app.StageApply, ""); err != nil && len(creates) > 0 {
		return app.Fail(app.StageObserve, app.ReasonClusterDown, "the inventory cannot be written: %w", err)
	}
	return nil
}

// tell publishes where a sync is that has begun.
func (r *run) tell(ctx context.Context, in report.Input, stage app.Stage, progress string) error {
	in.Now = time.Now()
	rep := report.Running(in, in.Plan.Creates())
	rep.Stage, rep.Progress = stage, progress
	err := r.e.opts.Publish(ctx, rep)
	if err != nil && ctx.Err() == nil {
		r.e.log.Warn("status cannot be written", "app", r.spec.ID, "error", err)
	}
	return err
}

// preempt lets a cause that has come up stop the run where it may. The caller
// holds the app's lock.
func (r *run) preempt(cause app.Cause) {
	switch cause {
	case app.CauseRequest, app.CauseSpec, app.CauseRevision:
		if r.spec.Release != nil && (cause == app.CauseRequest || r.a.suspended()) {
			return // nothing is different: Helm would only begin anew, or leave off half way
		}
		r.stop(cause, fmt.Errorf("a newer %s takes over", cause))
	case app.CauseDrift:
		r.stopWait(superseded(fmt.Errorf("drift is to be undone")))
	}
}

func (r *run) stop(_ app.Cause, why error) { r.stopBetween(superseded(why)) }

func superseded(why error) *app.Failure {
	return &app.Failure{Stage: app.StageApply, Reason: app.ReasonSuperseded, Err: why}
}

// lastFailure is why the last run failed, or that it did.
func (a *state) lastFailure(rev app.Revision) *app.Failure {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last != nil && a.last.Failure != nil {
		return a.last.Failure
	}
	return app.Fail(app.StageApply, app.ReasonPartial, "the last attempt to deliver %s failed", rev.Commit)
}

func (a *state) appliedRevision() app.Revision {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied
}
