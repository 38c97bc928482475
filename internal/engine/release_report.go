package engine

import (
	"context"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/release"
	"plumb.dev/plumb/internal/report"
)

// report tells what came of the run.
func (w *releasing) report(failure *app.Failure) app.Report {
	if f := failure; f != nil && !f.Retry.Never && f.Retry.After == 0 && !f.Passes() && f.Reason != app.ReasonSuperseded {
		again := *f // nothing need tell that a right was granted, for one
		again.Retry.After = w.spec.Policy.Retry.After(w.a.failedAgain())
		failure = &again
	}
	in := w.in
	in.Failure, in.Now = w.dest.explain(failure), time.Now()
	in.Planned, in.Plan, in.Outcome, in.Intent = w.drift.looked, w.drift.plan, w.drift.outcome, w.drift.intent
	in.Executed = w.drift.corrected
	rep := report.Compose(in)
	if w.drift.looked {
		w.records = updated(w.records, rep.Records)
		w.a.mu.Lock()
		w.a.unowned = w.drift.plan.Unowned()
		w.a.mu.Unlock()
	}
	rep.Records, rep.LastSync, rep.Applied = w.records, w.spec.LastSync, w.a.appliedRevision()
	rep.Attempt = nil
	w.out.Memory = w.now.Memory
	if failure == nil || failure.Retry.Never && failure.Stage != app.StageFetch {
		w.out.Memory.Generation = w.spec.Generation
	}
	w.out.Stalled = w.out.Stalled && failure != nil
	told := w.out
	rep.Release = &told
	rep.Sync = app.OutOfSync
	switch {
	case w.out.State == app.ReleaseUnknown:
		rep.Sync = app.Unknown
	case failure == nil && w.out.State == app.ReleaseInSync:
		rep.Sync = app.Synced
	}
	w.settle(&rep)
	return w.run.values.hide(rep)
}

// updated are records with what was found out about some of them.
func updated(records, found []app.Record) []app.Record {
	now := make(map[object.Ref]app.Record, len(found))
	for _, rec := range found {
		now[rec.Ref] = rec
	}
	out := make([]app.Record, 0, len(records))
	for _, rec := range records {
		if better, ok := now[rec.Ref]; ok {
			rec = better
		}
		out = append(out, rec)
	}
	return out
}

// settle says what is remembered of this run for the next decision.
func (w *releasing) settle(rep *app.Report) {
	rev, failure := w.in.Revision, rep.Failure
	if failure == nil && rep.Sync == app.Synced {
		rep.Applied = rev
	}
	attempt := app.Attempt{Revision: rev.Commit, SpecHash: w.hash, Started: w.began, Finished: rep.At, Succeeded: failure == nil}
	if w.acted {
		rep.Attempt = &app.SyncAttempt{Attempt: attempt, Cause: w.cause, Failure: failure}
		if failure != nil {
			rep.Attempt.Message = failure.Error()
		}
	}
	last := rep.LastSync
	news := last == nil || last.Revision != attempt.Revision || last.SpecHash != attempt.SpecHash || last.Succeeded != attempt.Succeeded
	if w.acted || failure == nil && news {
		rep.LastSync = &attempt
	}
}

// lingers is how long a process that ends may take to write down what it did.
const lingers = 5 * time.Second

// leave publishes what was done before the process ends, so that the next one
// takes it for its own. What is lost is found again by looking, at the price of
// an upgrade that changes nothing.
func (w *releasing) leave(ctx context.Context, rep app.Report) {
	if !w.acted {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lingers)
	defer cancel()
	rep.Handled, rep.Answered = "", nil
	if err := w.e.opts.Publish(ctx, rep); err != nil {
		w.e.log.Warn("status cannot be written", "app", w.spec.ID, "error", err)
	}
}

// keepRelease makes what a report remembers of a release part of what the next
// run begins with. The caller holds a.mu.
func (a *state) keepRelease(rep app.Report) {
	if rep.Release == nil || a.spec.Release == nil {
		return
	}
	now := *a.spec.Release
	now.Memory = rep.Release.Memory
	a.forced, a.reset = orElse(rep.Release.Force, a.forced), orElse(rep.Release.Reset, a.reset)
	a.spec.Release = &now
	a.differs = nil
	for _, o := range rep.Objects {
		if o.Sync == app.OutOfSync {
			if a.differs == nil {
				a.differs = map[object.Ref]bool{}
			}
			a.differs[o.Ref] = true
		}
	}
	a.heldUntil = time.Time{}
	if f := rep.Failure; f != nil && f.Retry.After > 0 {
		a.heldUntil = rep.At.Add(f.Retry.After)
	}
}

// keepUntold keeps what was done for the next report, after one that could not
// be published. A retry that this asks for must not wait for anything else.
func (a *state) keepUntold(rep app.Report) {
	if rep.Release == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.untold, a.heldUntil = rep.Release.Results, time.Time{}
}

// tellAlso gives what keepUntold kept.
func (a *state) tellAlso() []app.ReleaseResult {
	a.mu.Lock()
	defer a.mu.Unlock()
	results := a.untold
	a.untold = nil
	return results
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// asReleased is the spec that a run of a release begins with: a token that was
// acted upon counts no more, whatever the resource still shows. The caller holds
// a.mu.
func (a *state) asReleased(spec app.Spec) app.Spec {
	if spec.Release == nil {
		return spec
	}
	r := *spec.Release
	if r.Force == a.forced {
		r.Force = ""
	}
	if r.Reset == a.reset {
		r.Reset = ""
	}
	spec.Release = &r
	return spec
}

// resolveValues reads the values that are not written in the resource, as Plumb
// itself and never of another namespace than the dialect names, and merges all.
// From here on a change of one of the objects makes the app due.
func (w *releasing) resolveValues(ctx context.Context) *app.Failure {
	r := w.run
	r.values = values{}
	var versions []string
	if refs := w.now.References(); len(refs) > 0 {
		r.e.reads(r.a.id, refs)
		if err := r.e.opts.Cluster.Remember(ctx, refs); err != nil {
			return app.AsFailure(err, app.StageObserve)
		}
	}
	for _, from := range w.now.ValuesFrom {
		u, err := r.e.opts.Cluster.Get(ctx, from.Ref)
		if err != nil {
			return app.AsFailure(err, app.StageObserve)
		}
		f := release.Fetched{From: from, Missing: true}
		if u == nil {
			versions = append(versions, "none")
		} else {
			versions = append(versions, string(u.GetUID())+"/"+u.GetResourceVersion())
			text, there := contents(u)[from.Key]
			f.Data, f.Missing = []byte(text), !there
		}
		w.fetched = append(w.fetched, f)
	}
	r.values.secret = release.Secrets(w.fetched)
	r.values.version = strings.Join(versions, " ")
	if r.asked == "" {
		r.asked = r.hash
	}
	r.hash = withValues(r.asked, r.values.version)
	composed, err := release.Compose(w.now.Values, w.fetched)
	if err != nil {
		return app.AsFailure(err, app.StageRender)
	}
	w.values = composed
	return nil
}

// hideRelease takes the values of Secrets out of what is told of actions.
func hideRelease(rel *app.ReleaseReport, clean *strings.Replacer) *app.ReleaseReport {
	if rel == nil {
		return nil
	}
	hidden := *rel
	hidden.Results = nil
	for _, result := range rel.Results {
		result.Failure = hideFailure(result.Failure, clean)
		var log []string
		for _, line := range result.Log {
			log = append(log, clean.Replace(line))
		}
		result.Log = log
		hidden.Results = append(hidden.Results, result)
	}
	return &hidden
}

// chartComes is how long an app waits for the source that is made for it. What
// cannot be made is then told.
const chartComes = 10 * time.Second

// awaitsChart reports whether an app that was just declared still waits for the
// source that is made for it.
func (a *state) awaitsChart(e *Engine) bool {
	a.mu.Lock()
	if a.chartBy.IsZero() {
		a.chartBy = time.Now().Add(chartComes)
	}
	by := a.chartBy
	a.mu.Unlock()
	if !time.Now().Before(by) {
		return false
	}
	e.plan(a, app.CauseRetry, by)
	return true
}
