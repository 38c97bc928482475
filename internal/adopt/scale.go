package adopt

import (
	"context"
	"encoding/json"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"plumb.dev/plumb/internal/dialect/flux"
)

const (
	// hold is the annotation by which both Flux and Plumb leave an object alone
	// that they deliver. heldAnnotation beside it says who set it: what the user
	// has set stays.
	hold           = flux.KustomizeGroup + "/reconcile"
	holdValue      = "disabled"
	heldAnnotation = "plumb.dev/held"

	// tries bounds how often a Deployment is scaled down that someone scales up,
	// and a write that someone was faster than.
	tries = 5
)

// halt takes a Deployment down to no replicas, notes how many there were, and
// returns when none of its pods is left: a pod that is told to end may go on
// writing until it does. Until resume or unhold, whoever delivers the
// Deployment leaves it alone.
func (c *Cluster) halt(ctx context.Context, namespace, name string) error {
	for range tries {
		d, err := c.edit(ctx, namespace, name, func(d *appsv1.Deployment) map[string]any {
			notes := map[string]any{}
			if replicasBefore(d) == nil {
				notes[ReplicasAnnotation] = fmt.Sprint(replicasOf(d))
			}
			if d.Annotations[hold] != holdValue {
				notes[hold], notes[heldAnnotation] = holdValue, "true"
			}
			if len(notes) == 0 && replicasOf(d) == 0 {
				return nil
			}
			return map[string]any{"metadata": map[string]any{"annotations": notes}, "spec": map[string]any{"replicas": 0}}
		})
		if err != nil {
			return err
		}
		if err := c.podsGone(ctx, d); err != nil {
			return err
		}
		if d, err = c.core.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if replicasOf(d) == 0 {
			return nil
		}
	}
	return fmt.Errorf("deployment %s/%s was scaled down %d times, and up again each time by someone else", namespace, name, tries)
}

// unhold lets the Deployment be delivered again, at no replicas.
func (c *Cluster) unhold(ctx context.Context, namespace, name string) error {
	_, err := c.edit(ctx, namespace, name, func(d *appsv1.Deployment) map[string]any {
		if d.Annotations[heldAnnotation] == "" {
			return nil
		}
		return map[string]any{"metadata": map[string]any{"annotations": map[string]any{hold: nil, heldAnnotation: nil}}}
	})
	return err
}

// resume undoes halt, and returns when the pods are ready. replicas is for a
// Deployment that has none and was not stopped by halt.
func (c *Cluster) resume(ctx context.Context, namespace, name string, replicas int32) error {
	d, err := c.edit(ctx, namespace, name, func(d *appsv1.Deployment) map[string]any {
		before := replicasBefore(d)
		if before == nil && replicasOf(d) >= replicas {
			return nil
		}
		if before == nil {
			before = &replicas
		}
		notes := map[string]any{ReplicasAnnotation: nil}
		if d.Annotations[heldAnnotation] != "" {
			notes[hold], notes[heldAnnotation] = nil, nil
		}
		return map[string]any{"metadata": map[string]any{"annotations": notes}, "spec": map[string]any{"replicas": *before}}
	})
	if err != nil {
		return err
	}
	return c.ready(ctx, d)
}

func replicasOf(d *appsv1.Deployment) int32 {
	if d.Spec.Replicas == nil {
		return 1
	}
	return *d.Spec.Replicas
}

// edit patches a Deployment as it is now; nil from change leaves it.
func (c *Cluster) edit(ctx context.Context, namespace, name string, change func(*appsv1.Deployment) map[string]any) (*appsv1.Deployment, error) {
	api := c.core.AppsV1().Deployments(namespace)
	for try := 1; ; try++ {
		d, err := api.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		patch := change(d)
		if patch == nil {
			return d, nil
		}
		patch["metadata"].(map[string]any)["resourceVersion"] = d.ResourceVersion
		body, err := json.Marshal(patch)
		if err != nil {
			return nil, err
		}
		d, err = api.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: FieldManager})
		if err == nil || !apierrors.IsConflict(err) || try == tries {
			return d, err
		}
	}
}

// podsGone returns when no pod of a Deployment is left.
func (c *Cluster) podsGone(ctx context.Context, d *appsv1.Deployment) error {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return fmt.Errorf("deployment %s/%s: %w", d.Namespace, d.Name, err)
	}
	api, opts := c.core.CoreV1().Pods(d.Namespace), metav1.ListOptions{LabelSelector: selector.String()}
	for {
		pods, err := api.List(ctx, opts)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && len(pods.Items) == 0:
			return nil
		}
		left := ""
		if err == nil {
			left = fmt.Sprintf(": %s is still there", pods.Items[0].Name)
			from := opts
			from.ResourceVersion = pods.ResourceVersion
			err = c.until(ctx, func() (watch.Interface, error) { return api.Watch(ctx, from) }, func(e watch.Event) bool { return e.Type == watch.Deleted })
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for the pods of deployment %s/%s to end%s: %w", d.Namespace, d.Name, left, context.Cause(ctx))
		}
		if err != nil {
			return err
		}
	}
}

// ready returns when a Deployment has the pods that it asks for.
func (c *Cluster) ready(ctx context.Context, d *appsv1.Deployment) error {
	api := c.core.AppsV1().Deployments(d.Namespace)
	is := func(d *appsv1.Deployment) bool {
		return d.Status.ObservedGeneration >= d.Generation && d.Status.ReadyReplicas >= replicasOf(d)
	}
	for !is(d) {
		from := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", d.Name).String(), ResourceVersion: d.ResourceVersion}
		err := c.until(ctx, func() (watch.Interface, error) { return api.Watch(ctx, from) }, func(e watch.Event) bool {
			now, ok := e.Object.(*appsv1.Deployment)
			return ok && is(now)
		})
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for deployment %s/%s to become ready: %w", d.Namespace, d.Name, context.Cause(ctx))
		}
		if err != nil {
			return err
		}
		if d, err = api.Get(ctx, d.Name, metav1.GetOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// until reads a watch until done says so, or it ends: whoever calls looks again.
func (c *Cluster) until(ctx context.Context, start func() (watch.Interface, error), done func(watch.Event) bool) error {
	w, err := start()
	if err != nil {
		return err
	}
	defer w.Stop()
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open || e.Type == watch.Error || done(e) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
