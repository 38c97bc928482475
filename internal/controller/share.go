package controller

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/shard"
)

// Of several replicas each works on its share of the resources: it alone
// delivers these apps, and writes to these resources. Of all other resources
// it knows what its own refer to.

// dividedKind is a kind of resources that are divided among the replicas.
type dividedKind struct {
	resource schema.GroupVersionResource
	kind     string
	set      func(*unstructured.Unstructured)
}

// divided lists them, what others refer to first.
func (c *Controller) divided() []dividedKind {
	var out []dividedKind
	for _, k := range sourceKinds() {
		out = append(out, dividedKind{k.resource, k.Kind, func(u *unstructured.Unstructured) { c.foundSource(k, u) }})
	}
	return append(out,
		dividedKind{kustomizationResource, flux.KindKustomization, c.setKustomization},
		dividedKind{helmReleaseResource, flux.KindHelmRelease, c.setHelmRelease},
		dividedKind{applicationResource, argo.KindApplication, c.setApplication},
		dividedKind{applicationSetResource, argo.KindApplicationSet, c.setApplicationSet})
}

// shareKey names a resource in a share.
func shareKey(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }

// ours reports whether this replica works on a resource.
func (c *Controller) ours(kind, namespace, name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.share.Owns(shareKey(kind, namespace, name))
}

func (c *Controller) oursApp(id app.ID) bool { return c.ours(id.Kind, id.Namespace, id.Name) }

// Narrow gives up what is not in share, and returns when nothing of it is under
// way.
func (c *Controller) Narrow(share shard.Share) {
	<-c.running
	c.sharing.Lock()
	defer c.sharing.Unlock()
	c.wanted = c.wanted.And(share)
	c.narrow(share)
}

// hold gives up everything, and returns when nothing is under way, until goOn.
func (c *Controller) hold() {
	c.sharing.Lock()
	defer c.sharing.Unlock()
	c.held = true
	c.narrow(shard.Share{})
}

// goOn takes up again what is this replica's by now. Others may have worked on
// it.
func (c *Controller) goOn(ctx context.Context) error {
	c.sharing.Lock()
	defer c.sharing.Unlock()
	if err := c.widen(ctx, c.wanted, true); err != nil {
		return err
	}
	c.held = false
	return nil
}

// narrow is Narrow without regard to hold. The caller holds c.sharing.
func (c *Controller) narrow(share shard.Share) {
	// Whoever feeds the engine finishes first, and then sees the new share.
	c.feeding.Lock()
	c.mu.Lock()
	before := c.share
	c.share = before.And(share)
	lost := c.differing(before, c.share)
	c.mu.Unlock()
	c.feeding.Unlock()

	var apps []app.ID
	for _, l := range lost {
		if _, source := sourceKindOf(l.kind); !source {
			apps = append(apps, app.ID{Kind: l.kind, Namespace: l.GetNamespace(), Name: l.GetName()})
		}
		// Writers look whether the resource is theirs when they have its lock.
		c.lock(l.resource, l.GetNamespace(), l.GetName())()
	}
	c.engine.Release(apps...)
	c.feeding.Lock()
	for _, id := range apps {
		if !c.oursApp(id) {
			c.keep(id, app.Source{})
			c.stopReading(id)
			c.kubeconfigs.use(id, flux.KubeConfigRef{})
		}
	}
	c.feeding.Unlock()
	for _, l := range lost {
		if k, source := sourceKindOf(l.kind); source {
			c.setSource(k, l.Unstructured)
		}
	}
}

// Widen begins the work on all of share. shared says that others may have
// worked on it: then what they wrote is read first, for a watch may be late,
// and what this replica knows of repositories counts no more.
func (c *Controller) Widen(ctx context.Context, share shard.Share, shared bool) error {
	<-c.running
	c.sharing.Lock()
	defer c.sharing.Unlock()
	c.wanted = share
	if c.held {
		return nil // goOn does it
	}
	return c.widen(ctx, share, shared)
}

// widen is Widen without regard to hold. The caller holds c.sharing.
func (c *Controller) widen(ctx context.Context, share shard.Share, shared bool) error {
	if shared {
		if err := c.reread(ctx); err != nil {
			return err
		}
		c.engine.Relook()
	}
	c.feeding.Lock()
	c.mu.Lock()
	gained := c.differing(share, c.share)
	c.share = share
	c.mu.Unlock()
	c.feeding.Unlock()
	for _, g := range gained {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g.set(g.Unstructured)
	}
	return nil
}

// dividedResource is a resource of such a kind.
type dividedResource struct {
	*unstructured.Unstructured
	dividedKind
}

// differing lists the resources that one share has and another has not, what
// others refer to first. The caller holds c.mu.
func (c *Controller) differing(has, hasNot shard.Share) []dividedResource {
	var out []dividedResource
	for _, d := range c.divided() {
		first := len(out)
		for key, k := range c.latest {
			if key.resource != d.resource {
				continue
			}
			if in := shareKey(d.kind, key.namespace, key.name); has.Owns(in) && !hasNot.Owns(in) {
				out = append(out, dividedResource{k.open(), d})
			}
		}
		slices.SortFunc(out[first:], func(a, b dividedResource) int {
			return slices.Compare([]string{a.GetNamespace(), a.GetName()}, []string{b.GetNamespace(), b.GetName()})
		})
	}
	return out
}

// reread reads all divided resources as they are now.
func (c *Controller) reread(ctx context.Context) error {
	for _, d := range c.divided() {
		options := metav1.ListOptions{Limit: 500}
		for {
			page, err := c.page(ctx, d.resource, options)
			if err != nil {
				return fmt.Errorf("reading %s: %w", d.resource.Resource, err)
			}
			for i := range page.Items {
				u := &page.Items[i]
				d.set(u)
			}
			if options.Continue = page.GetContinue(); options.Continue == "" {
				break
			}
		}
	}
	return nil
}

func (c *Controller) page(ctx context.Context, gvr schema.GroupVersionResource, options metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	ctx, cancel := c.request(ctx)
	defer cancel()
	return c.dynamic.Resource(gvr).List(ctx, options)
}

// read notes which sources an app of this replica reads, or a source that it
// has to know is made of, and makes sure that the engine knows them.
func (c *Controller) read(id app.ID, sources ...app.SourceID) {
	c.mu.Lock()
	if slices.Equal(c.reads[id], sources) {
		c.mu.Unlock()
		return
	}
	gone := c.unread(id)
	var fresh []app.SourceID
	for _, source := range sources {
		if len(c.readers[source]) == 0 {
			c.readers[source] = map[app.ID]bool{}
			fresh = append(fresh, source)
		}
		c.readers[source][id] = true
	}
	if len(sources) > 0 {
		c.reads[id] = sources
	}
	c.mu.Unlock()
	c.unneeded(gone)
	for _, source := range fresh {
		k, ok := sourceKindOf(source.Kind)
		if !ok || c.ours(source.Kind, source.Namespace, source.Name) {
			continue
		}
		if u := c.find(k.resource, source.Namespace, source.Name); u != nil {
			c.setSource(k, u)
		}
	}
}

// unread is for who reads no source any more, or others. It gives what nobody
// reads now. The caller holds c.mu.
func (c *Controller) unread(id app.ID) (gone []app.SourceID) {
	for _, source := range c.reads[id] {
		delete(c.readers[source], id)
		if len(c.readers[source]) == 0 {
			delete(c.readers, source)
			gone = append(gone, source)
		}
	}
	delete(c.reads, id)
	return gone
}

// stopReading is for an app, or a source, that this replica has no more to do
// with.
func (c *Controller) stopReading(id app.ID) {
	c.mu.Lock()
	gone := c.unread(id)
	c.mu.Unlock()
	c.unneeded(gone)
}

// unneeded lets go of sources that nobody of this replica reads any more.
func (c *Controller) unneeded(ids []app.SourceID) {
	for _, id := range ids {
		if needed, _ := c.needed(id); !needed {
			c.drop(id)
		}
	}
}

// needed reports whether the engine has to know a source, and whether this
// replica is the one that publishes what it finds.
func (c *Controller) needed(id app.SourceID) (needed, ours bool) {
	ours = c.ours(id.Kind, id.Namespace, id.Name)
	c.mu.Lock()
	defer c.mu.Unlock()
	return ours || len(c.readers[id]) > 0, ours
}
