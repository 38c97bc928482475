package engine

import (
	"context"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/release"
	"plumb.dev/plumb/internal/report"
	"plumb.dev/plumb/internal/source"
)

// releasing is a run of an app that is a Helm release.
type releasing struct {
	*run
	in     report.Input
	cl     *cluster.Cluster
	writer *cluster.Writer
	client *release.Client
	chart  *release.Chart
	values map[string]any
	// fetched is what of the values is not written in the resource.
	fetched []release.Fetched

	now     app.Release // with its memory as it is by now
	out     app.ReleaseReport
	done    []app.ReleaseAction
	acted   bool         // something was done, and may have been published
	failed  *app.Failure // of the last action that did
	records []app.Record // what the release holds
	drift   drift
}

// release takes an app that is a Helm release along its own line: chart and
// values, what is stored, what is to be done, until nothing is left.
func (r *run) release(ctx context.Context, in report.Input, src sourceNow) (app.Report, bool) {
	if r.held() {
		return app.Report{}, false
	}
	w := &releasing{run: r, in: in, now: *r.spec.Release, records: r.spec.Recorded}
	w.out.Memory, w.out.Results = w.now.Memory, r.a.tellAlso()

	// render
	failure := w.compose(ctx, src)
	w.in.SpecHash = r.hash
	if failure != nil {
		return w.report(failure), true
	}
	w.looksAt()
	w.in.Ahead = src.ahead(w.spec.Ahead)

	// observe, plan, apply
	waiting, failure := w.open()
	if waiting {
		return app.Report{}, false
	}
	if failure == nil {
		failure = w.advance(ctx)
	}
	w.watchStorage(ctx)
	if failure == nil && src.failure != nil {
		failure = src.failure // delivered from what was fetched before
	}
	rep := w.report(failure)
	if ctx.Err() != nil {
		w.leave(ctx, rep)
		return app.Report{}, false
	}
	return rep, true
}

// compose gives chart and values, once more if files of the source have gone
// from the cache.
func (w *releasing) compose(ctx context.Context, src sourceNow) *app.Failure {
	failure := w.resolveValues(ctx)
	if failure != nil {
		return failure
	}
	failure = w.loadChart(src)
	if failure == nil || failure.Reason != app.ReasonSourceLost {
		return failure
	}
	if failure := w.e.regain(ctx, w.spec.Source, src); failure != nil {
		return failure
	}
	return w.loadChart(src)
}

func (w *releasing) loadChart(src sourceNow) *app.Failure {
	tree, err := src.repo.Tree(src.revision.ID())
	if err != nil {
		return app.AsFailure(err, app.StageFetch)
	}
	files := source.Record(tree)
	artifact := ""
	if src.of.OCI != nil { // its digest becomes part of the version
		artifact = strings.TrimPrefix(src.revision.Ref+"@sha256:"+src.revision.Commit, "@")
	}
	if w.chart, err = release.LoadChart(src.files(files), artifact); err != nil {
		return app.AsFailure(err, app.StageRender)
	}
	w.read = inputs{key: renderKey(w.spec, src), closure: files.Closure(), values: w.run.values.version}
	return nil
}

// looksAt notes what this run is about, and forgets failures of anything else.
func (w *releasing) looksAt() {
	w.out.ChartName, w.out.ChartVersion, w.out.AppVersion, w.out.OCIDigest = w.chart.Name, w.chart.Version, w.chart.AppVersion, w.chart.Digest
	w.now.Memory, _ = release.Renew(w.now, app.ReleaseAttempt{Revision: w.chart.Version, RevisionDigest: w.chart.Digest,
		Generation: w.spec.Generation, ConfigDigest: release.ConfigDigest(w.values)})
	w.out.Reset, w.now.Reset = w.now.Reset, ""
}

// open makes the client that works on the release.
func (w *releasing) open() (waiting bool, failure *app.Failure) {
	w.cl, w.writer, waiting, failure = w.dest.access(w.spec.Target)
	if waiting || failure != nil {
		return waiting, failure
	}
	config, err := w.writer.Config()
	if err != nil {
		return false, app.AsFailure(err, app.StageObserve)
	}
	w.client, err = release.Open(release.Options{Config: config, Render: w.e.opts.Render, Logger: w.e.log.With("app", w.spec.ID)})
	return false, app.AsFailure(err, app.StageObserve)
}

// advance looks at what is stored, decides, and acts, until nothing is to be
// done, or something must not be done now.
func (w *releasing) advance(ctx context.Context) *app.Failure {
	if what := release.Moved(w.now, w.chart.Name); what != "" {
		return w.moveOn(ctx, what)
	}
	for {
		stored, err := w.client.Look(ctx, w.now)
		if err != nil {
			return app.AsFailure(err, app.StageObserve)
		}
		next := w.decide(stored, false)
		if next.State == app.ReleaseInSync && next.Action == app.ReleaseNone && w.now.Drift.Mode != app.DriftOff {
			if failure := w.lookForDrift(ctx, stored.Last); failure != nil {
				return failure
			}
			next = w.decide(stored, w.drift.found())
		}
		w.now.Memory, w.out.State, w.out.Because = next.Memory, next.State, next.Because
		w.out.Force, w.now.Force = w.out.Force+w.now.Force, "" // it is for the first decision
		switch {
		case next.Failure != nil:
			w.out.Stalled = next.Failure.Retry.Never
			return next.Failure
		case next.Action == app.ReleaseNone:
			return nil
		case !release.Follows(w.done, next.Action):
			return w.later(ctx)
		}
		if failure := w.act(ctx, next.Action, w.now, next.Because); failure != nil {
			return failure
		}
		switch {
		case next.Action.Remedies():
			return w.remedied(ctx)
		case next.Action == app.ReleaseCorrect && w.failed != nil:
			return w.later(ctx)
		case next.Action == app.ReleaseCorrect:
			return nil // it is as its plan says
		}
	}
}

func (w *releasing) decide(stored release.Storage, drifted bool) release.Decision {
	return release.Decide(release.Situation{Release: w.now, Generation: w.spec.Generation, Storage: stored, Drifted: drifted,
		ChartName: w.chart.Name, ChartVersion: w.chart.Version, ConfigDigest: w.now.Memory.Attempt.ConfigDigest})
}

// act does one thing to a release, and says before that it is going to. That it
// failed is for the next decision, unless nothing is stored of it.
func (w *releasing) act(ctx context.Context, action app.ReleaseAction, what app.Release, because string) *app.Failure {
	w.out.Timeout = release.Timeout(what, action)
	if failure := w.announce(ctx, action); failure != nil {
		return failure
	}
	if action == app.ReleaseCorrect {
		w.correct(ctx)
	} else {
		ran, err := w.undisturbed(ctx, func(ctx context.Context) (release.Outcome, error) {
			return w.client.Run(ctx, action, release.Request{Release: what, Chart: w.chart, Values: w.values, From: w.fetched,
				HealthExprs: w.spec.Policy.HealthExprs, Because: because})
		})
		w.keep(ran.Memory)
		if ran.Inventory != nil {
			w.records, w.out.Unscoped = inventoried(ran.Inventory, w.records), ran.Unscoped
		}
		w.note(ran.Result)
		if err != nil {
			w.failed = app.AsFailure(err, app.StageApply)
			return w.later(ctx)
		}
	}
	w.done = append(w.done, action)
	return nil
}

// keep takes over what is remembered after an action. One that was stopped has
// not failed: were it counted, the last attempt could be lost to a restart.
func (w *releasing) keep(now app.ReleaseMemory) {
	if before := w.now.Memory; context.Cause(w.between) != nil {
		now.Failures, now.InstallFailures, now.UpgradeFailures = before.Failures, before.InstallFailures, before.UpgradeFailures
	}
	w.now.Memory = now
}

// note takes in what an action came to.
func (w *releasing) note(result app.ReleaseResult) {
	w.out.Results = append(w.out.Results, result)
	if result.Failure != nil && (!result.Action.Remedies() || w.failed == nil) {
		w.failed = result.Failure
	}
}

// inventoried is inventory with what the records tell of the same objects.
func inventoried(inventory, records []app.Record) []app.Record {
	before := map[app.Record]app.Record{}
	for _, rec := range records {
		before[app.Record{Ref: rec.Ref, Version: rec.Version}] = rec
	}
	out := make([]app.Record, 0, len(inventory))
	for _, rec := range inventory {
		if old, ok := before[app.Record{Ref: rec.Ref, Version: rec.Version}]; ok {
			rec = old
		}
		out = append(out, rec)
	}
	return out
}

// moveOn uninstalls the release that the app was until now. The next run
// installs the one that it is.
func (w *releasing) moveOn(ctx context.Context, what string) *app.Failure {
	w.out.State, w.out.Because = app.ReleaseAbsent, "another "+what
	if failure := w.act(ctx, app.ReleaseUninstall, release.Old(w.now), "the "+what+" changed"); failure != nil {
		return failure
	}
	if w.failed != nil {
		return w.later(ctx)
	}
	w.records = nil
	next := app.Fail(app.StagePlan, app.ReasonPartial, "the %s changed: the release of before is uninstalled, the other one not yet installed", what)
	next.Retry.After = time.Millisecond
	return next
}

// remedied ends a run after an action that made up for a failure.
func (w *releasing) remedied(ctx context.Context) *app.Failure {
	if now := w.now; w.failed != nil && release.Spent(now) {
		w.out.Stalled = true
		return release.RetriesExceeded(now.Memory)
	}
	return w.later(ctx)
}

// later is the failure of a run that did what it could, and goes on after a
// while.
func (w *releasing) later(ctx context.Context) *app.Failure {
	if cause := context.Cause(w.between); cause != nil && ctx.Err() == nil {
		return waitFailure(cause, app.StageHealth)
	}
	if w.failed == nil {
		w.failed = app.Fail(app.StageApply, app.ReasonPartial, "the release is not as it should be: %s", w.out.Because)
	}
	f := *w.failed
	f.Retry = app.Retry{After: w.now.RetryInterval(w.now.Memory.Attempt.Action)}
	if f.Retry.After == 0 {
		f.Retry.After = max(w.spec.Policy.Retry.After(int(max(w.now.Memory.Failures-1, 0))), time.Second)
	}
	return &f
}

// held reports whether the wait after a failure still goes on, and nothing came
// up that ends it.
func (r *run) held() bool {
	switch r.cause {
	case app.CauseDrift, app.CauseHealth, app.CauseBookkeeping, app.CauseRetry:
	default:
		return false
	}
	r.a.mu.Lock()
	until, cause := r.a.heldUntil, app.CauseRetry
	r.a.mu.Unlock()
	if !time.Now().Before(until) {
		return false
	}
	r.e.plan(r.a, cause, until)
	return true
}

// undisturbed runs an action of Helm. It may take long, so the worker's slot
// goes to others; what is more urgent ends it; and what it writes is no drift.
func (w *releasing) undisturbed(ctx context.Context, action func(context.Context) (release.Outcome, error)) (release.Outcome, error) {
	ctx, preempt := context.WithCancelCause(ctx)
	defer preempt(nil)
	defer context.AfterFunc(w.between, func() { preempt(context.Cause(w.between)) })()
	w.a.acts(true)
	defer w.a.acts(false)
	<-w.dest.slots
	defer func() { w.dest.slots <- struct{}{} }()
	w.dest.actions <- struct{}{}
	defer func() { <-w.dest.actions }()
	return action(ctx)
}

// acts notes that Helm writes objects of the app, or that it does no more.
func (a *state) acts(now bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acting = now
}

// announce publishes what is going to be done, and what was done before. What
// cannot be noted is not done.
func (w *releasing) announce(ctx context.Context, action app.ReleaseAction) *app.Failure {
	in := w.in
	in.Now, in.Plan = time.Now(), w.drift.plan
	rep := report.Running(in, nil)
	rep.Records = w.records
	w.out.Running, w.out.Memory = action, w.now.Memory
	told := w.out
	rep.Release = &told
	rep = w.run.values.hide(rep)
	if err := w.e.opts.Publish(ctx, rep); err != nil {
		return app.Fail(app.StageObserve, app.ReasonClusterDown, "the status cannot be written: %w", err)
	}
	w.out.Results, w.out.Unscoped, w.out.Running = nil, nil, app.ReleaseNone
	w.acted = true
	return nil
}
