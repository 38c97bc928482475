package controller

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
)

var definitionResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Whoever deletes a definition deletes every resource of the kind. That
// something is uninstalled, Flux by its own command for one, is no order to
// delete what all the resources delivered: it stays.

// judge finds out, once for each resource that is being deleted, whether it
// goes only because its definition does. It reports whether that is known; if
// not, the resource is taken up again.
func (c *Controller) judge(gvr schema.GroupVersionResource, u *unstructured.Unstructured, set func(*unstructured.Unstructured)) bool {
	if u.GetDeletionTimestamp() == nil {
		return true
	}
	c.mu.Lock()
	_, known := c.spared[u.GetUID()]
	c.mu.Unlock()
	if known {
		return true
	}
	ctx, cancel := c.request(c.ctx)
	defer cancel()
	crd, err := c.metadata.Resource(definitionResource).Get(ctx, gvr.GroupResource().String(), metav1.GetOptions{})
	id := app.ID{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()}
	spared := false
	switch {
	case apierrors.IsForbidden(err):
		c.log.Warn("whether the definition is being deleted cannot be read: the resource is taken to be deleted on purpose", "app", id, "error", err)
	case apierrors.IsNotFound(err), err == nil && crd.GetDeletionTimestamp() != nil:
		spared = true
	case err != nil:
		c.again(gvr, u, set)
		return false
	}
	if spared {
		const message = "deleted together with its definition: what it delivered stays"
		c.log.Warn(message, "app", id)
		c.emit(u, []app.Event{{Warning: true, Reason: "DefinitionDeleted", Message: message}})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spared[u.GetUID()] = spared
	return true
}

// spare keeps the deletion of an app from deleting, if that is the verdict.
func (c *Controller) spare(u *unstructured.Unstructured, spec *app.Spec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if spec.Deletion != nil && c.spared[u.GetUID()] {
		spec.Deletion = &app.Deletion{}
	}
}
