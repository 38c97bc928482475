package controller

import (
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

// Sources that are custom resources of their own, of every kind alike: what one
// kind is about, its dialect says.

// sourceKind is a kind of source, and where its resources are.
type sourceKind struct {
	flux.SourceKind
	resource schema.GroupVersionResource
}

// sourceKinds lists them, those that others are made of first.
func sourceKinds() []sourceKind {
	var out []sourceKind
	for _, k := range flux.SourceKinds() {
		out = append(out, sourceKind{k, schema.GroupVersionResource{Group: flux.SourceGroup, Version: "v1", Resource: k.Resource}})
	}
	return out
}

// sourceKindOf finds a kind by its name.
func sourceKindOf(kind string) (sourceKind, bool) {
	for _, k := range sourceKinds() {
		if k.Kind == kind {
			return k, true
		}
	}
	return sourceKind{}, false
}

func (k sourceKind) id(u *unstructured.Unstructured) app.SourceID {
	return app.SourceID{Kind: k.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// foundSource takes in what a watch tells of a source.
func (c *Controller) foundSource(k sourceKind, u *unstructured.Unstructured) {
	if !c.note(k.resource, u) {
		return
	}
	if k.Kind == flux.KindHelmChart {
		c.foundChart(u)
	}
	c.setSource(k, u)
}

// setSource takes in a source that is new or has changed.
func (c *Controller) setSource(k sourceKind, u *unstructured.Unstructured) {
	if !c.note(k.resource, u) {
		return
	}
	id := k.id(u)
	needed, ours := c.needed(id)
	if !needed {
		c.feed(k.resource, u, func() {
			if needed, _ := c.needed(id); !needed {
				c.drop(id)
			}
		})
		return
	}
	if u.GetDeletionTimestamp() != nil {
		// Nothing is stored that would have to be cleaned up; the finalizer is
		// one that Flux left.
		if ours && !flux.Foreign(k.Kind) && slices.Contains(u.GetFinalizers(), flux.Finalizer) {
			if err := c.setFinalizer(c.ctx, k.resource, u, flux.Finalizer, false); err != nil {
				c.log.Warn("finalizer cannot be removed", "source", id, "error", err)
				c.again(k.resource, u, func(u *unstructured.Unstructured) { c.setSource(k, u) })
			}
		}
		return
	}
	src := c.source(c.ctx, k, u)
	switch {
	case src.Static() && ours:
		go c.aside(func() { c.strip(k, u) })
	case ours:
		c.noteSuspended(k.resource, u, func(u *unstructured.Unstructured) { c.setSource(k, u) })
	}
	c.read(app.ID(id), src.Uses...)
	c.feed(k.resource, u, func() {
		needed, ours := c.needed(id)
		if !needed {
			return
		}
		if !ours {
			src.Followed, src.Interval = true, 0
		}
		c.engine.SetSource(src)
	})
}

// source decodes a source, with what its Secrets hold. They are read when the
// source changes, when a look at it fails, and when they change after that
// (heed), never just because time passes. Those with the keys that signatures
// are verified with are read before each look, see Keys.
func (c *Controller) source(ctx context.Context, k sourceKind, u *unstructured.Unstructured) app.Source {
	src, _, failure := k.Decode(u)
	src.ID = k.id(u)
	if failure != nil {
		src.Auth.Err = failure
		return src
	}
	for _, use := range k.Secrets(u) {
		if c.take(ctx, u.GetNamespace(), use, &src); src.Auth.Err != nil {
			return src
		}
	}
	return src
}

// take puts what a Secret holds into src, or those of a ServiceAccount.
func (c *Controller) take(ctx context.Context, namespace string, use flux.SecretUse, src *app.Source) {
	names, err := []string{use.Name}, error(nil)
	if use.ServiceAccount {
		names, err = c.pullSecrets(ctx, namespace, use.Name)
	}
	for _, name := range names {
		var data map[string][]byte
		if data, err = c.secret(ctx, namespace, name); err != nil {
			break
		}
		if use.Into(src, data); src.Auth.Err != nil {
			return
		}
	}
	switch {
	case err == nil:
	case use.Missing != nil:
		use.Missing(src, err)
	default:
		src.Auth = app.Credentials{Err: err}
	}
}

// pullSecrets names the Secrets with which a ServiceAccount pulls images.
func (c *Controller) pullSecrets(ctx context.Context, namespace, name string) ([]string, error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	account, err := c.core.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		reason := app.ReasonAuthentication
		if !apierrors.IsNotFound(err) {
			reason = app.ReasonClusterDown
		}
		return nil, app.Fail(app.StageFetch, reason, "failed to get service account '%s/%s': %w", namespace, name, err).
			WithHint("create the ServiceAccount, or correct the reference to it")
	}
	var names []string
	for _, ref := range account.ImagePullSecrets {
		names = append(names, ref.Name)
	}
	return names, nil
}

// strip takes the status and the finalizer off a source that there is nothing
// to tell of: whoever waits for its status would wait forever.
func (c *Controller) strip(k sourceKind, u *unstructured.Unstructured) {
	unlock := c.lock(k.resource, u.GetNamespace(), u.GetName())
	defer unlock()
	err := c.current(c.ctx, k.resource, u.GetNamespace(), u.GetName(), string(u.GetUID()), func(u *unstructured.Unstructured) error {
		if slices.Contains(u.GetFinalizers(), flux.Finalizer) {
			if err := c.setFinalizer(c.ctx, k.resource, u, flux.Finalizer, false); err != nil {
				return err
			}
			if u = c.find(k.resource, u.GetNamespace(), u.GetName()); u == nil {
				return nil
			}
		}
		return c.writeStatus(c.ctx, k.resource, u, map[string]any{})
	})
	if err != nil && c.ctx.Err() == nil {
		c.log.Warn("status cannot be removed", "source", k.id(u), "error", err)
		c.again(k.resource, u, func(u *unstructured.Unstructured) { c.setSource(k, u) })
	}
}

// Keys gives a source, whose content must be signed, the keys that its Secret
// holds now. If it cannot be read, there are none.
func (c *Controller) Keys(ctx context.Context, src app.Source) app.Source {
	k, ok := sourceKindOf(src.ID.Kind)
	if !ok {
		return src
	}
	u := c.find(k.resource, src.ID.Namespace, src.ID.Name)
	if u == nil {
		return src // it goes
	}
	now := c.source(ctx, k, u)
	if now.Verify != nil {
		src.Verify = now.Verify
	}
	if src.OCI != nil && now.OCI != nil && now.OCI.Verify != nil {
		artifact := *src.OCI
		artifact.Verify = now.OCI.Verify
		src.OCI = &artifact
	}
	if src.HelmChart != nil && now.HelmChart != nil && now.HelmChart.Verify != nil {
		chart := *src.HelmChart
		chart.Verify = now.HelmChart.Verify
		src.HelmChart = &chart
	}
	return src
}

// secret reads a Secret that a source refers to.
func (c *Controller) secret(ctx context.Context, namespace, name string) (map[string][]byte, error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	secret, err := c.core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return secret.Data, nil
	}
	reason := app.ReasonAuthentication
	if !apierrors.IsNotFound(err) {
		reason = app.ReasonClusterDown
	}
	return nil, app.Fail(app.StageFetch, reason, "failed to get secret '%s/%s': %w", namespace, name, err).
		WithHint("create the Secret, or correct the reference to it")
}

func (c *Controller) removedSource(k sourceKind, u *unstructured.Unstructured) {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	c.forget(k.resource)(u)
	c.heed(k, u, nil)
	c.drop(k.id(u))
	if k.Kind == flux.KindHelmChart {
		c.removedChart(u)
	}
}

// drop lets go of a source, and with it of those that it alone is made of.
func (c *Controller) drop(id app.SourceID) {
	c.engine.RemoveSource(id)
	c.stopReading(app.ID(id))
}

// PublishSource writes what the engine found of a source.
func (c *Controller) PublishSource(ctx context.Context, r app.SourceReport) error {
	k, ok := sourceKindOf(r.ID.Kind)
	if !ok {
		return nil
	}
	unlock := c.lock(k.resource, r.ID.Namespace, r.ID.Name)
	defer unlock()
	if !c.ours(r.ID.Kind, r.ID.Namespace, r.ID.Name) {
		return nil
	}
	return c.current(ctx, k.resource, r.ID.Namespace, r.ID.Name, "", func(u *unstructured.Unstructured) error {
		_, warnings, _ := k.Decode(u)
		old := statusOf(u)
		status := k.Encode(r, warnings, old)
		events := flux.Annotated(k.Events(r, warnings, old), u.GetAnnotations())
		if flux.Foreign(k.Kind) {
			c.emit(u, events)
			return nil
		}
		if err := c.writeStatus(ctx, k.resource, u, status); err != nil {
			return err
		}
		c.emit(u, events)
		c.heed(k, u, r.Failure)
		if len(k.Secrets(u)) > 0 && r.Failure != nil {
			if u := c.find(k.resource, r.ID.Namespace, r.ID.Name); u != nil {
				c.setSource(k, u) // a Secret may have changed
			}
		}
		return nil
	})
}

// Artifact is the path of the artifact that the status of a source names; ""
// if it names none.
func (c *Controller) Artifact(id app.SourceID) string {
	k, ok := sourceKindOf(id.Kind)
	if !ok {
		return ""
	}
	u := c.find(k.resource, id.Namespace, id.Name)
	if u == nil {
		return ""
	}
	path, _, _ := unstructured.NestedString(u.Object, "status", "artifact", "path")
	return path
}
