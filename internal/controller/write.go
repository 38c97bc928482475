package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"sync"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/dialect/flux"
)

// fieldManager is the name under which custom resources, as opposed to the
// objects that they deliver, are written.
const fieldManager = "plumb"

// lock lets one writer at a time encode and write a resource's status: each
// status is made from the one before.
func (c *Controller) lock(gvr schema.GroupVersionResource, namespace, name string) func() {
	m, _ := c.writes.LoadOrStore(resourceKey{gvr, namespace, name}, &sync.Mutex{})
	mu := m.(*sync.Mutex)
	mu.Lock()
	return mu.Unlock
}

// current runs write with the newest version of a resource, and once more with
// a newer one if that was not the newest. It does nothing if the resource is
// gone, or another one by now (an empty uid stands for any).
func (c *Controller) current(ctx context.Context, gvr schema.GroupVersionResource, namespace, name, uid string, write func(*unstructured.Unstructured) error) error {
	const tries = 5
	for try := 1; ; try++ {
		u := c.find(gvr, namespace, name)
		if u == nil || uid != "" && string(u.GetUID()) != uid {
			return nil
		}
		err := write(u)
		if try == tries || !apierrors.IsConflict(err) {
			return err
		}
		if same, err := c.refetch(ctx, gvr, u); err != nil || !same {
			return err
		}
	}
}

// refetch reads the newest version of a resource. same is false if it is gone,
// or another one of its name.
func (c *Controller) refetch(ctx context.Context, gvr schema.GroupVersionResource, u *unstructured.Unstructured) (same bool, _ error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	got, err := c.dynamic.Resource(gvr).Namespace(u.GetNamespace()).Get(ctx, u.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading %s %s/%s: %w", gvr.Resource, u.GetNamespace(), u.GetName(), err)
	}
	c.renew(gvr, got)
	return got.GetUID() == u.GetUID(), nil
}

// patch sends a merge patch and keeps the answer. It conflicts unless u is the
// newest version: what is written is made from that, and another resource of
// the name must not get it. A resource that is gone is no error: there is
// nothing left to tell.
func (c *Controller) patch(ctx context.Context, gvr schema.GroupVersionResource, u *unstructured.Unstructured, patch map[string]any, subresources ...string) error {
	meta, _ := patch["metadata"].(map[string]any)
	patch = maps.Clone(patch)
	patch["metadata"] = with(meta, "resourceVersion", u.GetResourceVersion())
	data, err := json.Marshal(patch)
	if err != nil {
		return fmt.Errorf("encoding a patch of %s/%s: %w", u.GetNamespace(), u.GetName(), err)
	}
	ctx, cancel := c.request(ctx)
	defer cancel()
	got, err := c.dynamic.Resource(gvr).Namespace(u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, data,
		metav1.PatchOptions{FieldManager: fieldManager}, subresources...)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing %s %s/%s: %w", gvr.Resource, u.GetNamespace(), u.GetName(), err)
	}
	c.renew(gvr, got)
	return nil
}

func with(m map[string]any, key string, value any) map[string]any {
	out := maps.Clone(m)
	if out == nil {
		out = map[string]any{}
	}
	out[key] = value
	return out
}

// writeStatus brings the status subresource of u to status; equal ones cost no
// request.
func (c *Controller) writeStatus(ctx context.Context, gvr schema.GroupVersionResource, u *unstructured.Unstructured, status map[string]any) error {
	old := statusOf(u)
	if reflect.DeepEqual(old, status) {
		return nil
	}
	patch, err := mergePatch(old, status)
	if err != nil {
		return err
	}
	if string(patch) == "{}" {
		return nil
	}
	return c.patch(ctx, gvr, u, map[string]any{"status": json.RawMessage(patch)}, "status")
}

// noteSuspended writes into the status of a resource of Flux that is suspended
// what was seen of it. set takes it up again if that fails.
func (c *Controller) noteSuspended(gvr schema.GroupVersionResource, u *unstructured.Unstructured, set func(*unstructured.Unstructured)) {
	if reflect.DeepEqual(flux.EncodeSuspended(u), statusOf(u)) {
		return
	}
	go c.aside(func() {
		unlock := c.lock(gvr, u.GetNamespace(), u.GetName())
		defer unlock()
		err := c.current(c.ctx, gvr, u.GetNamespace(), u.GetName(), string(u.GetUID()), func(u *unstructured.Unstructured) error {
			return c.writeStatus(c.ctx, gvr, u, flux.EncodeSuspended(u))
		})
		if err != nil && c.ctx.Err() == nil {
			c.log.Warn("status cannot be written", "resource", gvr.Resource, "namespace", u.GetNamespace(), "name", u.GetName(), "error", err)
			c.again(gvr, u, set)
		}
	})
}

func mergePatch(from, to map[string]any) ([]byte, error) {
	before, err := json.Marshal(from)
	if err != nil {
		return nil, fmt.Errorf("encoding a status: %w", err)
	}
	after, err := json.Marshal(to)
	if err != nil {
		return nil, fmt.Errorf("encoding a status: %w", err)
	}
	patch, err := jsonpatch.CreateMergePatch(before, after)
	if err != nil {
		return nil, fmt.Errorf("comparing statuses: %w", err)
	}
	return patch, nil
}

// statusOf is the status of u, shared, never nil.
func statusOf(u *unstructured.Unstructured) map[string]any {
	if s, ok := u.Object["status"].(map[string]any); ok {
		return s
	}
	return map[string]any{}
}

// setFinalizer adds or removes a finalizer, unless the resource changed.
func (c *Controller) setFinalizer(ctx context.Context, gvr schema.GroupVersionResource, u *unstructured.Unstructured, name string, present bool) error {
	kept := []string{}
	for _, f := range u.GetFinalizers() {
		if f != name {
			kept = append(kept, f)
		}
	}
	if present {
		kept = append(kept, name)
	}
	return c.patch(ctx, gvr, u, map[string]any{"metadata": map[string]any{
		"finalizers": kept, "resourceVersion": u.GetResourceVersion()}})
}
