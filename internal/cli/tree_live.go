package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/health"
	"plumb.dev/plumb/internal/object"
)

// treeReader reads live objects for one tree.
type treeReader struct {
	*cluster
	mapper   meta.RESTMapper
	metadata metadata.Interface
	seen     map[string]bool // uids of apps
	read     int
}

func (c *cluster) newTreeReader() (*treeReader, error) {
	mapper, err := c.mapper()
	if err != nil {
		return nil, err
	}
	light, err := metadata.NewForConfig(c.config)
	if err != nil {
		return nil, err
	}
	return &treeReader{cluster: c, mapper: mapper, metadata: light, seen: map[string]bool{}}, nil
}

// readers is how many objects are read at a time.
const readers = 8

// objects reads each object and what it owns, in canonical order.
func (r *treeReader) objects(ctx context.Context, objects []app.ObjectView, rules app.HealthRules) ([]*node, error) {
	nodes := make([]*node, len(objects))
	live := make([]*unstructured.Unstructured, len(objects))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for i, o := range objects {
		nodes[i] = &node{Ref: o.Ref, Version: o.Version, Sync: o.Sync}
		group.Go(func() error {
			u, err := r.live(groupCtx, o, rules)
			switch {
			case err == nil:
				live[i] = u
				nodes[i].Health = health.Assess(u, rules)
			case meta.IsNoMatchError(err):
				nodes[i].Health = app.Health{Status: app.Missing, Message: "the cluster does not serve this kind"}
			case apierrors.IsNotFound(err):
				nodes[i].Health = app.Health{Status: app.Missing}
			case apierrors.IsForbidden(err):
				nodes[i].Health = app.Health{Status: app.HealthLost, Message: "you may not read it"}
			default:
				return err
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	owned, err := r.owned(ctx, live)
	if err != nil {
		return nil, err
	}
	for i, u := range live {
		if u != nil {
			nodes[i].Children = owned.below(u.GetUID(), 1)
		}
	}
	slices.SortFunc(nodes, func(a, b *node) int { return compareShown(a.Ref, b.Ref) })
	return nodes, nil
}

// compareShown orders by kind, namespace and name, as a reader would look.
func compareShown(a, b object.Ref) int {
	for _, c := range [...]int{
		strings.Compare(a.Kind, b.Kind), strings.Compare(a.Namespace, b.Namespace),
		strings.Compare(a.Name, b.Name), strings.Compare(a.Group, b.Group),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}

// live reads one object, or its metadata alone where that is enough: the data
// of a Secret is never read.
func (r *treeReader) live(ctx context.Context, o app.ObjectView, rules app.HealthRules) (*unstructured.Unstructured, error) {
	var versions []string
	if o.Version != "" {
		versions = []string{o.Version}
	}
	mapping, err := r.mapper.RESTMapping(o.Ref.GroupKind(), versions...)
	if meta.IsNoMatchError(err) {
		mapping, err = r.mapper.RESTMapping(o.Ref.GroupKind()) // the version may be gone
	}
	if err != nil {
		return nil, err
	}
	namespace := o.Ref.Namespace
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		namespace = ""
	}
	if health.Needs(o.Ref.GroupKind(), rules) {
		return r.at(mapping.Resource, namespace).Get(ctx, o.Ref.Name, metav1.GetOptions{})
	}
	found, err := r.metadata.Resource(mapping.Resource).Namespace(namespace).Get(ctx, o.Ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(found)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(mapping.GroupVersionKind)
	return u, nil
}

// ownership is the objects that others own, by the owner's uid.
type ownership map[types.UID][]*unstructured.Unstructured

// ownedKind is a kind of object that workloads own.
type ownedKind struct {
	resource schema.GroupVersionResource
	kind     string
}

func ownedKinds() []ownedKind {
	return []ownedKind{
		{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}, "ReplicaSet"},
		{schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}, "Job"},
		{schema.GroupVersionResource{Version: "v1", Resource: "pods"}, "Pod"},
	}
}

// owns tells the kinds that have something below them.
func owns(kind string) bool {
	switch kind {
	case "Deployment", "Rollout", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "CronJob", "Job":
		return true
	}
	return false
}

// owned lists what workloads own in the namespaces where there are any.
func (r *treeReader) owned(ctx context.Context, live []*unstructured.Unstructured) (ownership, error) {
	namespaces := map[string]bool{}
	for _, u := range live {
		if u != nil && owns(u.GetKind()) {
			namespaces[u.GetNamespace()] = true
		}
	}
	out := ownership{}
	for namespace := range namespaces {
		for _, k := range ownedKinds() {
			found, err := list(ctx, r.at(k.resource, namespace), metav1.ListOptions{})
			if apierrors.IsForbidden(err) || errors.Is(err, errNotServed) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, u := range found.items {
				if u.GetKind() == "" {
					u.SetGroupVersionKind(k.resource.GroupVersion().WithKind(k.kind))
				}
				for _, owner := range u.GetOwnerReferences() {
					out[owner.UID] = append(out[owner.UID], u)
				}
			}
		}
	}
	return out, nil
}

// below makes the nodes below an owner. ReplicaSets of earlier rollouts, which
// want no Pods, are left out.
func (o ownership) below(owner types.UID, depth int) []*node {
	if depth > maxOwnedDepth {
		return nil
	}
	var out []*node
	for _, u := range o[owner] {
		if replicas, found, _ := unstructured.NestedInt64(u.Object, "spec", "replicas"); found && replicas == 0 && u.GetKind() == "ReplicaSet" {
			continue
		}
		gvk := u.GroupVersionKind()
		out = append(out, &node{
			Ref:      object.Ref{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()},
			Version:  gvk.Version,
			Health:   health.Assess(u, app.HealthByKind),
			Children: o.below(u.GetUID(), depth+1),
		})
	}
	slices.SortFunc(out, func(a, b *node) int { return compareShown(a.Ref, b.Ref) })
	return out
}
