package engine

import (
	"context"
	"log/slog"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/source"
)

// Looking is what previews work with.
type Looking struct {
	Sources *source.Store
	Bases   *source.Store // of remote bases; nil refuses them
	Cluster *cluster.Cluster
	// AsAccount predicts with the rights of the service account that the app is
	// delivered as, in place of those of Cluster's own identity.
	AsAccount bool
	// LenientVariables is as the engine has it; see Options.
	LenientVariables bool
}

// engine is one that delivers nothing.
func (l Looking) engine() *Engine {
	return New(Options{Sources: l.Sources, Bases: l.Bases, Cluster: l.Cluster, LenientVariables: l.LenientVariables, Log: slog.New(slog.DiscardHandler)})
}

// writer is who predicts for an app.
func (l Looking) writer(spec app.Spec) (*cluster.Writer, error) {
	if !l.AsAccount || spec.Target.ServiceAccount == "" {
		return l.Cluster.Self(), nil
	}
	return l.Cluster.As(spec.Target.ServiceAccount)
}

// Preview takes an app along the line as far as the plan, with every
// difference predicted, and writes nothing. It is what `plumb diff` shows.
// parts are what src is made of; see Parts.
func Preview(ctx context.Context, l Looking, spec app.Spec, src app.Source, parts ...source.Part) (app.Revision, plan.Plan, error) {
	if spec.Invalid != nil {
		return app.Revision{}, plan.Plan{}, spec.Invalid
	}
	if spec.Release != nil {
		return app.Revision{}, plan.Plan{}, app.Fail(app.StagePlan, app.ReasonUnsupported, "%s is a Helm release, which is not planned object by object", spec.ID)
	}
	revision, repo, err := l.Sources.Resolve(ctx, src, time.Now(), parts...)
	if err != nil {
		return app.Revision{}, plan.Plan{}, err
	}
	writer, err := l.writer(spec)
	if err != nil {
		return revision, plan.Plan{}, err
	}
	e := l.engine()
	spec.Target.ServiceAccount = ""
	if spec.RecordedAt != spec.Target.Cluster {
		spec.Recorded = nil // that is elsewhere
	}
	spec.Target.Cluster = local // Cluster is wherever the app goes
	spec.Request, spec.Deletion = nil, nil
	r := &run{e: e, a: &state{id: spec.ID}, dest: e.home, spec: spec, hash: specHash(spec), cause: app.CauseRequest}
	now := sourceNow{of: src, looked: true, revision: revision, repo: repo, since: time.Now()}
	rendered, failure := r.render(ctx, now)
	if failure != nil {
		return revision, plan.Plan{}, failure
	}
	intent := plan.Intent{Apply: true, DryRun: true, Prune: spec.Policy.Prune, Force: spec.Policy.Force}
	p, warnings, failure := r.plan(ctx, l.Cluster, writer, spec, rendered, intent)
	if failure != nil {
		return revision, plan.Plan{}, failure
	}
	p.Warnings = append(append(rendered.warnings, warnings...), p.Warnings...)
	return revision, p, nil
}

// maxParts bounds how far Parts goes: sources of sources of sources.
const maxParts = 8

// Parts fetches what a source is made of, for those who work without a running
// engine. of reads a source by its name.
func Parts(ctx context.Context, sources *source.Store, src app.Source, of func(context.Context, app.SourceID) (app.Source, error)) ([]source.Part, error) {
	return parts(ctx, sources, src, of, maxParts)
}

func parts(ctx context.Context, sources *source.Store, src app.Source, of func(context.Context, app.SourceID) (app.Source, error), depth int) ([]source.Part, error) {
	var out []source.Part
	for _, id := range src.Uses {
		if depth == 0 {
			return nil, app.Fail(app.StageFetch, app.ReasonCycle, "source %s is made of more than %d others, one of the other", src.ID, maxParts)
		}
		use, err := of(ctx, id)
		if err != nil {
			return nil, err
		}
		if use.Static() {
			out = append(out, source.Part{Source: use})
			continue
		}
		below, err := parts(ctx, sources, use, of, depth-1)
		if err != nil {
			return nil, err
		}
		revision, repo, err := sources.Resolve(ctx, use, time.Now(), below...)
		if err != nil {
			return nil, err
		}
		tree, err := repo.Tree(revision.ID())
		if err != nil {
			return nil, err
		}
		out = append(out, source.Part{Source: use, Revision: revision, Files: source.Shown(use, tree)})
	}
	return out, nil
}
