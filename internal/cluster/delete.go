package cluster

import (
	"context"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// Delete deletes an object, which may take until after Delete returns: remains
// says so, and WaitGone waits. That it does not exist, or nothing of its kind, is no error. uid,
// if not empty, guards against deleting another object of the same name, which
// fails with ReasonConflict. version is a hint; a kind is deleted in whichever
// version is served.
func (w *Writer) Delete(ctx context.Context, ref object.Ref, version, uid string, propagation app.Propagation) (remains bool, err error) {
	info, found, err := w.cluster.lookup(ctx, ref.GroupKind())
	if err != nil || !found {
		return false, w.fail(ctx, "delete", ref, object.Origin{}, err)
	}
	if propagation == "" {
		propagation = app.Background
	}
	policy := metav1.DeletionPropagation(propagation)
	options := metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{Kind: "DeleteOptions", APIVersion: "v1"}, PropagationPolicy: &policy}
	if uid != "" {
		options.Preconditions = metav1.NewUIDPreconditions(uid)
	}
	body, err := json.Marshal(options)
	if err != nil {
		return false, w.fail(ctx, "delete", ref, object.Origin{}, err)
	}

	var answer *metav1.PartialObjectMetadata // of an object that is on its way
	if k := w.cluster.tracked(ref.GroupKind()); k != nil {
		k.store.beginWrite(nameIn(ref))
		defer func() { k.store.endDelete(nameIn(ref), answer, err == nil, types.UID(uid)) }()
	}
	result, _ := w.send(ctx, w.client.Delete().AbsPath(path(info.gvr(ref.Group, version), info.namespaced, ref.Namespace, ref.Name)...).
		SetHeader("Accept", acceptMeta).SetHeader("Content-Type", runtime.ContentTypeJSON).Body(body))
	if err = result.Error(); apierrors.IsNotFound(err) {
		err = nil
		return false, nil
	}
	if err != nil {
		return false, w.fail(ctx, "delete", ref, object.Origin{}, err)
	}
	// The API server answers with the object if it is still there, with a
	// Status if it is gone.
	if obj, e := result.Get(); e == nil {
		answer, _ = obj.(*metav1.PartialObjectMetadata)
	}
	return answer != nil, nil
}

// Recreate deletes an object, waits until it is gone, and applies it: for
// changes that the API server refuses to make in place.
func (w *Writer) Recreate(ctx context.Context, obj object.Object, opts plan.WriteOptions) (plan.Written, error) {
	ref := obj.Ref()
	if opts.DryRun {
		return plan.Written{Changed: true}, nil
	}
	if _, err := w.Delete(ctx, ref, obj.GVK().Version, "", app.Background); err != nil {
		return plan.Written{}, err
	}
	if err := w.cluster.WaitGone(ctx, []object.Ref{ref}); err != nil {
		return plan.Written{}, w.fail(ctx, "delete", ref, obj.Origin, err)
	}
	written, err := w.Apply(ctx, obj, plan.WriteOptions{Manager: opts.Manager})
	written.Changed = err == nil
	return written, err
}
