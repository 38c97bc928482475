package engine

import (
	"context"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/apply"
	"plumb.dev/plumb/internal/diff"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/release"
)

// drift is what was found, and undone, of changes to what Helm delivered.
type drift struct {
	looked    bool
	plan      plan.Plan
	intent    plan.Intent
	outcome   plan.Outcome
	corrected bool
}

// found reports whether the cluster differs from what Helm stored.
func (d drift) found() bool { return d.plan.OutOfSync() }

// lookForDrift compares the cluster with the manifest that Helm stored. Objects
// that nobody touched since the last look cost no request.
func (w *releasing) lookForDrift(ctx context.Context, last *release.Stored) *app.Failure {
	manifest, err := last.Manifest()
	if err != nil {
		return app.AsFailure(err, app.StageRender)
	}
	spec := w.spec
	kinds, err := w.cl.Kinds(ctx, plan.GVKs(manifest, nil))
	if err != nil {
		return app.AsFailure(err, app.StageObserve)
	}
	desired, warnings, failure := plan.Prepare(manifest, spec, kinds)
	if failure != nil {
		return failure
	}
	if key := w.e.digestKey; key != nil {
		for i := range desired {
			desired[i] = desired[i].Keyed(key)
		}
	}
	spec.Recorded = recordsOf(desired, w.records)
	facts, err := w.writer.Observe(ctx, plan.Query{Desired: desired, Recorded: spec.Recorded, Manager: spec.FieldManager, Mark: spec.Mark,
		Switches: spec.Policy.Switches, Ignore: spec.Policy.Ignore, PredictFrom: 1, Delivered: true})
	if err != nil {
		return app.AsFailure(err, app.StageObserve)
	}
	intent := plan.Intent{Apply: w.now.Drift.Mode == app.DriftCorrect, Heal: true}
	w.drift = drift{looked: true, intent: intent, plan: plan.BuildDrift(plan.Input{Spec: spec, Objects: desired, Facts: facts, Intent: intent})}
	w.in.Warnings = append(w.in.Warnings, warnings...)
	w.dest.own(w.a.id, spec.Recorded)
	if w.drift.plan.Refused != nil {
		return w.drift.plan.Refused
	}
	if w.drift.plan.Writes() > 0 && !w.drift.found() {
		// Nothing differs, but of some fields ownership would not tell that they
		// do: what was handed over as a Secret's stringData, for one.
		w.apply(ctx)
	}
	return w.drift.outcome.Failure
}

// apply carries out the plan.
func (w *releasing) apply(ctx context.Context) {
	w.drift.corrected = true
	w.drift.outcome = apply.Run(ctx, w.drift.plan, apply.Options{
		Writer: &carrying{tracked{Writer: w.writer, dest: w.dest, a: w.a, manager: w.spec.FieldManager}, w.spec.Policy.Ignore},
		Await:  w.awaitHealthy, Gone: w.awaitGone, Preempted: w.between, Now: time.Now})
}

// recordsOf are the records of objects.
func recordsOf(objects []object.Object, records []app.Record) []app.Record {
	wanted := make(map[object.Ref]bool, len(objects))
	for _, o := range objects {
		wanted[o.Ref()] = true
	}
	var out []app.Record
	for _, rec := range records {
		if wanted[rec.Ref] {
			out = append(out, rec)
		}
	}
	return out
}

// correct undoes drift, by writing what differs and nothing else.
func (w *releasing) correct(ctx context.Context) {
	began := time.Now()
	w.acted = true
	w.apply(ctx)
	result := app.ReleaseResult{Action: app.ReleaseCorrect, Failure: w.drift.outcome.Failure, Started: began, Duration: time.Since(began)}
	if h := w.now.Memory.History; len(h) > 0 {
		result.Release = h[0]
	}
	w.note(result)
	if result.Failure == nil {
		w.out.State, w.out.Corrected = app.ReleaseInSync, true
	}
}

// carrying writes objects with those of their fields that are left to others as
// the cluster has them: Helm delivered them under the same name, and a write
// without them would take them away.
type carrying struct {
	tracked
	ignore []app.IgnoreRule
}

func (c *carrying) Apply(ctx context.Context, obj object.Object, opts plan.WriteOptions) (plan.Written, error) {
	carried, err := c.carry(ctx, obj)
	if err != nil {
		return plan.Written{}, err
	}
	return c.tracked.Apply(ctx, carried, opts)
}

func (c *carrying) carry(ctx context.Context, obj object.Object) (object.Object, error) {
	if len(c.ignore) == 0 {
		return obj, nil
	}
	live, err := c.dest.current().Get(ctx, obj.Ref())
	if err != nil || live == nil {
		return obj, err
	}
	return diff.Carry(obj, live.Object, c.ignore), nil
}
