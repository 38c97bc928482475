package controller

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
)

// Resolve reads an app from the cluster once, with all that other resources
// say about it, as Run would tell it to the engine. It is for commands that
// work without a running engine.
func (c *Controller) Resolve(ctx context.Context, id app.ID) (app.Spec, app.Source, error) {
	switch id.Kind {
	case flux.KindKustomization:
		return c.resolveFlux(ctx, id, kustomizationResource, flux.DecodeKustomization)
	case flux.KindHelmRelease:
		return c.resolveFlux(ctx, id, helmReleaseResource, flux.DecodeHelmRelease)
	case argo.KindApplication:
		return c.resolveApplication(ctx, id)
	}
	return app.Spec{}, app.Source{}, fmt.Errorf("%s: there is no such kind of app", id)
}

// Cluster tells how the cluster is reached that an app goes to, by what Resolve
// read or may read now. Not for an app of the cluster that Plumb serves.
func (c *Controller) Cluster(ctx context.Context, spec app.Spec) (app.Cluster, error) {
	found := app.Cluster{ID: spec.Target.Cluster, Err: app.Fail(app.StageSpec, app.ReasonClusterUnknown, "cluster %q is not registered", spec.Target.Cluster)}
	if resource, ok := map[string]schema.GroupVersionResource{flux.KindKustomization: kustomizationResource, flux.KindHelmRelease: helmReleaseResource}[spec.ID.Kind]; ok {
		u, err := c.get(ctx, resource, spec.ID.Namespace, spec.ID.Name)
		if err != nil {
			return app.Cluster{}, err
		}
		ref, _ := flux.KubeConfigOf(u)
		if found, err = c.kubeConfig(ctx, ref); err != nil {
			return app.Cluster{}, fmt.Errorf("the cluster of %s: %w", spec.ID, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.clusters {
		if one.ID == spec.Target.Cluster {
			found = one.Cluster
			break
		}
	}
	if found.Err != nil {
		return app.Cluster{}, found.Err
	}
	return found, nil
}

// kubeConfig reads once what kubeconfigs follows.
func (c *Controller) kubeConfig(ctx context.Context, ref flux.KubeConfigRef) (app.Cluster, error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	core := c.core.CoreV1()
	if !ref.ConfigMap {
		secret, err := core.Secrets(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			return app.Cluster{}, err
		}
		return ref.Cluster(secretData(secret)), nil
	}
	cm, err := core.ConfigMaps(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return app.Cluster{}, err
	}
	found := ref.Tokens(configured(cm), c.opts.Tenancy)
	if found.Err != nil || found.Access.Tokens.Name == "" {
		return found, nil
	}
	account, err := core.ServiceAccounts(ref.Namespace).Get(ctx, found.Access.Tokens.Name, metav1.GetOptions{})
	if err != nil {
		return app.Cluster{}, err
	}
	return ref.Account(found, string(account.UID)), nil
}

func (c *Controller) get(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	return c.dynamic.Resource(gvr).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

func (c *Controller) resolveFlux(ctx context.Context, id app.ID, resource schema.GroupVersionResource, decode func(*unstructured.Unstructured) app.Spec) (app.Spec, app.Source, error) {
	u, err := c.get(ctx, resource, id.Namespace, id.Name)
	if err != nil {
		return app.Spec{}, app.Source{}, err
	}
	spec := c.standIn(c.opts.Tenancy.Restrict(decode(u)))
	if spec.Invalid != nil {
		return spec, app.Source{}, spec.Invalid
	}
	src, err := c.Source(ctx, spec.Source)
	if err != nil {
		return spec, app.Source{}, fmt.Errorf("the source of %s: %w", id, err)
	}
	return spec, src, nil
}

// Source reads a source from the cluster once, with what its Secrets hold.
func (c *Controller) Source(ctx context.Context, id app.SourceID) (app.Source, error) {
	k, ok := sourceKindOf(id.Kind)
	if !ok {
		return app.Source{}, fmt.Errorf("there is no such kind: %s", id.Kind)
	}
	u, err := c.get(ctx, k.resource, id.Namespace, id.Name)
	switch {
	case apierrors.IsNotFound(err):
		return app.Source{}, app.Fail(app.StageFetch, app.ReasonSourceNotFound, "%s does not exist", id).
			WithHint("create it, or correct the reference")
	case err != nil:
		return app.Source{}, err
	}
	if _, _, failure := k.Decode(u); failure != nil {
		return app.Source{}, failure
	}
	return c.source(ctx, k, u), nil
}

func (c *Controller) resolveApplication(ctx context.Context, id app.ID) (app.Spec, app.Source, error) {
	u, err := c.get(ctx, applicationResource, id.Namespace, id.Name)
	if err != nil {
		return app.Spec{}, app.Source{}, err
	}
	namespace := c.controlNamespace()
	project, err := c.get(ctx, projectResource, namespace, argo.Project(u))
	switch {
	case err == nil:
		c.note(projectResource, project)
	case !apierrors.IsNotFound(err):
		return app.Spec{}, app.Source{}, fmt.Errorf("the project of %s: %w", id, err)
	}
	limited, cancel := c.request(ctx)
	defer cancel()
	secrets, err := c.core.CoreV1().Secrets(namespace).List(limited, metav1.ListOptions{LabelSelector: controlSecrets})
	if err != nil && !apierrors.IsForbidden(err) { // who may not read them tries without
		return app.Spec{}, app.Source{}, fmt.Errorf("credentials of repositories and clusters: %w", err)
	}
	if secrets != nil {
		for _, s := range secrets.Items {
			c.noteSecret(&s)
		}
	}
	spec, src := c.decodeApplication(u)
	switch {
	case spec.Invalid != nil && spec.Invalid.Reason == app.ReasonClusterUnknown && err != nil:
		return spec, src, fmt.Errorf("the cluster of %s: %w", id, err)
	case spec.Invalid != nil:
		return spec, src, spec.Invalid
	}
	return spec, src, nil
}

// noteSecret takes in a Secret. It reports whether it is another than before,
// and whether that concerns clusters.
func (c *Controller) noteSecret(s *corev1.Secret) (changed, cluster bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := argo.SecretData{Name: s.Name, Labels: s.Labels, Annotations: s.Annotations, Data: s.Data}
	old, known := c.secrets[s.Name]
	if known && reflect.DeepEqual(old, now) {
		return false, false
	}
	c.secrets[s.Name] = now
	return true, c.readSecret(old, now)
}

// readSecret finds out what follows from a Secret that was, is, or was and is
// another now. It reports whether that concerns clusters. The caller holds c.mu.
func (c *Controller) readSecret(old, now argo.SecretData) (cluster bool) {
	c.repositories = nil
	if !old.IsCluster() && !now.IsCluster() {
		return false
	}
	delete(c.registered, old.Name)
	if found := argo.Clusters([]argo.SecretData{now}); len(found) > 0 {
		c.registered[now.Name] = found
	}
	c.clusters = nil
	for _, name := range slices.Sorted(maps.Keys(c.registered)) {
		c.clusters = append(c.clusters, c.registered[name]...)
	}
	return true
}

// credentials are those of a repository.
func (c *Controller) credentials(repoURL string) app.Credentials {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.repositories == nil {
		c.repositories = argo.NewRepositories(slices.Collect(maps.Values(c.secrets)))
	}
	return c.repositories.Credentials(repoURL)
}

// controlNamespace is where projects and the Secrets of repositories and
// clusters are.
func (c *Controller) controlNamespace() string {
	if c.argo.ControlNamespace == "" {
		return "argocd"
	}
	return c.argo.ControlNamespace
}
