// Package apply carries out a plan: it is the only writer of delivered
// objects. It decides nothing; what to do, in which order and why stands in
// the plan. It must not know apps' policies, dialects, or how a cluster is
// reached.
package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// Writer writes to one cluster under one identity. Its errors are, or wrap,
// *app.Failure.
type Writer interface {
	Apply(ctx context.Context, obj object.Object, opts plan.WriteOptions) (plan.Written, error)
	Recreate(ctx context.Context, obj object.Object, opts plan.WriteOptions) (plan.Written, error)
	Delete(ctx context.Context, ref object.Ref, version, uid string, propagation app.Propagation) (remains bool, err error)
}

// Options say how a plan is carried out.
type Options struct {
	Writer Writer
	// Await waits until the objects are healthy; Gone until they no longer
	// exist. Both end early when the run is pre-empted.
	Await func(ctx context.Context, refs []object.Ref) *app.Failure
	Gone  func(ctx context.Context, refs []object.Ref) *app.Failure
	// Preempted is done when something more urgent has come up; it is looked
	// at between groups, never within a write.
	Preempted context.Context
	Parallel  int // steps of a group at a time; 0 means 8
	Now       func() time.Time
}

// Run carries out p and tells what came of each step. A group is finished
// before its failures stop the rest.
func Run(ctx context.Context, p plan.Plan, opts Options) plan.Outcome {
	var out plan.Outcome
	if opts.Parallel == 0 {
		opts.Parallel = 8
	}
	for _, g := range p.Groups {
		if failure := interrupted(ctx, opts.Preempted); failure != nil {
			out.Failure = failure
			return out
		}
		results := opts.group(ctx, g)
		out.Results = append(out.Results, results...)
		if out.Failure = firstFailure(results); out.Failure != nil {
			return out
		}
		if refs := leaving(g); len(refs) > 0 {
			if out.Failure = opts.Gone(ctx, refs); out.Failure != nil {
				return out
			}
		}
		if len(g.Await) > 0 {
			if out.Failure = opts.Await(ctx, g.Await); out.Failure != nil {
				return out
			}
		}
	}
	return out
}

// leaving lists what must no longer exist before the next group.
func leaving(g plan.Group) []object.Ref {
	refs := slices.Clone(g.Leaving)
	if g.Gone {
		for _, s := range g.Steps {
			refs = append(refs, s.Ref)
		}
	}
	return refs
}

func interrupted(ctx, preempted context.Context) *app.Failure {
	if err := ctx.Err(); err != nil {
		return app.Fail(app.StageApply, app.ReasonTerminated, "stopped: %w", context.Cause(ctx))
	}
	if preempted == nil || preempted.Err() == nil {
		return nil
	}
	cause := context.Cause(preempted)
	var failure *app.Failure
	if errors.As(cause, &failure) {
		return failure
	}
	return app.Fail(app.StageApply, app.ReasonSuperseded, "stopped: %w", cause)
}

// group runs the steps of one group side by side; the results keep the order
// of the steps.
func (o Options) group(ctx context.Context, g plan.Group) []plan.Result {
	results := make([]plan.Result, len(g.Steps))
	var eg errgroup.Group
	eg.SetLimit(o.Parallel)
	for i, s := range g.Steps {
		eg.Go(func() error {
			results[i] = o.step(ctx, s)
			return nil
		})
	}
	eg.Wait() // the functions return nil: failures are in the results
	return results
}

func (o Options) step(ctx context.Context, s plan.Step) plan.Result {
	r := plan.Result{Step: s}
	var err error
	switch s.Verb {
	case plan.Create, plan.Apply, plan.Replace:
		r.Written, err = o.Writer.Apply(ctx, s.Object, s.Write)
		r.Action = actionOf(r.Written)
	case plan.Recreate:
		r.Written, err = o.Writer.Recreate(ctx, s.Object, s.Write)
		r.Action = app.ActionConfigured
	case plan.Prune:
		r.Remains, err = o.Writer.Delete(ctx, s.Ref, s.Version, s.UID, s.Propagation)
		r.Action = app.ActionPruned
	default:
		r.Action = app.ActionSkipped
	}
	r.At = o.Now()
	if err != nil {
		stage := app.StageApply
		if s.Verb == plan.Prune {
			stage = app.StagePrune
		}
		failure := *app.AsFailure(err, stage)
		failure.Stage = stage
		r.Failure, r.Action, r.Message = &failure, app.ActionFailed, failure.Error()
	}
	return r
}

func actionOf(w plan.Written) app.Action {
	switch {
	case w.Created:
		return app.ActionCreated
	case w.Changed:
		return app.ActionConfigured
	}
	return app.ActionUnchanged
}

// firstFailure makes one failure of those in results; the first decides stage
// and reason, all are named.
func firstFailure(results []plan.Result) *app.Failure {
	var first *app.Failure
	var all []error
	for _, r := range results {
		if r.Failure == nil {
			continue
		}
		if first == nil {
			first = r.Failure
		}
		all = append(all, r.Failure.Err)
	}
	if len(all) <= 1 {
		return first
	}
	const most = 20
	if more := len(all) - most; more > 0 {
		all = append(all[:most], fmt.Errorf("and %d more", more))
	}
	joined := *first
	joined.Err = fmt.Errorf("%w", errors.Join(all...))
	return &joined
}
