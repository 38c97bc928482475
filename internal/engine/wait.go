package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/health"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// errWaitOver ends a wait that took longer than the app's timeout.
var errWaitOver = errors.New("the app's timeout is over")

// awaitHealthy waits until all refs are healthy. It ends early when one is
// degraded, when the app's timeout is over (counted from the first wait for
// this revision, so that an interrupted wait does not begin anew), and when
// the run is pre-empted.
func (r *run) awaitHealthy(ctx context.Context, refs []object.Ref) *app.Failure {
	cl, failure := r.dest.connect()
	if cl == nil {
		return failure
	}
	pending := map[object.Ref]app.Health{}
	for _, ref := range refs {
		if own := r.spec.ID; ref.Kind == own.Kind && ref.Namespace == own.Namespace && ref.Name == own.Name {
			continue // an app that delivers itself does not wait for itself
		}
		pending[ref] = app.Health{}
	}
	var failed []string
	told := r.waiting == nil
	err := r.wait(ctx, r.hash+"/"+r.rev, func(ctx context.Context) error {
		return cl.Await(ctx, refs, func() bool {
			failed, failure = r.check(ctx, pending)
			over := failure != nil || len(failed) > 0 || len(pending) == 0
			if !over && !told && ctx.Err() == nil {
				told = true
				r.waiting(ctx, waitingFor(pending))
			}
			return over
		})
	})
	switch {
	case errors.Is(err, errWaitOver):
		var lines []string
		for ref, h := range pending {
			lines = append(lines, describe(ref, h, r.spec.Policy.HealthRules))
		}
		slices.Sort(lines)
		return app.Fail(app.StageHealth, app.ReasonTimeout, "timeout waiting for: [%s]", strings.Join(lines, ", "))
	case err != nil:
		return waitFailure(err, app.StageHealth)
	case len(failed) > 0:
		slices.Sort(failed)
		return app.Fail(app.StageHealth, app.ReasonUnhealthy, "failed early due to stalled resources: [%s]", strings.Join(failed, ", "))
	}
	return failure
}

// awaitGone waits until refs no longer exist.
func (r *run) awaitGone(ctx context.Context, refs []object.Ref) *app.Failure {
	cl, failure := r.dest.connect()
	if cl == nil {
		return failure
	}
	err := r.wait(ctx, r.hash+"/gone", func(ctx context.Context) error { return cl.WaitGone(ctx, refs) })
	if err == nil {
		return nil
	}
	return waitFailure(err, app.StageDelete)
}

// wait runs a wait until the app's timeout or until something more urgent
// comes up. Meanwhile the worker slot is given to others.
func (r *run) wait(ctx context.Context, what string, wait func(context.Context) error) error {
	ctx, cancel := context.WithDeadlineCause(ctx, r.a.deadline(r.spec, what), errWaitOver)
	defer cancel()
	ctx, preempt := context.WithCancelCause(ctx)
	defer preempt(nil)
	defer context.AfterFunc(r.waits, func() { preempt(context.Cause(r.waits)) })()
	<-r.dest.slots
	defer func() { r.dest.slots <- struct{}{} }()
	return wait(ctx)
}

// waitFailure says why a wait ended before its time.
func waitFailure(err error, stage app.Stage) *app.Failure {
	if failure := new(app.Failure); errors.As(err, &failure) {
		ended := *failure
		ended.Stage = stage
		return &ended
	}
	return app.Fail(stage, app.ReasonTerminated, "stopped: %w", err)
}

// check assesses the pending objects and drops those that are well.
func (r *run) check(ctx context.Context, pending map[object.Ref]app.Health) (failed []string, _ *app.Failure) {
	for ref := range pending {
		h, err := r.dest.assess(ctx, r.a, ref, r.spec.Policy.HealthRules)
		if ctx.Err() != nil {
			return nil, nil // the wait is over; why, its context tells
		}
		if err != nil {
			return nil, app.AsFailure(err, app.StageHealth)
		}
		switch h.Status {
		case app.Healthy, app.HealthNone:
			delete(pending, ref)
		case app.Degraded:
			failed = append(failed, describe(ref, h, r.spec.Policy.HealthRules))
		default:
			pending[ref] = h
		}
	}
	return failed, nil
}

// waitingFor names one of the pending objects, the same for the same ones.
func waitingFor(pending map[object.Ref]app.Health) string {
	refs := slices.SortedFunc(maps.Keys(pending), object.Ref.Compare)
	text := "waiting for healthy state of " + strings.TrimPrefix(refs[0].Group+"/", "/") + refs[0].Kind + "/" + refs[0].Name
	if len(refs) > 1 {
		text += fmt.Sprintf(" and %d more resources", len(refs)-1)
	}
	return text
}

func describe(ref object.Ref, h app.Health, rules app.HealthRules) string {
	return fmt.Sprintf("%s status: '%s'", ref, word(h.Status, rules)) + suffix(": ", h.Message)
}

// word is a health as those call it whose rules it is judged by.
func word(s app.HealthStatus, rules app.HealthRules) string {
	if rules == app.HealthKstatus {
		switch s {
		case app.Progressing:
			return "InProgress"
		case app.Degraded:
			return "Failed"
		case app.Missing:
			return "NotFound"
		}
	}
	return string(s)
}

func suffix(sep, text string) string {
	if text == "" {
		return ""
	}
	return sep + text
}

// deadline is when waiting for what this spec and revision delivered is over.
func (a *state) deadline(spec app.Spec, hash string) time.Time {
	timeout := spec.Policy.Timeout
	if timeout <= 0 {
		timeout = 5 * time.Minute
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	what := hash
	if spec.LastSync != nil {
		what += "/" + spec.LastSync.Finished.String()
	}
	if a.waitingFor != what {
		a.waitingFor, a.waitingSince = what, time.Now()
	}
	return a.waitingSince.Add(timeout)
}

// assess judges an object, reading it only if its kind needs that and its
// version is not the one that was judged last.
func (d *destination) assess(ctx context.Context, a *state, ref object.Ref, rules app.HealthRules) (app.Health, error) {
	cl, failure := d.connect()
	switch {
	case failure != nil:
		return app.Health{}, failure
	case cl == nil:
		return app.Health{}, app.Fail(app.StageHealth, app.ReasonClusterUnknown, "cluster %s is not registered", d.id)
	}
	a.mu.Lock()
	manager := a.spec.FieldManager
	exprs, needs := a.judge(), a.needsRead(ref.GroupKind(), rules)
	seen, ok := a.health[ref]
	a.mu.Unlock()
	live, there := cl.Live(ref, manager)
	if there && !live.Exists {
		return app.Health{Status: app.Missing, Message: "the object does not exist"}, nil
	}
	if there && ok && seen.resourceVersion == live.ResourceVersion {
		return seen.Health, nil
	}
	if there && !needs {
		meta := map[string]any{"name": ref.Name, "namespace": ref.Namespace}
		if live.Deleting {
			meta["deletionTimestamp"] = "now"
		}
		u := &unstructured.Unstructured{Object: map[string]any{"kind": ref.Kind, "apiVersion": apiVersion(ref), "metadata": meta}}
		return health.Assess(u, rules), nil
	}
	u, err := cl.Get(ctx, ref)
	if err != nil {
		return app.Health{}, err
	}
	if u == nil {
		return app.Health{Status: app.Missing, Message: "the object does not exist"}, nil
	}
	h := health.Assess(u, rules)
	if exprs.Has(ref.GroupKind()) {
		h = exprs.Assess(ctx, u)
	}
	a.mu.Lock()
	a.health[ref] = seenHealth{u.GetResourceVersion(), h}
	a.mu.Unlock()
	return h, nil
}

func apiVersion(ref object.Ref) string {
	if ref.Group == "" {
		return "v1"
	}
	return ref.Group + "/v1"
}

// healthOf assesses the objects of a plan, where the app's policy looks at
// health at all. An object that cannot be read has unknown health.
func (r *run) healthOf(ctx context.Context, p plan.Plan) map[object.Ref]app.Health {
	out := map[object.Ref]app.Health{}
	if !looksAtHealth(r.spec.Policy) {
		return out
	}
	for _, s := range p.Steps() {
		if s.OfNamespace() || s.Verb == plan.Prune {
			continue
		}
		h, err := r.dest.assess(ctx, r.a, s.Ref, r.spec.Policy.HealthRules)
		if err != nil {
			h = app.Health{Status: app.HealthLost, Message: err.Error()}
		}
		out[s.Ref] = h
	}
	return out
}

// looksAtHealth: rules by kind are shown for every app; others only where
// health decides.
func looksAtHealth(p app.Policy) bool {
	return p.HealthRules == app.HealthByKind || p.Wait || len(p.HealthChecks) > 0
}

// refreshHealth brings the health in the last report up to date and publishes
// it if it changed. It reports false if a full run is needed instead.
func (e *Engine) refreshHealth(ctx context.Context, a *state) bool {
	a.mu.Lock()
	last, policy, idle, dest := a.last, a.spec.Policy, a.removed || a.suspended(), a.dest
	a.mu.Unlock()
	if idle {
		return true
	}
	if last == nil || last.Failure != nil || len(last.Objects) == 0 {
		return false
	}
	if !looksAtHealth(policy) {
		return true
	}
	rep := told(*last)
	changed := false
	for i := range rep.Objects {
		o := &rep.Objects[i]
		if o.Sync == "" {
			continue
		}
		h, err := dest.assess(ctx, a, o.Ref, policy.HealthRules)
		if err != nil {
			return false
		}
		changed = changed || h != o.Health
		o.Health = h
	}
	if !changed {
		return true
	}
	rep.Health = health.Worst(rep.Objects, policy.HealthRules)
	a.mu.Lock()
	if a.last == last {
		a.last = &rep
	}
	a.mu.Unlock()
	if err := e.opts.Publish(ctx, rep); err != nil {
		return false
	}
	e.triggerDependents(a.id, true)
	return true
}
