package controller

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/shard"
)

// released is an engine that notes what it is to give up.
type released struct {
	*told
	ids chan app.ID
}

func (e released) Release(ids ...app.ID) {
	for _, id := range ids {
		e.RemoveApp(id)
		e.ids <- id
	}
}

// A controller of Flux that is started while Plumb runs is noticed: everything
// is given up until it has ended, and what this replica owns by then is taken up
// again. What an app delivers is left to Plumb itself at first.
func TestPredecessorComesBack(t *testing.T) {
	c, _, namespace := newControllerOf(t, sandboxtest.Start(t, sandbox.Options{}))
	engine := released{newTold(), make(chan app.ID, 10)}
	log := &lines{}
	c.engine, c.log = engine, slog.New(slog.NewTextHandler(log, nil))
	close(c.running)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c.ctx = ctx
	u := decode(t, kustomization)[0]
	u.SetFinalizers([]string{"finalizers.fluxcd.io"})
	u, err := c.dynamic.Resource(kustomizationResource).Namespace(namespace).Create(ctx, u, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.setKustomization(u)
	id := app.ID{Kind: "Kustomization", Namespace: namespace, Name: u.GetName()}
	known := func() bool {
		engine.mu.Lock()
		defer engine.mu.Unlock()
		_, ok := engine.apps[id]
		return ok
	}
	if !known() {
		t.Fatal("the app is not delivered to begin with")
	}
	deployments := c.core.AppsV1().Deployments(namespace)
	scale := func(replicas int) {
		t.Helper()
		body := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas)
		if _, err := deployments.Patch(ctx, "source-controller", types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	none := int32(0)
	selector := map[string]string{"app": "source-controller"}
	_, err = deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "source-controller", Labels: map[string]string{"app.kubernetes.io/part-of": "flux"}},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none, Selector: &metav1.LabelSelector{MatchLabels: selector},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: selector}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c"}}}},
		}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.heedPredecessors(ctx)
	for round := range 2 {
		scale(1)
		select {
		case got := <-engine.ids:
			if got != id {
				t.Fatalf("%v is given up", got)
			}
		case <-t.Context().Done():
			t.Fatal("nothing is given up")
		}
		sandboxtest.Eventually(t, func(context.Context) error {
			if !strings.Contains(c.Waiting(), namespace+"/source-controller") {
				return fmt.Errorf("waiting for %q", c.Waiting())
			}
			return nil
		})
		// What is gained meanwhile is not begun either.
		if err := c.Widen(ctx, shard.All(), true); err != nil {
			t.Fatal(err)
		}
		if known() {
			t.Errorf("round %d: the app is delivered beside Flux", round)
		}
		scale(0)
		sandboxtest.Eventually(t, func(context.Context) error {
			if !known() || c.Waiting() != "" {
				return fmt.Errorf("known %v, waiting for %q", known(), c.Waiting())
			}
			return nil
		})
	}
	if text := log.all(); strings.Count(text, "waiting for Flux to be stopped") != 2 || strings.Count(text, "delivering again") != 2 {
		t.Errorf("the log says\n%s", text)
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		events, err := c.core.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=RunsBesidePlumb,involvedObject.name=source-controller"})
		if err == nil && len(events.Items) == 0 {
			err = fmt.Errorf("no event tells of it")
		}
		return err
	})

	// One that an app delivers: it is undone before anything is given up.
	if _, err := deployments.Patch(ctx, "source-controller", types.MergePatchType,
		[]byte(`{"metadata":{"labels":{"kustomize.toolkit.fluxcd.io/name":"flux-system"}},"spec":{"replicas":1}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	scale(0)
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		running, err := c.predecessors(ctx)
		if err == nil && len(running) > 0 {
			err = fmt.Errorf("%s still runs", names(running))
		}
		return err
	})
	if c.Waiting() != "" || !known() {
		t.Error("Plumb gave up what it would have undone itself")
	}
}
