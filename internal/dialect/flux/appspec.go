package flux

import (
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// appSpec begins the decoding of a Kustomization or HelmRelease: with what both
// have in common.
func appSpec(u *unstructured.Unstructured, kind string) app.Spec {
	namespace, status := u.GetNamespace(), section(u.Object, "status")
	out := app.Spec{
		ID:         app.ID{Kind: kind, Namespace: namespace, Name: u.GetName()},
		UID:        string(u.GetUID()),
		Generation: u.GetGeneration(),
		Tenant:     "namespace/" + namespace,
		LastSync:   decodeAttempt(section(status, "plumb", "lastSync")),
		Ahead:      decodeAhead(status),
		Ready: integer(status, "observedGeneration") == u.GetGeneration() &&
			readConditions(status, time.Time{}, 0).has(condReady, "True"),
	}
	out.Recorded, out.Warnings = recorded(status)
	if token := u.GetAnnotations()[RequestedAt]; token != "" && token != text(status, "lastHandledReconcileAt") {
		out.Request = &app.Request{Token: token, Refresh: true, Sync: true}
	}
	switch ref, ok := KubeConfigOf(u); {
	case ok:
		out.Target.Cluster = ref.ID()
	case section(u.Object, "spec", "kubeConfig") != nil:
		out.Target.Cluster = recordedAt(status) // it is refused, and goes nowhere else
	}
	out.RecordedAt, out.Left = decodeLeft(status, out.Target.Cluster)
	return out
}
