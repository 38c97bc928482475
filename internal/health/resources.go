package health

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

func service(u *unstructured.Unstructured) app.Health {
	if text(u, "spec", "type") == "LoadBalancer" && !hasLoadBalancer(u) {
		return progressing("waiting for a load balancer address")
	}
	return healthy("")
}

func ingress(u *unstructured.Unstructured) app.Health {
	if !hasLoadBalancer(u) {
		return progressing("waiting for an address")
	}
	return healthy("")
}

func hasLoadBalancer(u *unstructured.Unstructured) bool {
	v, _, _ := unstructured.NestedFieldNoCopy(u.Object, "status", "loadBalancer", "ingress")
	list, _ := v.([]any)
	return len(list) > 0
}

func volumeClaim(u *unstructured.Unstructured) app.Health {
	switch phase := text(u, "status", "phase"); phase {
	case "Bound":
		return healthy("")
	case "Pending":
		return progressing("the claim is not bound yet")
	case "Lost":
		return degraded("the claim lost its volume")
	default:
		return lost("phase " + phase)
	}
}

func apiService(u *unstructured.Unstructured) app.Health {
	c := conditionOf(u, "Available")
	if c.status == "True" {
		return healthy(c.message)
	}
	if c.found() {
		return progressing(c.ground())
	}
	return progressing("waiting to be served")
}

func resourceDefinition(u *unstructured.Unstructured) app.Health {
	if c := conditionOf(u, "Terminating"); c.status == "True" {
		return progressing("the CRD is being deleted")
	}
	if c := conditionOf(u, "NamesAccepted"); c.status == "False" {
		return degraded("names are not accepted: " + c.message)
	}
	if c := conditionOf(u, "NonStructuralSchema"); c.status == "True" {
		return degraded("the schema is not structural: " + c.message)
	}
	if c := conditionOf(u, "Established"); c.status == "True" {
		return healthy("")
	}
	return progressing("the CRD is not established yet")
}

func certificate(u *unstructured.Unstructured) app.Health {
	if c := conditionOf(u, "Issuing"); c.status == "True" {
		return progressing(c.message)
	}
	return byCondition("Ready")(u)
}
