package health

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

func pod(u *unstructured.Unstructured) app.Health {
	always := restartPolicy(u) == "Always"
	statuses := containerStatuses(u)
	if always {
		// A container that is started again and again never lets the pod's
		// phase say so; the reason it waits for does.
		for _, c := range statuses {
			if stuck(c.waitReason) {
				return degraded(fmt.Sprintf("container %s: %s", c.name, c.waitReason))
			}
		}
	}
	message := text(u, "status", "message")
	switch phase := text(u, "status", "phase"); phase {
	case "Pending":
		return progressing(message)
	case "Succeeded":
		return healthy(message)
	case "Failed":
		if message == "" {
			for _, c := range statuses {
				if c.exitCode != 0 {
					message = fmt.Sprintf("container %s exited with code %d", c.name, c.exitCode)
					break
				}
			}
		}
		return degraded(message)
	case "Running":
		if !always {
			return progressing("the pod runs to completion")
		}
		if conditionOf(u, "Ready").status == "True" {
			return healthy(message)
		}
		for _, c := range statuses {
			if c.restarted {
				return degraded(fmt.Sprintf("container %s was restarted and is not ready", c.name))
			}
		}
		return progressing("the pod is not ready")
	default:
		return lost("phase " + phase)
	}
}

func restartPolicy(u *unstructured.Unstructured) string {
	if p := text(u, "spec", "restartPolicy"); p != "" {
		return p
	}
	return "Always"
}

func stuck(reason string) bool {
	return strings.HasPrefix(reason, "Err") || strings.HasSuffix(reason, "Error") || strings.HasSuffix(reason, "BackOff")
}

type containerStatus struct {
	name, waitReason string
	exitCode         int64
	restarted        bool // its last run ended
}

func containerStatuses(u *unstructured.Unstructured) []containerStatus {
	var out []containerStatus
	for _, field := range []string{"initContainerStatuses", "containerStatuses"} {
		v, _, _ := unstructured.NestedFieldNoCopy(u.Object, "status", field)
		list, _ := v.([]any)
		for _, item := range list {
			m, ok := item.(map[string]any)
			if !ok {
				continue
			}
			c := &unstructured.Unstructured{Object: m}
			last, _, _ := unstructured.NestedFieldNoCopy(m, "lastState", "terminated")
			out = append(out, containerStatus{
				name:       text(c, "name"),
				waitReason: text(c, "state", "waiting", "reason"),
				exitCode:   number(c, 0, "state", "terminated", "exitCode"),
				restarted:  last != nil && field == "containerStatuses",
			})
		}
	}
	return out
}

func job(u *unstructured.Unstructured) app.Health {
	if c := conditionOf(u, "Failed"); c.status == "True" {
		return degraded(c.ground())
	}
	if c := conditionOf(u, "Complete"); c.status == "True" {
		return healthy(c.message)
	}
	if c := conditionOf(u, "Suspended"); c.status == "True" {
		return suspended(c.message)
	}
	return progressing("the Job has not completed")
}

func cronJob(u *unstructured.Unstructured) app.Health {
	if flag(u, "spec", "suspend") {
		return healthy("the CronJob is suspended")
	}
	v, _, _ := unstructured.NestedFieldNoCopy(u.Object, "status")
	status, _ := v.(map[string]any)
	if len(status) == 0 {
		return progressing("the CronJob has not been scheduled yet")
	}
	if active, _ := status["active"].([]any); len(active) > 0 {
		return healthy("a job is running")
	}
	scheduled, err := time.Parse(time.RFC3339, text(u, "status", "lastScheduleTime"))
	if err != nil {
		return healthy("")
	}
	succeeded, err := time.Parse(time.RFC3339, text(u, "status", "lastSuccessfulTime"))
	if err != nil || succeeded.Before(scheduled) {
		return degraded("the last job did not succeed")
	}
	return healthy("the last job succeeded")
}
