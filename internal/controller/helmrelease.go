package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

var (
	helmReleaseResource = schema.GroupVersionResource{Group: flux.HelmGroup, Version: "v2", Resource: "helmreleases"}
	helmChartResource   = schema.GroupVersionResource{Group: flux.SourceGroup, Version: "v1", Resource: "helmcharts"}
)

func (c *Controller) setHelmRelease(u *unstructured.Unstructured) {
	if !c.note(helmReleaseResource, u) {
		return
	}
	if c.setFluxApp(fluxApp{helmReleaseResource, c.setHelmRelease}, u, flux.DecodeHelmRelease(u)) && c.wantsChart(u) {
		c.keepCharts(u)
	}
}

func (c *Controller) removedHelmRelease(u *unstructured.Unstructured) {
	c.removedFluxApp(helmReleaseResource, flux.KindHelmRelease, u)
}

func (c *Controller) publishHelmRelease(ctx context.Context, r app.Report) error {
	unlock := c.lock(helmReleaseResource, r.App.Namespace, r.App.Name)
	defer unlock()
	return c.current(ctx, helmReleaseResource, r.App.Namespace, r.App.Name, r.UID, func(u *unstructured.Unstructured) error {
		spec, old := flux.DecodeHelmRelease(u), statusOf(u)
		events := flux.Annotated(flux.HelmReleaseEvents(r, spec, old), u.GetAnnotations())
		if r.Deleted {
			if !spec.Suspend {
				if err := c.dropCharts(ctx, u, resourceKey{}); err != nil {
					return err
				}
			}
			c.emit(u, events)
			return c.setFinalizer(ctx, helmReleaseResource, u, flux.Finalizer, false)
		}
		chart := ""
		if want := flux.HelmChartOf(u); want != nil && c.find(helmChartResource, want.GetNamespace(), want.GetName()) != nil {
			chart = want.GetNamespace() + "/" + want.GetName()
		}
		if err := c.writeStatus(ctx, helmReleaseResource, u, flux.EncodeHelmRelease(r, spec, chart, old)); err != nil {
			return err
		}
		c.emit(u, events)
		return nil
	})
}

// foundChart keeps a HelmChart as its HelmRelease wants it, whoever changes it.
func (c *Controller) foundChart(u *unstructured.Unstructured) {
	c.fileChart(u, true)
	if u.GetDeletionTimestamp() == nil {
		c.keepChartsOf(u)
	}
}

func (c *Controller) removedChart(u *unstructured.Unstructured) {
	c.fileChart(u, false)
	c.keepChartsOf(u)
}

// keepChartsOf looks after the HelmCharts of the HelmRelease that a HelmChart
// says it belongs to, if there is one and it is this replica's.
func (c *Controller) keepChartsOf(chart *unstructured.Unstructured) {
	namespace, name, ok := flux.HelmChartOwner(chart)
	if !ok || !c.ours(flux.KindHelmRelease, namespace, name) {
		return
	}
	u := c.find(helmReleaseResource, namespace, name)
	if u != nil && slices.Contains(u.GetFinalizers(), flux.Finalizer) && c.wantsChart(u) {
		c.keepCharts(u)
	}
}

// wantsChart reports whether the HelmCharts of a HelmRelease are to be looked
// after: not of one that is left alone, or that may not have any where it asks
// for it.
func (c *Controller) wantsChart(u *unstructured.Unstructured) bool {
	spec := c.opts.Tenancy.Restrict(flux.DecodeHelmRelease(u))
	return !spec.Suspend && u.GetDeletionTimestamp() == nil && (spec.Invalid == nil || spec.Invalid.Reason != app.ReasonForbidden)
}

// keepCharts makes the HelmChart of a HelmRelease what that says, and deletes
// the one that it had before. Where all is so, nothing is asked for.
func (c *Controller) keepCharts(u *unstructured.Unstructured) {
	want, keep := c.chartOf(u)
	if len(c.chartsBut(u, keep)) == 0 && (want == nil || flux.SameHelmChart(want, c.find(helmChartResource, keep.namespace, keep.name))) {
		return
	}
	go c.aside(func() { c.mendCharts(u) })
}

// mendCharts is the writing part of keepCharts, by what the HelmRelease u says
// by now. Who deletes the charts of a release that goes holds the lock as well:
// after that it is seen to go, and none is made for it any more.
func (c *Controller) mendCharts(u *unstructured.Unstructured) {
	unlock := c.lock(helmReleaseResource, u.GetNamespace(), u.GetName())
	defer unlock()
	now := c.find(helmReleaseResource, u.GetNamespace(), u.GetName())
	if now == nil || now.GetUID() != u.GetUID() || !c.wantsChart(now) {
		return
	}
	want, keep := c.chartOf(now)
	err := c.dropCharts(c.ctx, now, keep)
	if err == nil && want != nil {
		err = c.applyChart(c.ctx, now, want)
	}
	if err != nil && c.ctx.Err() == nil {
		c.log.Warn("HelmChart cannot be kept", "app", app.ID{Kind: flux.KindHelmRelease, Namespace: u.GetNamespace(), Name: u.GetName()}, "error", err)
		c.emit(now, []app.Event{{Reason: "HelmChartSyncErr", Message: err.Error()}})
		c.again(helmReleaseResource, now, c.keepCharts)
	}
}

// chartOf is the HelmChart that a HelmRelease wants, nil if none, and its name.
func (c *Controller) chartOf(u *unstructured.Unstructured) (want *unstructured.Unstructured, keep resourceKey) {
	if want = flux.HelmChartOf(u); want != nil {
		keep = keyOf(helmChartResource, want)
	}
	return want, keep
}

// applyChart creates a HelmChart, or brings it up to date.
func (c *Controller) applyChart(ctx context.Context, u, want *unstructured.Unstructured) error {
	data, err := json.Marshal(want.Object)
	if err != nil {
		return fmt.Errorf("encoding HelmChart %s: %w", want.GetName(), err)
	}
	before := c.find(helmChartResource, want.GetNamespace(), want.GetName())
	ctx, cancel := c.request(ctx)
	defer cancel()
	force := true
	got, err := c.dynamic.Resource(helmChartResource).Namespace(want.GetNamespace()).Patch(ctx, want.GetName(), types.ApplyPatchType, data,
		metav1.PatchOptions{FieldManager: flux.HelmFieldManager, Force: &force})
	if err != nil {
		return fmt.Errorf("failed to apply HelmChart '%s/%s': %w", want.GetNamespace(), want.GetName(), err)
	}
	if !flux.SameHelmChart(want, got) { // what others have set, an apply leaves
		got, err = c.dynamic.Resource(helmChartResource).Namespace(want.GetNamespace()).Update(ctx, flux.ShapedHelmChart(want, got),
			metav1.UpdateOptions{FieldManager: flux.HelmFieldManager})
		if err != nil {
			return fmt.Errorf("failed to correct HelmChart '%s/%s': %w", want.GetNamespace(), want.GetName(), err)
		}
	}
	unstructured.RemoveNestedField(got.Object, "metadata", "managedFields")
	if k, ok := sourceKindOf(flux.KindHelmChart); ok {
		c.foundSource(k, got)
	}
	action, reason := "Created", "HelmChartCreated"
	if before != nil {
		action, reason = "Configured", "HelmChartConfigured"
	}
	kind, _, _ := unstructured.NestedString(want.Object, "spec", "sourceRef", "kind")
	source, _, _ := unstructured.NestedString(want.Object, "spec", "sourceRef", "name")
	c.emit(u, []app.Event{{Reason: reason, Message: fmt.Sprintf("%s HelmChart/%s/%s with SourceRef '%s/%s/%s'",
		action, want.GetNamespace(), want.GetName(), kind, want.GetNamespace(), source)}})
	return nil
}

// dropCharts deletes the HelmCharts of a HelmRelease but one.
func (c *Controller) dropCharts(ctx context.Context, u *unstructured.Unstructured, keep resourceKey) error {
	for _, chart := range c.chartsBut(u, keep) {
		limited, cancel := c.request(ctx)
		uid := chart.GetUID()
		err := c.dynamic.Resource(helmChartResource).Namespace(chart.GetNamespace()).Delete(limited, chart.GetName(),
			metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		cancel()
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // another one by now is none of ours
			continue
		}
		if err != nil {
			return fmt.Errorf("failed to delete HelmChart '%s/%s': %w", chart.GetNamespace(), chart.GetName(), err)
		}
		c.emit(u, []app.Event{{Reason: "HelmChartDeleted", Message: fmt.Sprintf("deleted HelmChart '%s/%s'", chart.GetNamespace(), chart.GetName())}})
	}
	return nil
}

// fileChart notes that a HelmChart is there, or that it is gone.
func (c *Controller) fileChart(chart *unstructured.Unstructured, there bool) {
	namespace, name, ok := flux.HelmChartOwner(chart)
	if !ok {
		return
	}
	owner, key := app.ID{Kind: flux.KindHelmRelease, Namespace: namespace, Name: name}, keyOf(helmChartResource, chart)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !there && c.latest[key] == nil:
		delete(c.charts[owner], key)
	case there && c.charts[owner] == nil:
		c.charts[owner] = map[resourceKey]bool{key: true}
	case there:
		c.charts[owner][key] = true
	}
	if len(c.charts[owner]) == 0 {
		delete(c.charts, owner)
	}
}

// chartsBut lists the HelmCharts that belong to a HelmRelease, but for one and
// those that are on their way out.
func (c *Controller) chartsBut(u *unstructured.Unstructured, keep resourceKey) []*unstructured.Unstructured {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*unstructured.Unstructured
	for key := range c.charts[app.ID{Kind: flux.KindHelmRelease, Namespace: u.GetNamespace(), Name: u.GetName()}] {
		if chart := c.latest[key]; key != keep && chart != nil && chart.DeletionTimestamp == nil {
			out = append(out, chart.open())
		}
	}
	return out
}
