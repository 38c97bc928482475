package health

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

const notObserved = "waiting for the controller to see the latest spec"

func deployment(u *unstructured.Unstructured) app.Health {
	if flag(u, "spec", "paused") {
		return suspended("the Deployment is paused")
	}
	if unobserved(u) {
		return progressing(notObserved)
	}
	if c := conditionOf(u, "Progressing"); c.reason == "ProgressDeadlineExceeded" {
		return degraded("progress deadline exceeded: " + c.message)
	}
	desired := number(u, 0, "spec", "replicas")
	total := number(u, 0, "status", "replicas")
	updated := number(u, 0, "status", "updatedReplicas")
	available := number(u, 0, "status", "availableReplicas")
	switch {
	case updated < desired:
		return progressing(fmt.Sprintf("%d of %d replicas updated", updated, desired))
	case total > updated:
		return progressing(fmt.Sprintf("%d old replicas still terminating", total-updated))
	case available < updated:
		return progressing(fmt.Sprintf("%d of %d updated replicas available", available, updated))
	}
	return healthy("")
}

func statefulSet(u *unstructured.Unstructured) app.Health {
	if observed := number(u, 0, "status", "observedGeneration"); observed == 0 || unobserved(u) {
		return progressing(notObserved)
	}
	desired := number(u, 0, "spec", "replicas")
	ready := number(u, 0, "status", "readyReplicas")
	updated := number(u, 0, "status", "updatedReplicas")
	if ready < desired {
		return progressing(fmt.Sprintf("%d of %d replicas ready", ready, desired))
	}
	if text(u, "spec", "updateStrategy", "type") == "OnDelete" {
		return healthy("pods are replaced when they are deleted (OnDelete)")
	}
	if partition := number(u, 0, "spec", "updateStrategy", "rollingUpdate", "partition"); partition > 0 {
		if want := desired - partition; updated < want {
			return progressing(fmt.Sprintf("%d of %d replicas of the partition updated", updated, want))
		}
		return healthy(fmt.Sprintf("partition rolled out, %d replicas updated", updated))
	}
	if text(u, "status", "updateRevision") != text(u, "status", "currentRevision") {
		return progressing(fmt.Sprintf("rolling update: %d of %d replicas updated", updated, desired))
	}
	return healthy("")
}

func daemonSet(u *unstructured.Unstructured) app.Health {
	if unobserved(u) {
		return progressing(notObserved)
	}
	if text(u, "spec", "updateStrategy", "type") == "OnDelete" {
		return healthy("pods are replaced when they are deleted (OnDelete)")
	}
	desired := number(u, 0, "status", "desiredNumberScheduled")
	if updated := number(u, 0, "status", "updatedNumberScheduled"); updated < desired {
		return progressing(fmt.Sprintf("%d of %d pods updated", updated, desired))
	}
	if available := number(u, 0, "status", "numberAvailable"); available < desired {
		return progressing(fmt.Sprintf("%d of %d pods available", available, desired))
	}
	return healthy("")
}

func replicaSet(u *unstructured.Unstructured) app.Health {
	if unobserved(u) {
		return progressing(notObserved)
	}
	if c := conditionOf(u, "ReplicaFailure"); c.status == "True" {
		return degraded(c.ground())
	}
	desired := number(u, 0, "spec", "replicas")
	if available := number(u, 0, "status", "availableReplicas"); available < desired {
		return progressing(fmt.Sprintf("%d of %d replicas available", available, desired))
	}
	return healthy("")
}

func autoscaler(u *unstructured.Unstructured) app.Health {
	for _, c := range conditions(u) {
		switch c.reason {
		case "FailedGetScale", "FailedUpdateScale", "FailedGetResourceMetric", "FailedGetObjectMetric",
			"FailedGetPodsMetric", "FailedGetExternalMetric", "FailedComputeMetricsReplicas", "InvalidSelector":
			return degraded(c.ground())
		}
	}
	for _, c := range conditions(u) {
		if (c.kind == "AbleToScale" || c.kind == "ScalingLimited") && c.status == "True" {
			return healthy(c.message)
		}
	}
	return progressing("waiting to autoscale")
}

func disruptionBudget(u *unstructured.Unstructured) app.Health {
	for _, c := range conditions(u) {
		if c.status == "False" && c.reason != "InsufficientPods" {
			return degraded(c.ground())
		}
	}
	return healthy("")
}
