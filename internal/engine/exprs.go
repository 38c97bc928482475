package engine

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/expr"
	"plumb.dev/plumb/internal/health"
	"plumb.dev/plumb/internal/object"
)

// judge is what health an app's objects are judged by. The caller holds a.mu.
func (a *state) judge() *expr.Health {
	of := ""
	if len(a.spec.Policy.HealthExprs) > 0 && looksAtHealth(a.spec.Policy) {
		of = a.hash
	}
	if of != a.exprsOf {
		a.exprsOf, a.exprs = of, nil
		clear(a.health) // by other rules
		if of != "" {
			// The dialect has made sure that they can be parsed.
			a.exprs, _ = expr.ParseHealth(a.spec.Policy.HealthExprs)
		}
	}
	return a.exprs
}

// needsRead reports whether the health of a kind depends on more than the
// metadata of the object. The caller holds a.mu.
func (a *state) needsRead(gk schema.GroupKind, rules app.HealthRules) bool {
	return health.Needs(gk, rules) || a.judge().Has(gk)
}

// readyExpr evaluates what decides about one dependency instead of the usual
// rule. Both resources are read as they are in the cluster.
func (e *Engine) readyExpr(ctx context.Context, of app.ID, x app.ReadyExpr) *app.Failure {
	refs := []object.Ref{x.Dep, x.Self}
	e.reads(of, refs[:1])
	if err := e.opts.Cluster.Remember(ctx, refs[:1]); err != nil {
		return app.AsFailure(err, app.StageDepends)
	}
	var both [2]map[string]any
	for i, ref := range refs {
		u, err := e.opts.Cluster.Get(ctx, ref)
		switch {
		case err != nil:
			return app.AsFailure(err, app.StageDepends)
		case u == nil:
			return notReady("dependency '%s/%s' not found", x.On.Namespace, x.On.Name)
		}
		both[i] = u.Object
	}
	ready, err := expr.ParseReady(x.Text)
	if err != nil {
		return app.Fail(app.StageSpec, app.ReasonInvalidExpr, "%w", err)
	}
	holds, err := ready.Holds(ctx, both[1], both[0])
	if err != nil {
		return notReady("dependency '%s/%s': readyExpr cannot be evaluated: %w", x.On.Namespace, x.On.Name, err)
	}
	if !holds {
		return notReady("dependency '%s/%s' is not ready according to readyExpr eval", x.On.Namespace, x.On.Name)
	}
	return nil
}

// waitsFor reports whether the app waits for ref to make one of its
// expressions true. The caller holds a.mu.
func (a *state) waitsFor(ref object.Ref) bool {
	if a.last == nil || a.last.Failure == nil || a.last.Failure.Stage != app.StageDepends {
		return false
	}
	for _, x := range a.spec.ReadyExprs {
		if x.Dep == ref {
			return true
		}
	}
	return false
}
