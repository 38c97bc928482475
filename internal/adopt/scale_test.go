package adopt

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/replica"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// fixture is a namespace in a real cluster.
type fixture struct {
	*Cluster
	t         *testing.T
	namespace string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	running := sandboxtest.Cluster(t)
	c, err := Connect(sandboxtest.RESTConfig(t, running))
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{c, t, sandboxtest.Namespace(t, running)}
}

// deploy makes a Deployment and waits until its pods are ready.
func (f *fixture) deploy(name string, replicas int32, labels, annotations map[string]string) {
	f.t.Helper()
	selector := map[string]string{"app": name}
	d, err := f.core.AppsV1().Deployments(f.namespace).Create(f.t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels, Annotations: annotations},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c"}}}},
		}}, metav1.CreateOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.ready(f.t.Context(), d); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) get(name string) *appsv1.Deployment {
	f.t.Helper()
	d, err := f.core.AppsV1().Deployments(f.namespace).Get(f.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		f.t.Fatal(err)
	}
	return d
}

func (f *fixture) pods(name string) int {
	f.t.Helper()
	pods, err := f.core.CoreV1().Pods(f.namespace).List(f.t.Context(), metav1.ListOptions{LabelSelector: "app=" + name})
	if err != nil {
		f.t.Fatal(err)
	}
	return len(pods.Items)
}

// What halt does to a Deployment, resume undoes, and what the user had set
// stays.
func TestHaltAndResume(t *testing.T) {
	for name, own := range map[string]map[string]string{
		"plain":            nil,
		"annotated":        {"a": "b"},
		"left alone by us": {hold: "disabled"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.deploy("it", 2, nil, own)
			before := userNotes(f.get("it"))
			for range 2 { // the second time there is nothing to do
				if err := f.halt(t.Context(), f.namespace, "it"); err != nil {
					t.Fatal(err)
				}
			}
			d := f.get("it")
			if n := f.pods("it"); n != 0 || replicasOf(d) != 0 || *replicasBefore(d) != 2 || d.Annotations[hold] != "disabled" {
				t.Fatalf("%d pods, %d replicas, annotations %v", n, replicasOf(d), d.Annotations)
			}
			if err := f.resume(t.Context(), f.namespace, "it", 1); err != nil {
				t.Fatal(err)
			}
			d = f.get("it")
			if n := f.pods("it"); n != 2 || replicasOf(d) != 2 || d.Status.ReadyReplicas != 2 {
				t.Errorf("%d pods, %d replicas", n, replicasOf(d))
			}
			if after := userNotes(d); !maps.Equal(before, after) {
				t.Errorf("annotations were %v and are %v", before, after)
			}

			if err := f.halt(t.Context(), f.namespace, "it"); err != nil {
				t.Fatal(err)
			}
			if err := f.unhold(t.Context(), f.namespace, "it"); err != nil {
				t.Fatal(err)
			}
			d = f.get("it")
			if d.Annotations[hold] != own[hold] || replicasBefore(d) == nil || replicasOf(d) != 0 {
				t.Errorf("after unhold: %d replicas, annotations %v", replicasOf(d), d.Annotations)
			}
		})
	}
}

// userNotes are the annotations without the one that the controller of
// Deployments writes.
func userNotes(d *appsv1.Deployment) map[string]string {
	notes := maps.Clone(d.Annotations)
	delete(notes, "deployment.kubernetes.io/revision")
	return notes
}

// Someone who scales up again and again is told of, not fought for ever.
func TestHaltAgainstAnother(t *testing.T) {
	f := newFixture(t)
	f.deploy("it", 1, nil, nil)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w, err := f.core.AppsV1().Deployments(f.namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	go func() {
		for e := range w.ResultChan() {
			if d, ok := e.Object.(*appsv1.Deployment); ok && replicasOf(d) == 0 {
				_, _ = f.core.AppsV1().Deployments(f.namespace).Patch(ctx, "it", types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{})
			}
		}
	}()
	limited, cancel := context.WithTimeout(t.Context(), sandboxtest.Patience)
	defer cancel()
	// Either the other is noticed, or pods are there at every look.
	if err := f.halt(limited, f.namespace, "it"); err == nil {
		t.Fatal("it is taken for stopped")
	}
}

// The controllers are found, and put in the order in which they are stopped.
func TestControllers(t *testing.T) {
	f := newFixture(t)
	of := func(component string, more map[string]string) map[string]string {
		labels := map[string]string{"app.kubernetes.io/part-of": "flux", "app.kubernetes.io/component": component}
		maps.Copy(labels, more)
		return labels
	}
	f.deploy("source-controller", 0, of("source-controller", nil), nil)
	f.deploy("notification-controller", 0, of("notification-controller", nil), nil)
	f.deploy("renamed", 0, of("kustomize-controller", map[string]string{"app.kubernetes.io/managed-by": "flux-operator"}), map[string]string{ReplicasAnnotation: "3"})
	f.deploy("helm-controller", 0, map[string]string{"app.kubernetes.io/part-of": "flux"}, map[string]string{ReplicasAnnotation: "nonsense"})
	f.deploy("plumb", 0, of("source-controller", map[string]string{"app.kubernetes.io/name": "plumb"}), nil)
	f.deploy("other", 0, nil, nil)
	all, err := f.Controllers(t.Context(), f.namespace)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range all {
		before := "-"
		if c.Before != nil {
			before = fmt.Sprint(*c.Before)
		}
		got = append(got, fmt.Sprint(c.Component, " ", c.Name, " ", before, " ", c.Replaced, " ", c.Operator))
	}
	want := []string{
		"kustomize-controller renamed 3 true true", "helm-controller helm-controller 1 true false",
		"source-controller source-controller - true false", "notification-controller notification-controller - false false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A Lease that nobody renews is over after as long as it is granted for; one
// that is renewed belongs to a Plumb that lives.
func TestNoneAlive(t *testing.T) {
	f := newFixture(t)
	seconds, old := int32(2), metav1.NewMicroTime(time.Unix(0, 0))
	leases := f.core.CoordinationV1().Leases(f.namespace)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "plumb-x", Labels: map[string]string{replica.Label: "true"}},
		Spec: coordinationv1.LeaseSpec{LeaseDurationSeconds: &seconds, RenewTime: &old}}
	if _, err := leases.Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.noneAlive(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	go func() {
		for ctx.Err() == nil {
			select {
			case now := <-tick.C:
				patch := fmt.Sprintf(`{"spec":{"renewTime":%q}}`, now.UTC().Format("2006-01-02T15:04:05.000000Z"))
				_, _ = leases.Patch(ctx, "plumb-x", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
			case <-ctx.Done():
			}
		}
	}()
	var outside *OutsideError
	if err := f.noneAlive(t.Context()); err == nil || !strings.Contains(err.Error(), "plumb-x") {
		t.Errorf("got %v, want an error of type %T", err, outside)
	}
}
