package flux

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// EncodeSuspended gives the status that u has while it is suspended: it tells
// that its generation and the last request were seen, so that nobody who waits
// for that waits until it is resumed. What the status tells of the last look or
// run stays. It is the status as it is, if there is nothing to note, or u is not
// suspended, or going.
//
// As in Flux, a Kustomization is seen only as far as it was ready, and a source
// only if it was looked at before.
func EncodeSuspended(u *unstructured.Unstructured) map[string]any {
	old := section(u.Object, "status")
	if section(u.Object, "spec")["suspend"] != true || deleting(u) || Foreign(u.GetKind()) {
		return orEmpty(old)
	}
	status := runtime.DeepCopyJSON(orEmpty(old))
	conditions := list(status, "conditions")
	switch kind := u.GetKind(); {
	case kind == KindHelmRelease:
		status["observedGeneration"] = u.GetGeneration()
	case len(conditions) == 0:
		return status
	case kind == KindKustomization && conditionIs(conditions, condReady, "True"):
		status["observedGeneration"] = u.GetGeneration()
	case kind != KindKustomization:
		status["observedGeneration"] = u.GetGeneration()
		for _, item := range conditions {
			if c, ok := item.(map[string]any); ok && text(c, "type") == condReady {
				c["observedGeneration"] = u.GetGeneration()
			}
		}
	}
	if token := u.GetAnnotations()[RequestedAt]; token != "" {
		status["lastHandledReconcileAt"] = token
	}
	return status
}

func conditionIs(conditions []any, kind, value string) bool {
	for _, item := range conditions {
		if c, ok := item.(map[string]any); ok && text(c, "type") == kind {
			return text(c, "status") == value
		}
	}
	return false
}
