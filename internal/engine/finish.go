package engine

import (
	"context"
	"log/slog"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/rendercache"
	"plumb.dev/plumb/internal/source"
)

// finish remembers what came of a run, publishes it, and says when the next
// one is due.
func (e *Engine) finish(ctx context.Context, a *state, r *run, rep app.Report) {
	a.mu.Lock()
	if a.removed {
		released := a.released
		a.mu.Unlock()
		if released {
			e.handOver(ctx, r, rep)
		}
		return
	}
	left := a.left(rep.Records)
	a.remember(rep.Records)
	a.spec.RecordedAt, a.spec.Left = rep.Cluster, rep.Left
	a.forgetHealth()
	a.spec.LastSync, a.spec.Ahead, a.applied = rep.LastSync, rep.Ahead, rep.Applied
	a.keepRelease(rep)
	if rep.Sync != app.Unknown { // otherwise nobody has looked
		rep.Drift = a.news(rep.Drift)
	}
	if rep.Failure == nil {
		a.passing = 0
	}
	a.read = inputs{}
	if rep.Failure == nil && rep.Sync == app.Synced {
		a.read = r.read
	}
	var closure *source.Closure
	if a.read.key != (rendercache.Key{}) {
		closure = &a.read.closure
	}
	e.index.ran(a, reasonOf(rep.Failure), r.spec.Source, closure)
	moved := a.dest != r.dest
	unheard := a.unheard
	a.unheard = false
	superseded := rep.Failure != nil && rep.Failure.Reason == app.ReasonSuperseded
	if superseded {
		rep.Handled, rep.Answered = "", nil // the run that took over answers
		if a.last != nil {                  // told again, it must not forget what this run wrote
			last := *a.last
			last.Records, last.LastSync, last.Ahead = rep.Records, rep.LastSync, rep.Ahead
			a.last = &last
		}
	} else {
		a.last = &rep
		if r.spec.Request != nil && a.spec.Request != nil { // otherwise it was taken back, and may come again
			a.answered = r.spec.Request
		}
	}
	a.mu.Unlock()
	if moved { // nothing there is the app's business any more
		for _, rec := range rep.Records {
			left = append(left, rec.Ref)
		}
	} else {
		r.dest.own(a.id, rep.Records)
	}
	r.dest.disown(a.id, left)
	rep.RetryAt = e.next(a, rep)
	if r.dest.arrived(reasonOf(rep.Failure), r.came) { // before it was known that this app waits for it
		e.trigger(a.id, app.CauseDepends, healthDelay)
	}
	if unheard && r.spec.Deletion == nil && e.missed(a) {
		e.trigger(a.id, app.CauseDrift, 0)
	}
	if superseded && rep.Attempt == nil {
		return // the run that took over tells
	}
	e.logRun(r, rep)
	if err := e.opts.Publish(ctx, rep); err != nil && ctx.Err() == nil {
		e.log.Warn("status cannot be written", "app", a.id, "error", err)
		a.keepUntold(rep)
		e.plan(a, app.CauseRetry, time.Now().Add(passing.After(a.failedAgain())))
	} else {
		a.mu.Lock()
		a.told = rep.Revision.Commit
		a.mu.Unlock()
	}
	e.triggerDependents(a.id, rep.Failure == nil)
}

// left lists what was recorded, or written in this run, and is no longer among
// records. The caller holds a.mu.
func (a *state) left(records []app.Record) []object.Ref {
	stays := make(map[object.Ref]bool, len(records))
	for _, r := range records {
		stays[r.Ref] = true
	}
	var out []object.Ref
	for _, r := range a.spec.Recorded {
		if !stays[r.Ref] {
			out = append(out, r.Ref)
		}
	}
	for rec := range a.records.all() {
		if !stays[rec.Ref] {
			out = append(out, rec.Ref)
		}
	}
	return out
}

// forgetHealth drops verdicts on what the app has no more to do with. The
// caller holds a.mu.
func (a *state) forgetHealth() {
	stays := map[object.Ref]bool{}
	for _, h := range a.spec.Policy.HealthChecks {
		stays[object.Ref{Group: h.Group, Kind: h.Kind, Namespace: h.Namespace, Name: h.Name}] = true
	}
	for ref := range a.health {
		if _, recorded := a.records.get(ref); !recorded && !stays[ref] {
			delete(a.health, ref)
		}
	}
}

// next makes the app due again where time alone can change something.
func (e *Engine) next(a *state, rep app.Report) time.Time {
	f := rep.Failure
	if at, cause := rep.RetryAt, app.CauseDrift; !at.IsZero() {
		if f != nil && f.Passes() { // a look in between must not put off the next try
			if soon := time.Now().Add(passing.After(a.failedAgain())); soon.Before(at) {
				at, cause = soon, app.CauseRetry
			}
		}
		e.plan(a, cause, at)
		return at
	}
	a.mu.Lock()
	policy, deleting := a.spec.Policy, a.spec.Deletion != nil
	a.mu.Unlock()
	if f == nil || f.Reason == app.ReasonSuperseded || f.Retry.Never && !deleting {
		return time.Time{}
	}
	var wait time.Duration
	switch {
	case deleting:
		// No policy speaks of it, and nothing else would take it up again.
		wait = passing.After(a.failedAgain())
	case rep.Release != nil && f.Retry.After > 0:
		wait = f.Retry.After // each action has its own
	case f.Reason == app.ReasonClusterDown && a.waitsForCluster():
		return time.Time{} // it is made due when the cluster answers
	case f.Passes(): // the policy's wait is for what someone has to mend
		wait = passing.After(a.failedAgain())
	case f.Retry.After > 0:
		wait = f.Retry.After
	case policy.RetryInterval > 0:
		wait = policy.RetryInterval
	case rep.Attempt != nil && (policy.RetryLimit < 0 || rep.Attempt.Retries < policy.RetryLimit):
		wait = policy.Retry.After(rep.Attempt.Retries + 1)
	case rep.Attempt == nil && policy.Interval > 0:
		wait = policy.Interval
	case rep.Attempt == nil && endsByItself(f):
		wait = passing.After(a.failedAgain())
	default:
		return time.Time{}
	}
	at := time.Now().Add(wait)
	e.plan(a, app.CauseRetry, at)
	return at
}

// endsByItself reports whether f is a failure to look that no commit, spec or
// cluster event can be expected to mend.
func endsByItself(f *app.Failure) bool {
	switch f.Reason {
	case app.ReasonForbidden:
		return f.Stage == app.StageObserve
	case app.ReasonInternal, app.ReasonTimeout, app.ReasonTerminated, app.ReasonAuthentication:
		return f.Stage != app.StageSpec && f.Stage != app.StageFetch && f.Stage != app.StageRender
	}
	return false
}

// plan makes an app due at a time to come. A look at its health in between
// does not use that up.
func (e *Engine) plan(a *state, cause app.Cause, at time.Time) {
	a.mu.Lock()
	if a.due.at.IsZero() || at.Before(a.due.at) {
		a.due = due{cause, at}
	}
	a.mu.Unlock()
	e.due(a, cause, at)
}

// passing is the wait after failures that end by themselves.
var passing = app.Backoff{Initial: time.Second, Factor: 2, Max: 30 * time.Second}

func (a *state) planned() due {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.due
}

// failedAgain counts failures of that sort in a row, this one not included.
func (a *state) failedAgain() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.passing++
	return a.passing - 1
}

func (e *Engine) logRun(r *run, rep app.Report) {
	log := e.log.With("app", rep.App, "revision", rep.Revision.Commit, "cause", string(r.cause),
		"took", time.Since(r.began).Round(time.Millisecond).String())
	writes := 0
	if rep.Attempt != nil {
		for _, o := range rep.Objects {
			if o.Action == app.ActionCreated || o.Action == app.ActionConfigured || o.Action == app.ActionPruned {
				writes++
			}
		}
	}
	for _, d := range rep.Drift {
		log.Info("drift", "object", d.Ref.String(), "by", d.By, "fields", d.Fields, "deleted", d.Deleted, "restored", d.Restored)
	}
	switch {
	case rep.Failure != nil:
		level := slog.LevelError
		if rep.Failure.Reason == app.ReasonSuperseded || rep.Failure.Stage == app.StageDepends && rep.Failure.Reason != app.ReasonCycle {
			level = slog.LevelInfo // it goes on by itself
		}
		log.Log(context.Background(), level, "not delivered", "stage", string(rep.Failure.Stage), "reason", string(rep.Failure.Reason), "error", rep.Failure.Error())
	case rep.Attempt != nil:
		log.Info("delivered", "writes", writes, "health", string(rep.Health.Status))
	}
}
