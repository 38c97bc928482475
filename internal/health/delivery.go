package health

import (
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
)

// fluxRule gives the rule of the kinds of Flux that report readiness; alerts
// and providers have no status to go by.
func fluxRule(gk schema.GroupKind) (rule, bool) {
	switch gk.Kind {
	case "GitRepository", "OCIRepository", "HelmRepository", "HelmChart", "Bucket", "ExternalArtifact",
		"Kustomization", "HelmRelease", "Receiver",
		"ImageRepository", "ImagePolicy", "ImageUpdateAutomation":
		return fluxResource, true
	}
	return nil, false
}

func fluxResource(u *unstructured.Unstructured) app.Health {
	if flag(u, "spec", "suspend") {
		return suspended("reconciliation is suspended")
	}
	ready := conditionOf(u, "Ready")
	switch {
	case !ready.found():
		return progressing("waiting to be reconciled")
	case ready.status == "True":
		return healthy(ready.message)
	case ready.status == "Unknown" && conditionOf(u, "Reconciling").status == "True":
		return progressing(ready.ground())
	default:
		return degraded(ready.ground())
	}
}

func workflow(u *unstructured.Unstructured) app.Health {
	message := text(u, "status", "message")
	switch phase := text(u, "status", "phase"); phase {
	case "", "Pending", "Running":
		return progressing(message)
	case "Succeeded":
		return healthy(message)
	case "Failed", "Error":
		return degraded(message)
	default:
		return lost("phase " + phase)
	}
}

// rollout: its observedGeneration is a string.
func rollout(u *unstructured.Unstructured) app.Health {
	generation := number(u, 0, "metadata", "generation")
	observed := number(u, 0, "status", "observedGeneration")
	if s := text(u, "status", "observedGeneration"); s != "" {
		observed, _ = strconv.ParseInt(s, 10, 64)
	}
	if generation != observed {
		return progressing(notObserved)
	}
	message := text(u, "status", "message")
	switch phase := text(u, "status", "phase"); phase {
	case "Paused":
		return suspended(message)
	case "Healthy":
		return healthy(message)
	case "Progressing", "":
		return progressing(message)
	case "Degraded":
		return degraded(message)
	default:
		return lost("phase " + phase)
	}
}

func analysisRun(u *unstructured.Unstructured) app.Health {
	message := text(u, "status", "message")
	switch phase := text(u, "status", "phase"); phase {
	case "", "Pending", "Running":
		return progressing(message)
	case "Successful":
		return healthy(message)
	case "Failed", "Error":
		return degraded(message)
	case "Inconclusive":
		return lost(message)
	default:
		return lost("phase " + phase)
	}
}

func applicationSet(u *unstructured.Unstructured) app.Health {
	if c := conditionOf(u, "ErrorOccurred"); c.status == "True" {
		return degraded(c.ground())
	}
	current := conditionOf(u, "ResourcesUpToDate")
	if current.status == "False" {
		return degraded(current.ground())
	}
	if c := conditionOf(u, "RolloutProgressing"); c.status == "True" {
		return progressing(c.ground())
	}
	if current.status == "True" {
		return healthy(current.message)
	}
	return progressing("waiting to be processed")
}
