package controller

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

var kustomizationResource = schema.GroupVersionResource{Group: flux.KustomizeGroup, Version: "v1", Resource: "kustomizations"}

// fluxApp is a kind of Flux's resources that declare apps.
type fluxApp struct {
	resource schema.GroupVersionResource
	set      func(*unstructured.Unstructured)
}

func (c *Controller) setKustomization(u *unstructured.Unstructured) {
	if c.note(kustomizationResource, u) {
		c.setFluxApp(fluxApp{kustomizationResource, c.setKustomization}, u, flux.DecodeKustomization(u))
	}
}

// setFluxApp tells the engine of an app, whoever delivers it. It reports
// whether that is this replica, and the resource is ready for it.
func (c *Controller) setFluxApp(k fluxApp, u *unstructured.Unstructured, spec app.Spec) bool {
	spec = c.standIn(c.opts.Tenancy.Restrict(spec))
	if !c.oursApp(spec.ID) {
		c.feed(k.resource, u, func() {
			if !c.oursApp(spec.ID) {
				c.kubeconfigs.use(spec.ID, flux.KubeConfigRef{})
				c.engine.SetElsewhere(spec)
			}
		})
		return false
	}
	if !c.judge(k.resource, u, k.set) {
		return false
	}
	c.spare(u, &spec)
	if u.GetDeletionTimestamp() == nil && !slices.Contains(u.GetFinalizers(), flux.Finalizer) && !spec.Suspend {
		// Nothing is delivered before the finalizer is there: deleting the
		// resource must find what it delivered. The answer comes by the watch.
		go c.aside(func() {
			err := c.setFinalizer(c.ctx, k.resource, u, flux.Finalizer, true)
			if err != nil && !apierrors.IsConflict(err) && c.ctx.Err() == nil {
				c.log.Warn("finalizer cannot be set", "app", spec.ID, "error", err)
				c.again(k.resource, u, k.set)
			}
		})
		return false
	}
	c.noteSuspended(k.resource, u, k.set)
	c.read(spec.ID, spec.Source)
	c.feed(k.resource, u, func() {
		if c.oursApp(spec.ID) {
			ref, _ := flux.KubeConfigOf(u)
			c.engine.SetApp(spec)
			c.kubeconfigs.use(spec.ID, ref)
		} else { // by now
			c.stopReading(spec.ID)
			c.kubeconfigs.use(spec.ID, flux.KubeConfigRef{})
		}
	})
	return true
}

func (c *Controller) removedKustomization(u *unstructured.Unstructured) {
	c.removedFluxApp(kustomizationResource, flux.KindKustomization, u)
}

func (c *Controller) removedFluxApp(gvr schema.GroupVersionResource, kind string, u *unstructured.Unstructured) {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	c.forget(gvr)(u)
	id := app.ID{Kind: kind, Namespace: u.GetNamespace(), Name: u.GetName()}
	c.engine.RemoveApp(id)
	c.stopReading(id)
	c.kubeconfigs.use(id, flux.KubeConfigRef{})
}

func (c *Controller) publishKustomization(ctx context.Context, r app.Report) error {
	unlock := c.lock(kustomizationResource, r.App.Namespace, r.App.Name)
	defer unlock()
	return c.current(ctx, kustomizationResource, r.App.Namespace, r.App.Name, r.UID, func(u *unstructured.Unstructured) error {
		if r.Deleted {
			return c.setFinalizer(ctx, kustomizationResource, u, flux.Finalizer, false)
		}
		spec, old := flux.DecodeKustomization(u), statusOf(u)
		status := flux.EncodeKustomization(r, spec, old)
		events := flux.Annotated(flux.KustomizationEvents(r, spec, old), u.GetAnnotations())
		if err := c.writeStatus(ctx, kustomizationResource, u, status); err != nil {
			return err
		}
		c.emit(u, events)
		return nil
	})
}
