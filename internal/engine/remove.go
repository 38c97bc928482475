package engine

import (
	"context"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/apply"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/report"
)

// remove ends an app whose resource is being deleted: the same line, with
// nothing desired.
func (r *run) remove(ctx context.Context, in report.Input) (app.Report, bool) {
	spec := r.spec
	end := func(f *app.Failure) (app.Report, bool) {
		in.Failure, in.Now = r.dest.explain(f), time.Now()
		rep := report.Compose(in)
		rep.Deleted = f == nil
		return rep, true
	}
	if spec.Release != nil {
		return r.uninstall(ctx, in)
	}
	if !spec.Deletion.Prune || len(spec.Recorded) == 0 {
		return end(nil)
	}
	cl, writer, waiting, failure := r.dest.access(spec.Target)
	if waiting {
		return app.Report{}, false
	}
	if failure != nil {
		at := *failure
		at.Stage = app.StageDelete
		return end(&at)
	}
	if _, err := cl.Kinds(ctx, plan.GVKs(nil, spec.Recorded)); err != nil {
		return end(app.AsFailure(err, app.StageDelete))
	}
	facts, err := writer.Observe(ctx, plan.Query{Recorded: spec.Recorded, Manager: spec.FieldManager, Mark: spec.Mark,
		Switches: spec.Policy.Switches, Waves: spec.Policy.WaveAnnotations})
	if err != nil {
		return end(app.AsFailure(err, app.StageDelete))
	}
	in.Plan, in.Planned, in.Executed = plan.BuildDeletion(spec, facts), true, true
	in.Outcome = apply.Run(ctx, in.Plan, apply.Options{Writer: &tracked{Writer: writer, dest: r.dest, a: r.a},
		Await: r.awaitHealthy, Gone: r.awaitGone, Preempted: r.between, Now: time.Now})
	if in.Outcome.Failure != nil {
		in.Outcome.Failure.Stage = app.StageDelete
	}
	if ctx.Err() != nil {
		return app.Report{}, false
	}
	return end(in.Outcome.Failure)
}
