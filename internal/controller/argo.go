package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/source/giturl"
)

func argoResource(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: argo.Group, Version: argo.Version, Resource: plural}
}

var (
	applicationResource    = argoResource("applications")
	applicationSetResource = argoResource("applicationsets")
	projectResource        = argoResource("appprojects")
	secretResource         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
)

// controlSecrets selects the Secrets that hold credentials of repositories and
// clusters.
const controlSecrets = argo.LabelSecretType + " in (repository, repo-creds, cluster)"

// Publish writes what the engine reports of an app.
func (c *Controller) Publish(ctx context.Context, r app.Report) error {
	switch r.App.Kind {
	case flux.KindKustomization:
		return c.publishKustomization(ctx, r)
	case flux.KindHelmRelease:
		return c.publishHelmRelease(ctx, r)
	case argo.KindApplication:
		return c.publishApplication(ctx, r)
	}
	return nil
}

func (c *Controller) setApplication(u *unstructured.Unstructured) {
	if !c.note(applicationResource, u) || c.ours(argo.KindApplication, u.GetNamespace(), u.GetName()) && !c.judge(applicationResource, u, c.setApplication) {
		return
	}
	c.feed(applicationResource, u, func() { c.tell(u) })
}

// tell decodes an Application and tells the engine of it. The caller holds
// c.feeding.
func (c *Controller) tell(u *unstructured.Unstructured) {
	if !c.ours(argo.KindApplication, u.GetNamespace(), u.GetName()) {
		return
	}
	spec, src := c.decodeApplication(u)
	c.spare(u, &spec)
	c.keep(spec.ID, src)
	c.engine.SetApp(spec)
}

// decodeApplication decodes an Application with what other resources say
// about it: its project, its cluster, and the credentials of its repository.
func (c *Controller) decodeApplication(u *unstructured.Unstructured) (app.Spec, app.Source) {
	spec, src := argo.DecodeApplication(u, c.argo)
	project := c.find(projectResource, c.controlNamespace(), argo.Project(u))
	c.mu.Lock()
	clusters := c.clusters
	c.mu.Unlock()
	dest := argo.Place(&spec, u, clusters)
	if failure := argo.CheckProject(u, project, dest, c.argo); failure != nil && spec.Invalid == nil && spec.Deletion == nil {
		spec.Invalid = failure
	}
	spec.Limits = argo.Limits(project) + dest.Limits()
	spec.Permits = func(ref object.Ref, namespaced bool) *app.Failure {
		return argo.PermitsObject(u, project, dest, ref, namespaced)
	}
	if src.URL != "" {
		src.Auth = c.credentials(src.URL)
		src.ID = app.SourceID{Name: sourceName(src)}
		spec.Source = src.ID
	}
	return c.standIn(spec), src
}

// sourceName makes equal sources one: it is derived from what decides what is
// fetched. The repository comes first, for people who read logs. Credentials
// follow from its URL, and are no part of a name that anyone may see.
func sourceName(src app.Source) string {
	data, err := json.Marshal([]any{src.URL, src.Ref, src.Interval})
	if err != nil {
		data = []byte(src.URL)
	}
	sum := sha256.Sum256(data)
	return giturl.Redact(src.URL) + "@" + hex.EncodeToString(sum[:6])
}

// keep tells the engine of the source that an Application is written with, as
// long as any Application has it.
func (c *Controller) keep(id app.ID, src app.Source) {
	c.mu.Lock()
	old, had := c.inline[id]
	var gone *app.SourceID
	if had && old != src.ID {
		delete(c.readers[old], id)
		if len(c.readers[old]) == 0 {
			delete(c.readers, old)
			gone = &old
		}
		delete(c.inline, id)
	}
	if src.URL != "" {
		if c.readers[src.ID] == nil {
			c.readers[src.ID] = map[app.ID]bool{}
		}
		c.readers[src.ID][id] = true
		c.inline[id] = src.ID
	}
	c.mu.Unlock()
	if src.URL != "" {
		c.engine.SetSource(src) // the credentials may be others
	}
	if gone != nil {
		c.engine.RemoveSource(*gone)
	}
}

func (c *Controller) removedApplication(u *unstructured.Unstructured) {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	c.forget(applicationResource)(u)
	id := app.ID{Kind: argo.KindApplication, Namespace: u.GetNamespace(), Name: u.GetName()}
	c.engine.RemoveApp(id)
	c.keep(id, app.Source{})
}

func (c *Controller) publishApplication(ctx context.Context, r app.Report) error {
	unlock := c.lock(applicationResource, r.App.Namespace, r.App.Name)
	defer unlock()
	return c.current(ctx, applicationResource, r.App.Namespace, r.App.Name, r.UID, func(u *unstructured.Unstructured) error {
		patch := argo.EncodeApplication(r, u, c.argo)
		events := argo.Events(r, u, c.argo)
		if patch != nil {
			if err := c.patch(ctx, applicationResource, u, patch); err != nil {
				return err
			}
		}
		c.emit(u, events)
		c.answered(r)
		return nil
	})
}

// answered tells the engine of an Application from which a request was just
// taken: were the same asked for again before the watch tells, the engine would
// take it for the one that it has answered.
func (c *Controller) answered(r app.Report) {
	if r.Answered == nil {
		return
	}
	if u := c.find(applicationResource, r.App.Namespace, r.App.Name); u != nil {
		c.feed(applicationResource, u, func() { c.tell(u) })
	}
}

// redecode decodes all Applications again, after something that they refer to
// has changed.
func (c *Controller) redecode() {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	c.mu.Lock()
	var all []*kept
	for key, k := range c.latest {
		if key.resource == applicationResource {
			all = append(all, k)
		}
	}
	c.mu.Unlock()
	for _, k := range all {
		c.tell(k.open())
	}
}

func (c *Controller) setProject(u *unstructured.Unstructured) {
	if c.note(projectResource, u) {
		c.redecode()
	}
}

func (c *Controller) removedProject(u *unstructured.Unstructured) {
	c.forget(projectResource)(u)
	c.redecode()
}

func (c *Controller) setSecret(u *unstructured.Unstructured) {
	if u.GetNamespace() != c.controlNamespace() {
		return
	}
	var secret corev1.Secret
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &secret); err != nil {
		c.log.Warn("Secret cannot be read", "secret", u.GetName())
		return
	}
	changed, cluster := c.noteSecret(&secret)
	if cluster {
		c.tellClusters()
	}
	if changed {
		c.redecode()
	}
}

// tellClusters tells the engine of the clusters that are registered now, and
// which are no longer.
func (c *Controller) tellClusters() {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	c.mu.Lock()
	gone := c.told
	c.told = map[string]bool{}
	var set []app.Cluster
	for _, one := range c.clusters {
		if one.ID != "" && !c.told[one.ID] { // of several for one server the first counts
			c.told[one.ID] = true
			set = append(set, one.Cluster)
		}
	}
	told := c.told
	c.mu.Unlock()
	for _, one := range set {
		c.engine.SetCluster(one)
	}
	for id := range gone {
		if !told[id] {
			c.engine.RemoveCluster(id)
		}
	}
}

func (c *Controller) removedSecret(u *unstructured.Unstructured) {
	if u.GetNamespace() != c.controlNamespace() {
		return
	}
	c.mu.Lock()
	old := c.secrets[u.GetName()]
	delete(c.secrets, u.GetName())
	cluster := c.readSecret(old, argo.SecretData{})
	c.mu.Unlock()
	if cluster {
		c.tellClusters()
	}
	c.redecode()
}

func (c *Controller) setApplicationSet(u *unstructured.Unstructured) {
	if !c.note(applicationSetResource, u) || u.GetDeletionTimestamp() != nil || !c.ours(argo.KindApplicationSet, u.GetNamespace(), u.GetName()) {
		return
	}
	if patch := argo.AssessApplicationSet(u, time.Now()); patch != nil {
		if err := c.patch(c.ctx, applicationSetResource, u, patch, "status"); err != nil {
			c.log.Warn("status cannot be written", "app", app.ID{Kind: argo.KindApplicationSet, Namespace: u.GetNamespace(), Name: u.GetName()}, "error", err)
			c.again(applicationSetResource, u, c.setApplicationSet)
		}
	}
}
