package kubelet

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What a pod may ask of the simulation, by annotation, at any time of its life.
const (
	// AnnotationReady "false" keeps a running pod from being ready.
	AnnotationReady = "sandbox.plumb.dev/ready"
	// AnnotationPhase is Pending, Running, Failed or Succeeded. Running makes
	// a pod that would complete run for ever. Failed and Succeeded are final.
	AnnotationPhase = "sandbox.plumb.dev/phase"
)

// BrokenImages is the prefix of images that cannot be pulled.
const BrokenImages = "broken/"

const nodeIP = "127.0.0.1"

// exitKilled is what a container ends with that is killed.
const exitKilled = 137

// simulate returns the status that the pod should report. It changes nothing
// where nothing is to be changed, so that a status is written once.
//
// The phases follow the documented life of a pod: with restartPolicy Always
// it runs for ever, with the others it runs to completion, here at once.
func simulate(pod *corev1.Pod, now metav1.Time) *corev1.PodStatus {
	status := pod.Status.DeepCopy()
	if status.Phase == corev1.PodSucceeded || status.Phase == corev1.PodFailed {
		return status
	}
	if status.StartTime == nil {
		status.StartTime = &now
		status.HostIP = nodeIP
		status.HostIPs = []corev1.HostIP{{IP: nodeIP}}
		status.PodIP = podIP(pod)
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	}
	status.ObservedGeneration = pod.Generation
	status.Phase = phase(pod)
	unready := report(pod, status, now)
	setConditions(pod, status, unready, now)
	return status
}

// phase decides what becomes of the pod.
func phase(pod *corev1.Pod) corev1.PodPhase {
	completes := pod.Spec.RestartPolicy != corev1.RestartPolicyAlways
	if pod.DeletionTimestamp != nil {
		if completes {
			return corev1.PodFailed // ended before it was done; its Job must not count it as done
		}
		return pod.Status.Phase
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if broken(c) {
			return corev1.PodPending
		}
	}
	switch asked := corev1.PodPhase(pod.Annotations[AnnotationPhase]); asked {
	case corev1.PodPending, corev1.PodRunning, corev1.PodFailed, corev1.PodSucceeded:
		return asked
	}
	if completes {
		return corev1.PodSucceeded
	}
	return corev1.PodRunning
}

func broken(c corev1.Container) bool { return strings.HasPrefix(c.Image, BrokenImages) }

// report sets the containers' statuses for the phase, and returns the names
// of containers that are not ready.
func report(pod *corev1.Pod, status *corev1.PodStatus, now metav1.Time) (unready []string) {
	initialized := true // so far
	old := status.InitContainerStatuses
	status.InitContainerStatuses = nil
	for _, c := range pod.Spec.InitContainers {
		sidecar := c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		state := waiting("PodInitializing", "")
		switch {
		case broken(c):
			state = pullFailed(c)
		case initialized && sidecar:
			state = containerState(status.Phase, pod.DeletionTimestamp != nil, now)
		case initialized && status.Phase != corev1.PodPending:
			state = terminated(0, now)
		}
		cs := container(c, state, old)
		cs.Ready = state.Terminated != nil && state.Terminated.ExitCode == 0 || state.Running != nil
		initialized = initialized && cs.Ready
		status.InitContainerStatuses = append(status.InitContainerStatuses, cs)
	}

	old = status.ContainerStatuses
	status.ContainerStatuses = nil
	for _, c := range pod.Spec.Containers {
		state := containerState(status.Phase, pod.DeletionTimestamp != nil, now)
		switch {
		case !initialized && state.Terminated == nil:
			state = waiting("PodInitializing", "")
		case broken(c):
			state = pullFailed(c)
		case status.Phase == corev1.PodPending && pod.Annotations[AnnotationPhase] != string(corev1.PodPending):
			// Another container is the broken one; this one runs.
			state = containerState(corev1.PodRunning, false, now)
		}
		cs := container(c, state, old)
		cs.Ready = state.Running != nil && pod.Annotations[AnnotationReady] != "false"
		if !cs.Ready {
			unready = append(unready, c.Name)
		}
		status.ContainerStatuses = append(status.ContainerStatuses, cs)
	}
	return unready
}

// containerState is the state of a healthy container in a phase.
func containerState(phase corev1.PodPhase, deleted bool, now metav1.Time) corev1.ContainerState {
	switch {
	case phase == corev1.PodSucceeded:
		return terminated(0, now)
	case phase == corev1.PodFailed && deleted:
		return terminated(exitKilled, now)
	case phase == corev1.PodFailed:
		return terminated(1, now)
	case phase == corev1.PodRunning:
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}
	}
	return waiting("ContainerCreating", "")
}

func waiting(reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func pullFailed(c corev1.Container) corev1.ContainerState {
	return waiting("ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q", c.Image))
}

func terminated(exitCode int32, now metav1.Time) corev1.ContainerState {
	reason := "Completed"
	if exitCode != 0 {
		reason = "Error"
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: exitCode, Reason: reason, StartedAt: now, FinishedAt: now,
	}}
}

// container makes a container's status. A state that lasts keeps the times
// it had.
func container(c corev1.Container, state corev1.ContainerState, old []corev1.ContainerStatus) corev1.ContainerStatus {
	i := slices.IndexFunc(old, func(cs corev1.ContainerStatus) bool { return cs.Name == c.Name })
	if i >= 0 && old[i].Image == c.Image {
		before := old[i].State
		switch {
		case state.Running != nil && before.Running != nil, state.Terminated != nil && before.Terminated != nil:
			state = before
		case state.Terminated != nil && before.Running != nil:
			state.Terminated.StartedAt = before.Running.StartedAt
		}
	}
	started := state.Running != nil
	return corev1.ContainerStatus{
		Name:    c.Name,
		Image:   c.Image,
		State:   state,
		Started: &started,
	}
}

// setConditions sets the conditions that a kubelet sets, leaves those of
// others, and moves a transition time only with the condition.
func setConditions(pod *corev1.Pod, status *corev1.PodStatus, unready []string, now metav1.Time) {
	set := func(kind corev1.PodConditionType, ok bool, reason, message string) {
		condition := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now}
		if !ok {
			condition.Status, condition.Reason, condition.Message = corev1.ConditionFalse, reason, message
		}
		i := slices.IndexFunc(status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
		if i < 0 {
			status.Conditions = append(status.Conditions, condition)
			return
		}
		if status.Conditions[i].Status == condition.Status {
			condition.LastTransitionTime = status.Conditions[i].LastTransitionTime
		}
		status.Conditions[i] = condition
	}
	holds := func(kind corev1.PodConditionType) bool {
		return slices.ContainsFunc(status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == kind && c.Status == corev1.ConditionTrue
		})
	}

	initialized := !slices.ContainsFunc(status.InitContainerStatuses, func(cs corev1.ContainerStatus) bool { return !cs.Ready })
	set(corev1.PodReadyToStartContainers, true, "", "")
	set(corev1.PodInitialized, initialized, "ContainersNotInitialized", "init containers are not complete")

	reason, message := "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	switch status.Phase {
	case corev1.PodSucceeded:
		reason, message = "PodCompleted", ""
	case corev1.PodFailed:
		reason, message = "PodFailed", ""
	}
	ready := len(unready) == 0 && initialized
	set(corev1.ContainersReady, ready, reason, message)
	if ready {
		for _, gate := range pod.Spec.ReadinessGates {
			if !holds(gate.ConditionType) {
				ready, reason, message = false, "ReadinessGatesNotReady", fmt.Sprintf("condition %q is not True", gate.ConditionType)
			}
		}
	}
	set(corev1.PodReady, ready, reason, message)
}

// podIP is an address in 10.128.0.0/9 that depends on the pod alone. Nothing
// is reached there, and two of a few thousand pods may share one.
func podIP(pod *corev1.Pod) string {
	hash := fnv.New32a()
	hash.Write([]byte(pod.UID))
	n := hash.Sum32()
	return fmt.Sprintf("10.%d.%d.%d", 128|n>>16&0x7f, n>>8&0xff, 1+n%254)
}
