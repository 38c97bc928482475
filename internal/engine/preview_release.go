package engine

import (
	"context"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/release"
	"plumb.dev/plumb/internal/source"
)

// PreviewRelease takes an app that is a Helm release along its line as far as
// the decision, and writes nothing: what Plumb would do next, and where drift
// is looked for, how the cluster differs from the release.
func PreviewRelease(ctx context.Context, l Looking, spec app.Spec, src app.Source, parts ...source.Part) (app.Revision, release.Decision, plan.Plan, error) {
	none := func(revision app.Revision, err error) (app.Revision, release.Decision, plan.Plan, error) {
		return revision, release.Decision{}, plan.Plan{}, err
	}
	if spec.Invalid != nil {
		return none(app.Revision{}, spec.Invalid)
	}
	revision, repo, err := l.Sources.Resolve(ctx, src, time.Now(), parts...)
	if err != nil {
		return none(revision, err)
	}
	writer, err := l.writer(spec)
	if err != nil {
		return none(revision, err)
	}
	e := l.engine()
	spec.Target.ServiceAccount, spec.Target.Cluster = "", local
	spec.Request, spec.Deletion = nil, nil
	r := &run{e: e, a: &state{id: spec.ID}, dest: e.home, spec: spec, hash: specHash(spec), cause: app.CauseRequest}
	w := &releasing{run: r, now: *spec.Release, records: spec.Recorded, cl: l.Cluster, writer: writer}
	w.now.Force, w.now.Reset = "", ""
	if failure := w.compose(ctx, sourceNow{of: src, looked: true, revision: revision, repo: repo, since: time.Now()}); failure != nil {
		return none(revision, failure)
	}
	w.looksAt()
	config, err := w.writer.Config()
	if err != nil {
		return none(revision, err)
	}
	if w.client, err = release.Open(release.Options{Config: config, Logger: e.log}); err != nil {
		return none(revision, err)
	}
	stored, err := w.client.Look(ctx, w.now)
	if err != nil {
		return none(revision, err)
	}
	next := w.decide(stored, false)
	if next.State == app.ReleaseInSync && next.Action == app.ReleaseNone && w.now.Drift.Mode != app.DriftOff {
		w.now.Drift.Mode = app.DriftWarn // a look that corrects would write
		if failure := w.lookForDrift(ctx, stored.Last); failure != nil {
			return none(revision, failure)
		}
	}
	if next.Failure != nil {
		return none(revision, next.Failure)
	}
	return revision, next, w.drift.plan, nil
}
