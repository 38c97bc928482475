package kubelet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

var (
	early = metav1.NewTime(time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC))
	later = metav1.NewTime(early.Add(time.Minute))
)

// pod makes a pod with one container app, changed by the functions.
func pod(changes ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", Annotations: map[string]string{}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways,
			Containers:    []corev1.Container{{Name: "app", Image: "app:1"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}},
	}
	for _, change := range changes {
		change(p)
	}
	return p
}

func once(p *corev1.Pod)    { p.Spec.RestartPolicy = corev1.RestartPolicyNever }
func deleted(p *corev1.Pod) { p.DeletionTimestamp = &early }
func annotated(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[key] = value }
}
func with(name, image string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: name, Image: image})
	}
}
func withInit(name, image string, policy corev1.ContainerRestartPolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := corev1.Container{Name: name, Image: image}
		if policy != "" {
			c.RestartPolicy = &policy
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
}
func gated(p *corev1.Pod) {
	p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.org/lb"}}
}
func gateOpen(p *corev1.Pod) {
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "example.org/lb", Status: corev1.ConditionTrue})
}
func ran(p *corev1.Pod) { p.Status = *simulate(p, early) }

// text shows what matters of a status.
func text(status *corev1.PodStatus) string {
	var parts []string
	for _, cs := range append(status.InitContainerStatuses, status.ContainerStatuses...) {
		state := ""
		switch {
		case cs.State.Running != nil:
			state = "running"
		case cs.State.Waiting != nil:
			state = cs.State.Waiting.Reason
		case cs.State.Terminated != nil:
			state = fmt.Sprintf("exit %d", cs.State.Terminated.ExitCode)
		}
		if cs.Ready {
			state += " ready"
		}
		parts = append(parts, cs.Name+"="+state)
	}
	ready := "no condition"
	for _, condition := range status.Conditions {
		if condition.Type == corev1.PodReady {
			ready = string(condition.Status)
			if condition.Reason != "" {
				ready += " " + condition.Reason
			}
		}
	}
	return fmt.Sprintf("%s; %s; Ready=%s", status.Phase, strings.Join(parts, ", "), ready)
}

func TestSimulate(t *testing.T) {
	const sidecar = corev1.ContainerRestartPolicyAlways
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"service":            {pod(), "Running; app=running ready; Ready=True"},
		"not ready":          {pod(annotated(AnnotationReady, "false")), "Running; app=running; Ready=False ContainersNotReady"},
		"job":                {pod(once), "Succeeded; app=exit 0; Ready=False PodCompleted"},
		"failing job":        {pod(once, annotated(AnnotationPhase, "Failed")), "Failed; app=exit 1; Ready=False PodFailed"},
		"endless job":        {pod(once, annotated(AnnotationPhase, "Running")), "Running; app=running ready; Ready=True"},
		"pending":            {pod(annotated(AnnotationPhase, "Pending")), "Pending; app=ContainerCreating; Ready=False ContainersNotReady"},
		"unknown phase":      {pod(annotated(AnnotationPhase, "Happy")), "Running; app=running ready; Ready=True"},
		"broken":             {pod(with("bad", "broken/x:1")), "Pending; app=running ready, bad=ImagePullBackOff; Ready=False ContainersNotReady"},
		"broken job":         {pod(once, with("bad", "broken/x:1")), "Pending; app=running ready, bad=ImagePullBackOff; Ready=False ContainersNotReady"},
		"init":               {pod(withInit("i", "x", "")), "Running; i=exit 0 ready, app=running ready; Ready=True"},
		"sidecar":            {pod(withInit("s", "x", sidecar)), "Running; s=running ready, app=running ready; Ready=True"},
		"sidecar of a job":   {pod(once, withInit("s", "x", sidecar)), "Succeeded; s=exit 0 ready, app=exit 0; Ready=False PodCompleted"},
		"broken init":        {pod(withInit("i", "broken/x", ""), withInit("j", "x", "")), "Pending; i=ImagePullBackOff, j=PodInitializing, app=PodInitializing; Ready=False ContainersNotReady"},
		"gate":               {pod(gated), "Running; app=running ready; Ready=False ReadinessGatesNotReady"},
		"open gate":          {pod(gated, gateOpen), "Running; app=running ready; Ready=True"},
		"deleted service":    {pod(ran, deleted), "Running; app=running ready; Ready=True"},
		"deleted done job":   {pod(once, ran, deleted), "Succeeded; app=exit 0; Ready=False PodCompleted"},
		"deleted open job":   {pod(once, annotated(AnnotationPhase, "Running"), ran, deleted), "Failed; app=exit 137; Ready=False PodFailed"},
		"image turns broken": {pod(ran, func(p *corev1.Pod) { p.Spec.Containers[0].Image = "broken/x" }), "Pending; app=ImagePullBackOff; Ready=False ContainersNotReady"},
		"done stays done":    {pod(once, ran, annotated(AnnotationPhase, "Running")), "Succeeded; app=exit 0; Ready=False PodCompleted"},
	} {
		t.Run(name, func(t *testing.T) {
			status := simulate(test.pod, later)
			if got := text(status); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if status.Conditions[0].Type != corev1.PodScheduled || status.Conditions[0].Status != corev1.ConditionTrue {
				t.Errorf("the scheduler's condition became %v", status.Conditions[0])
			}
			// Written once, and never again, whatever the clock says.
			test.pod.Status = *status
			again := simulate(test.pod, metav1.NewTime(later.Add(time.Hour)))
			if !equality.Semantic.DeepEqual(status, again) {
				t.Errorf("not stable:\n%v\n%v", status, again)
			}
		})
	}
}

func TestTimesMoveWithTheState(t *testing.T) {
	p := pod(ran)
	started := p.Status.StartTime
	p.Annotations[AnnotationReady] = "false"
	status := simulate(p, later)
	if !status.StartTime.Equal(started) || !status.ContainerStatuses[0].State.Running.StartedAt.Equal(&early) {
		t.Errorf("start times moved: %v", status)
	}
	for _, condition := range status.Conditions {
		want := early
		switch condition.Type {
		case corev1.PodReady, corev1.ContainersReady:
			want = later
		case corev1.PodScheduled:
			continue
		}
		if !condition.LastTransitionTime.Equal(&want) {
			t.Errorf("%s: transition at %s, want %s", condition.Type, condition.LastTransitionTime, want)
		}
	}
}

func TestPodIP(t *testing.T) {
	for _, uid := range []string{"", "a", "0f8b7c1e-aaaa"} {
		p := pod()
		p.UID = types.UID(uid)
		var a, b, c, d int
		if n, err := fmt.Sscanf(podIP(p), "%d.%d.%d.%d", &a, &b, &c, &d); n != 4 || err != nil || a != 10 || b < 128 || b > 255 || d < 1 || d > 254 {
			t.Errorf("%q: %s", uid, podIP(p))
		}
	}
}
