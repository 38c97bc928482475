package health

import (
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
)

// assessKstatus follows kstatus, except that a Job must have completed: to
// kstatus one that has started is current, and Flux reads Jobs its own way,
// so that what waits for a migration really waits.
func assessKstatus(u *unstructured.Unstructured) app.Health {
	result, err := status.Compute(u)
	if err != nil {
		return lost("status cannot be read: " + err.Error())
	}
	switch result.Status {
	case status.CurrentStatus:
		if u.GroupVersionKind().GroupKind() == (schema.GroupKind{Group: "batch", Kind: "Job"}) &&
			conditionOf(u, "Complete").status != "True" {
			return progressing("Job has not completed")
		}
		return healthy(result.Message)
	case status.InProgressStatus, status.TerminatingStatus:
		return progressing(result.Message)
	case status.FailedStatus:
		return degraded(result.Message)
	case status.NotFoundStatus:
		return app.Health{Status: app.Missing, Message: result.Message}
	default:
		return lost(result.Message)
	}
}

// kstatusStatic reports whether kstatus has nothing to look at in a kind of
// Kubernetes itself: no conditions, no observed generation, no rule of its
// own. Every other kind may come to have conditions and must be read.
func kstatusStatic(gk schema.GroupKind) bool {
	switch gk.Group {
	case "":
		switch gk.Kind {
		case "ConfigMap", "Secret", "ServiceAccount", "Namespace", "LimitRange", "ResourceQuota",
			"Endpoints", "Event", "PodTemplate":
			return true
		}
	case "apps":
		return gk.Kind == "ControllerRevision"
	case "batch":
		return gk.Kind == "CronJob"
	case "rbac.authorization.k8s.io", "scheduling.k8s.io", "node.k8s.io", "discovery.k8s.io", "coordination.k8s.io":
		return true
	case "storage.k8s.io":
		return gk.Kind == "StorageClass" || gk.Kind == "CSIDriver" || gk.Kind == "CSINode"
	case "networking.k8s.io":
		return gk.Kind == "Ingress" || gk.Kind == "IngressClass" || gk.Kind == "NetworkPolicy"
	case "admissionregistration.k8s.io":
		return gk.Kind == "MutatingWebhookConfiguration" || gk.Kind == "ValidatingWebhookConfiguration"
	}
	return false
}
