package argo

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// The merge patches by which a user's commands ask something of an
// Application, and the answer to a sync.

// SkipAnnotation freezes an Application while it is "true".
const SkipAnnotation = annotationSkip

// RefreshPatch asks for a new comparison; token is a time, which tells the
// request from a later one.
func RefreshPatch(token string, hard bool) map[string]any {
	how := "normal"
	if hard {
		how = "hard"
	}
	return map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		annotationRefresh: how, annotationRefreshTimestamp: token,
	}}}
}

// SuspendPatch suspends or resumes.
func SuspendPatch(on bool) map[string]any {
	var value any // null takes the annotation away
	if on {
		value = "true"
	}
	return map[string]any{"metadata": map[string]any{"annotations": map[string]any{annotationSkip: value}}}
}

// SyncPatch asks for a sync of u as it is now: a patch that meets another
// version of it is refused with a conflict. The answer to the operation before
// is taken away, so that it is not taken for the answer to this one.
func SyncPatch(u *unstructured.Unstructured, r app.Request) map[string]any {
	sync := map[string]any{}
	set := func(key string, on bool, value any) {
		if on {
			sync[key] = value
		}
	}
	set("revision", r.Revision != "", r.Revision)
	set("prune", r.Prune, true)
	set("dryRun", r.DryRun, true)
	set("syncStrategy", r.Force, map[string]any{"hook": map[string]any{"force": true}})
	var resources []any
	for _, ref := range r.Resources {
		resources = append(resources, map[string]any{"group": ref.Group, "kind": ref.Kind, "namespace": ref.Namespace, "name": ref.Name})
	}
	set("resources", len(resources) > 0, resources)
	if options, ok, _ := unstructured.NestedSlice(u.Object, "spec", "syncPolicy", "syncOptions"); ok {
		sync["syncOptions"] = options
	}
	op := map[string]any{"sync": sync, "initiatedBy": map[string]any{"username": r.By}}
	if retry, ok, _ := unstructured.NestedMap(u.Object, "spec", "syncPolicy", "retry"); ok {
		op["retry"] = retry
	}
	return map[string]any{
		"metadata":  map[string]any{"resourceVersion": u.GetResourceVersion()},
		"operation": op,
		"status":    map[string]any{"operationState": nil},
	}
}

// OperationView is what became of the sync that was asked for last.
type OperationView struct {
	Asked     bool // it stands on the resource, and has not ended
	Over      bool // it has ended, and the comparison after it is done
	Succeeded bool
	Message   string
	Resources []OperationResource
}

// OperationResource is the result for one object.
type OperationResource struct {
	Ref             object.Ref
	Status, Message string
}

// Operation reads it.
func Operation(u *unstructured.Unstructured) OperationView {
	phase := text(u.Object, "status", "operationState", "phase")
	finished := moment(u.Object, "status", "operationState", "finishedAt")
	dry, _, _ := unstructured.NestedBool(u.Object, "status", "operationState", "operation", "sync", "dryRun")
	v := OperationView{
		Asked:     u.Object["operation"] != nil,
		Succeeded: phase == phaseSucceeded,
		Message:   text(u.Object, "status", "operationState", "message"),
	}
	v.Over = !v.Asked && !finished.IsZero() && phase != "Running" && phase != "Terminating" &&
		(dry || !moment(u.Object, "status", "reconciledAt").Before(finished))
	for _, item := range objects(u.Object, "status", "operationState", "syncResult", "resources") {
		v.Resources = append(v.Resources, OperationResource{
			Ref: object.Ref{
				Group: text(item, "group"), Kind: text(item, "kind"),
				Namespace: text(item, "namespace"), Name: text(item, "name"),
			},
			Status: text(item, "status"), Message: text(item, "message"),
		})
	}
	return v
}
