package controller

import (
	"context"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

// awaitPredecessors returns when none of the controllers runs whose work Plumb
// does: two that write the same objects under one name would not even see each
// other. Whoever may not look is not kept waiting. It says what it waits for.
func (c *Controller) awaitPredecessors(ctx context.Context) {
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for told := ""; ; {
		running, err := c.predecessors(ctx)
		if err != nil && ctx.Err() == nil {
			c.log.Warn("whether Flux runs cannot be found out", "error", err)
			return
		}
		if len(running) == 0 {
			return
		}
		if names := strings.Join(running, ", "); names != told {
			told = names
			c.log.Error("waiting for Flux to be stopped, which delivers the same: "+names, "hint", "plumb adopt flux")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// predecessors lists the Deployments of Flux that are to run, or have pods that
// still do.
func (c *Controller) predecessors(ctx context.Context) ([]string, error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	deployments, err := c.core.AppsV1().Deployments("").List(ctx, metav1.ListOptions{LabelSelector: app.LabelPartOf + "=" + flux.PartOf})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range deployments.Items {
		if !c.inPlaceOf.IsIdle(d.Name, d.Labels) {
			continue
		}
		name := d.Namespace + "/" + d.Name
		if d.Spec.Replicas == nil || *d.Spec.Replicas > 0 {
			out = append(out, name)
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err != nil {
			return nil, err
		}
		pods, err := c.core.CoreV1().Pods(d.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String(), Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(pods.Items) > 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}
