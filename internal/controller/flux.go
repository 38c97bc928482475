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

var (
	gitRepositoryResource = schema.GroupVersionResource{Group: flux.SourceGroup, Version: "v1", Resource: "gitrepositories"}
	kustomizationResource = schema.GroupVersionResource{Group: flux.KustomizeGroup, Version: "v1", Resource: "kustomizations"}
)

func (c *Controller) setGitRepository(u *unstructured.Unstructured) {
	if !c.note(gitRepositoryResource, u) {
		return
	}
	id := app.SourceID{Kind: flux.KindGitRepository, Namespace: u.GetNamespace(), Name: u.GetName()}
	needed, ours := c.needed(id)
	if !needed {
		c.feed(gitRepositoryResource, u, func() {
			if needed, _ := c.needed(id); !needed {
				c.engine.RemoveSource(id)
			}
		})
		return
	}
	if u.GetDeletionTimestamp() != nil {
		// Nothing is stored that would have to be cleaned up; the finalizer is
		// one that Flux left.
		if ours && slices.Contains(u.GetFinalizers(), flux.Finalizer) {
			if err := c.setFinalizer(c.ctx, gitRepositoryResource, u, flux.Finalizer, false); err != nil {
				c.log.Warn("finalizer cannot be removed", "source", u.GetName(), "error", err)
				c.again(gitRepositoryResource, u, c.setGitRepository)
			}
		}
		return
	}
	src, _, failure := flux.DecodeGitRepository(u)
	src.ID = id
	switch name, ok := flux.SecretRef(u); {
	case failure != nil:
		src.Auth.Err = failure
	case ok:
		src.Auth = c.fluxCredentials(c.ctx, u.GetNamespace(), name, src.URL)
	}
	c.feed(gitRepositoryResource, u, func() {
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

// fluxCredentials reads the Secret of a source. It is read when the source
// changes, when a look at it fails, and when it changes after that (heed),
// never just because time passes.
func (c *Controller) fluxCredentials(ctx context.Context, namespace, name, url string) app.Credentials {
	ctx, cancel := c.request(ctx)
	defer cancel()
	secret, err := c.core.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return flux.Credentials(secret.Data, url)
	}
	reason := app.ReasonAuthentication
	if !apierrors.IsNotFound(err) {
		reason = app.ReasonClusterDown
	}
	return app.Credentials{Err: app.Fail(app.StageFetch, reason, "failed to get secret '%s/%s': %w", namespace, name, err).
		WithHint("create the Secret, or correct spec.secretRef")}
}

func (c *Controller) removedGitRepository(u *unstructured.Unstructured) {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	c.forget(gitRepositoryResource)(u)
	c.heed(u, nil)
	c.engine.RemoveSource(app.SourceID{Kind: flux.KindGitRepository, Namespace: u.GetNamespace(), Name: u.GetName()})
}

// PublishSource writes what the engine found of a GitRepository.
func (c *Controller) PublishSource(ctx context.Context, r app.SourceReport) error {
	unlock := c.lock(gitRepositoryResource, r.ID.Namespace, r.ID.Name)
	defer unlock()
	if !c.ours(r.ID.Kind, r.ID.Namespace, r.ID.Name) {
		return nil
	}
	return c.current(ctx, gitRepositoryResource, r.ID.Namespace, r.ID.Name, "", func(u *unstructured.Unstructured) error {
		_, warnings, _ := flux.DecodeGitRepository(u)
		old := statusOf(u)
		status := flux.EncodeGitRepository(r, warnings, old)
		events := flux.Annotated(flux.GitRepositoryEvents(r, warnings, old), u.GetAnnotations())
		if err := c.writeStatus(ctx, gitRepositoryResource, u, status); err != nil {
			return err
		}
		c.emit(u, events)
		c.heed(u, r.Failure)
		if _, secret := flux.SecretRef(u); secret && r.Failure != nil {
			if u := c.find(gitRepositoryResource, r.ID.Namespace, r.ID.Name); u != nil {
				c.setGitRepository(u) // the Secret may have changed
			}
		}
		return nil
	})
}

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
	if !c.oursApp(spec.ID) {
		c.feed(k.resource, u, func() {
			if !c.oursApp(spec.ID) {
				c.kubeconfigs.use(spec.ID, flux.KubeConfigRef{})
				c.engine.SetElsewhere(spec)
			}
		})
		return false
	}
	if u.GetDeletionTimestamp() == nil && !slices.Contains(u.GetFinalizers(), flux.Finalizer) && !spec.Suspend {
		// Nothing is delivered before the finalizer is there: deleting the
		// resource must find what it delivered. The answer comes by the watch.
		go c.aside(func() {
			err := c.setFinalizer(c.ctx, k.resource, u, flux.Finalizer, true)
			if err != nil && !apierrors.IsConflict(err) && c.ctx.Err() == nil {
				c.log.Warn("finalizer cannot be set", "app", spec.ID.String(), "error", err)
				c.again(k.resource, u, k.set)
			}
		})
		return false
	}
	c.read(spec.ID, spec.Source)
	c.feed(k.resource, u, func() {
		if c.oursApp(spec.ID) {
			ref, _ := flux.KubeConfigSecret(u)
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
