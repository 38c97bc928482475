package cluster

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/diff"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/ownership"
	"plumb.dev/plumb/internal/plan"
)

// predictAll sets the predictions that the query asks for, and those of kinds
// that record no ownership: for them comparing is the only way to see drift.
func (w *Writer) predictAll(ctx context.Context, q plan.Query, facts plan.Facts) error {
	recorded := make(map[object.Ref]app.Record, len(q.Recorded))
	for _, r := range q.Recorded {
		recorded[r.Ref] = r
	}
	var changed, compared []object.Object
	for _, o := range q.Desired {
		kind := facts.Kinds[o.Ref().GroupKind()]
		switch {
		case kind.Served && !kind.Owned:
			compared = append(compared, o)
		case !plan.InSync(o, recorded[o.Ref()], facts.Live[o.Ref()]):
			changed = append(changed, o)
		}
	}
	if q.PredictFrom > 0 && len(changed) >= q.PredictFrom && !(q.First && q.PredictFrom > 1 && allNew(changed, facts)) {
		compared = append(compared, changed...)
	}
	if asksMetadata(q.Namespace) && facts.Live[q.Namespace.Ref()].Exists {
		compared = append(compared, q.Namespace)
	}

	p := prediction{Writer: w, query: q, facts: facts, recorded: recorded, defined: definedBy(q.Desired), desired: map[object.Ref]object.Object{}}
	for _, o := range q.Desired {
		p.desired[o.Ref()] = o
	}
	if !q.Namespace.IsZero() {
		p.desired[q.Namespace.Ref()] = q.Namespace
	}
	results := make([]*plan.Prediction, len(compared))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallel)
	for i, o := range compared {
		eg.Go(func() (err error) {
			results[i], err = p.of(ctx, o)
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	for i, o := range compared {
		live := facts.Live[o.Ref()]
		live.Prediction = results[i]
		facts.Live[o.Ref()] = live
	}
	return nil
}

// allNew reports whether none of the objects exists.
func allNew(objs []object.Object, facts plan.Facts) bool {
	return !slices.ContainsFunc(objs, func(o object.Object) bool { return facts.Live[o.Ref()].Exists })
}

// asksMetadata reports whether a namespace is asked to be more than there.
func asksMetadata(ns object.Object) bool {
	if ns.IsZero() {
		return false
	}
	u := ns.Unstructured()
	return len(u.GetLabels())+len(u.GetAnnotations()) > 0
}

// prediction asks the API server what applies would do.
type prediction struct {
	*Writer
	query    plan.Query
	facts    plan.Facts
	recorded map[object.Ref]app.Record
	defined  map[schema.GroupKind]object.Ref
	desired  map[object.Ref]object.Object
}

// of predicts one object. An error means that nothing can be said at all.
func (p prediction) of(ctx context.Context, o object.Object) (*plan.Prediction, error) {
	ref := o.Ref()
	namespace := object.Ref{Kind: "Namespace", Name: ref.Namespace}
	if _, comes := p.desired[namespace]; comes && !p.facts.Live[namespace].Exists {
		return deferred(namespace), nil // no need to ask: it is not there yet
	}
	info, gvr, err := p.find(ctx, "dry-run", ref, o.GVK().Version, o.Origin)
	if err != nil {
		return p.refused(ref, err)
	}
	payload, err := o.Payload()
	if err != nil {
		return p.refused(ref, app.Fail(app.StageApply, app.ReasonInvalidObject, "%s%s: %s", ref, at(o.Origin), object.RedactError(ref, err.Error())))
	}
	dryRun := func(accept string) (raw []byte, status int, err error) {
		result, _ := p.send(ctx, p.client.Patch(types.ApplyPatchType).AbsPath(path(gvr, info.namespaced, ref.Namespace, ref.Name)...).
			Param("fieldManager", p.query.Manager).Param("force", "true").Param("dryRun", "All").
			SetHeader("Accept", accept).Body(payload))
		raw, err = body(result.StatusCode(&status))
		return raw, status, err
	}
	accept := acceptObject
	if !p.facts.Live[ref].Exists {
		accept = acceptMeta // of what is to be created there is nothing to compare
	}
	raw, status, err := dryRun(accept)
	if err == nil && status != http.StatusCreated && accept == acceptMeta {
		raw, status, err = dryRun(acceptObject) // it is there after all
	}
	if err != nil {
		return p.refused(ref, p.fail(ctx, "dry-run", ref, o.Origin, err))
	}
	if status == http.StatusCreated {
		return &plan.Prediction{}, nil
	}
	after, err := decodeObject(ref, raw)
	if err != nil {
		return nil, err
	}
	before, err := p.cluster.self.getObject(ctx, gvr, info.namespaced, ref)
	if err != nil {
		return nil, err
	}
	if before == nil { // deleted in between
		return &plan.Prediction{}, nil
	}
	return &plan.Prediction{
		Changes:  diff.Fields(ref, before.Object, after.Object, p.query.Ignore),
		Regained: p.regained(ref, before, after),
		Owned:    ownership.Digest(before.GetManagedFields(), p.query.Manager),
	}, nil
}

// regained tells who holds what would be taken back of an object that was
// delivered before.
func (p prediction) regained(ref object.Ref, before, after *unstructured.Unstructured) []ownership.Holding {
	if p.recorded[ref].Owned == "" && !p.query.Delivered {
		return nil // it was never ours
	}
	return ownership.Regained(before.GetManagedFields(), after.GetManagedFields(), p.query.Manager)
}

// refused sorts what the API server answers to a dry run: a refusal of the
// object, a matter of something that the same plan brings, or no answer.
func (p prediction) refused(ref object.Ref, err error) (*plan.Prediction, error) {
	f := app.AsFailure(err, app.StageApply)
	definition, defined := p.defined[ref.GroupKind()]
	namespace := object.Ref{Kind: "Namespace", Name: ref.Namespace}
	_, namespaced := p.desired[namespace]
	switch {
	case f.Reason == app.ReasonClusterDown, f.Reason == app.ReasonTimeout, f.Reason == app.ReasonTerminated,
		f.Reason == app.ReasonSuperseded, f.Reason == app.ReasonAuthentication, f.Reason == app.ReasonInternal:
		return nil, f
	case f.Reason == app.ReasonKindUnknown && defined:
		return &plan.Prediction{Deferred: fmt.Sprintf("its kind is defined by %s, which is delivered together with it", definition)}, nil
	case f.Reason == app.ReasonInvalidObject && defined && !plan.InSync(p.desired[definition], p.recorded[definition], p.facts.Live[definition]):
		return &plan.Prediction{Deferred: fmt.Sprintf("%s, which defines its kind, changes together with it", definition)}, nil
	case f.Reason == app.ReasonNamespaceMissing && namespaced:
		return deferred(namespace), nil
	}
	return &plan.Prediction{Refused: f}, nil
}

// deferred is the prediction of what is in a namespace that the same plan
// makes.
func deferred(namespace object.Ref) *plan.Prediction {
	return &plan.Prediction{Deferred: fmt.Sprintf("%s is delivered together with it", namespace)}
}
