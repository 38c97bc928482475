// Package adopt changes who delivers: it finds a Flux that runs in a cluster,
// compares what Plumb would do with what is there, stops Flux's controllers so
// that Plumb goes on, and starts them again when Plumb is to go. It changes
// replica counts of controllers and what it notes about them, never what they
// deliver. It must not know how it is asked for, nor what is printed.
package adopt

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/dialect/flux"
)

const (
	// FieldManager writes what this package writes.
	FieldManager = "plumb-cli"
	// ReplicasAnnotation on a Deployment remembers how many replicas it had
	// before it was stopped.
	ReplicasAnnotation = "plumb.dev/replicas-before"

	labelManagedBy = "app.kubernetes.io/managed-by"

	// pageSize bounds one answer of the API server.
	pageSize = 500
)

// Cluster is the cluster whose deliverer is to change.
type Cluster struct {
	config  *rest.Config
	core    kubernetes.Interface
	dynamic dynamic.Interface
}

// Connect prepares a connection; it sends nothing.
func Connect(config *rest.Config) (*Cluster, error) {
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	return &Cluster{config: config, core: core, dynamic: dyn}, nil
}

// Controller is one of Flux's controllers.
type Controller struct {
	Component string // as Flux calls it
	Namespace string
	Name      string // of its Deployment
	Replicas  int32  // asked for now
	// Before is how many there were when Plumb took over; nil if it has not.
	Before *int32
	// Replaced: Plumb does its work, and it is to be stopped.
	Replaced bool
	// Operator: the Flux Operator keeps it as it is.
	Operator bool
	Args     []string
}

// Running reports whether it is meant to run.
func (c Controller) Running() bool { return c.Replicas > 0 }

// Back is how many replicas it has when Flux delivers again; not ok if it is
// left as it is. Where nothing is noted, because Plumb delivered it with none
// from the beginning, that is one, as Flux's manifests have it.
func (c Controller) Back() (replicas int32, ok bool) {
	switch {
	case c.Before != nil:
		return *c.Before, true
	case c.Replaced && !c.Running():
		return 1, true
	}
	return 0, false
}

// Controllers finds Flux's controllers in a namespace, "" for all: those that
// are to be stopped first, in that order, then the others by name.
func (c *Cluster) Controllers(ctx context.Context, namespace string) ([]Controller, error) {
	list, err := c.core.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{LabelSelector: app.LabelPartOf + "=" + flux.PartOf})
	if err != nil {
		return nil, err
	}
	var out []Controller
	for i := range list.Items {
		if d := &list.Items[i]; d.Labels[app.LabelName] != plumbName { // which may call itself a part of Flux, for its tools
			out = append(out, controllerOf(d))
		}
	}
	slices.SortStableFunc(out, func(a, b Controller) int { return place(a) - place(b) })
	return out, nil
}

func controllerOf(d *appsv1.Deployment) Controller {
	out := Controller{Component: app.ComponentOf(d.Name, d.Labels), Namespace: d.Namespace, Name: d.Name, Replicas: replicasOf(d), Args: argsOf(d)}
	out.Before = replicasBefore(d)
	out.Replaced = place(out) < len(flux.Replaced())
	out.Operator = d.Labels[labelManagedBy] == "flux-operator"
	return out
}

// replicasBefore reads the annotation; what is no number was not written by
// Plumb, and counts as one replica.
func replicasBefore(d *appsv1.Deployment) *int32 {
	text, found := d.Annotations[ReplicasAnnotation]
	if !found {
		return nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		n = 1
	}
	replicas := int32(n)
	return &replicas
}

// place is where a controller stands among those that are replaced, or behind
// them.
func place(c Controller) int {
	for i, w := range flux.Replaced() {
		if w.Component == c.Component {
			return i
		}
	}
	return len(flux.Replaced())
}

// Kinds lists what it works on, by the names that resources have: nothing if
// Plumb does not replace it.
func (c Controller) Kinds() []string {
	var out []string
	for _, k := range kinds() {
		if k.controller == c.Component {
			out = append(out, k.name)
		}
	}
	return out
}

// kind is one kind of Flux's resources, and which controller works on it.
type kind struct {
	controller string
	resource   schema.GroupVersionResource
	name       string
	// delivers: it is an app, and is to be compared. view reads one; without it
	// the kind counts as one that Plumb does not deliver.
	delivers bool
	view     func(*unstructured.Unstructured) app.View
}

// kinds lists what Flux's replaced controllers work on. Which of it Plumb does
// is asked of the controller package.
func kinds() []kind {
	at := func(group, version, resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
	}
	return []kind{
		{flux.KustomizeController, at(flux.KustomizeGroup, "v1", "kustomizations"), flux.KindKustomization, true, flux.View},
		{flux.HelmController, at(flux.HelmGroup, "v2", "helmreleases"), flux.KindHelmRelease, true, flux.ViewHelmRelease},
		{flux.SourceController, at(flux.SourceGroup, "v1", "gitrepositories"), flux.KindGitRepository, false, nil},
		{flux.SourceController, at(flux.SourceGroup, "v1", "ocirepositories"), "OCIRepository", false, nil},
		{flux.SourceController, at(flux.SourceGroup, "v1", "helmrepositories"), "HelmRepository", false, nil},
		{flux.SourceController, at(flux.SourceGroup, "v1", "helmcharts"), "HelmChart", false, nil},
		{flux.SourceController, at(flux.SourceGroup, "v1", "buckets"), "Bucket", false, nil},
	}
}

// Unserved is a kind whose resources nobody would work on any more.
type Unserved struct {
	Kind  string
	Count int
	Some  []string // namespace/name of the first few
}

// Resources is what Flux is asked to do.
type Resources struct {
	Apps     []*unstructured.Unstructured
	Unserved []Unserved
}

// Resources lists what Flux's replaced controllers work on in the cluster.
func (c *Cluster) Resources(ctx context.Context) (Resources, error) {
	const some = 3
	var out Resources
	for _, k := range kinds() {
		items, err := c.list(ctx, k.resource)
		if err != nil {
			return Resources{}, fmt.Errorf("%s: %w", k.resource.GroupResource(), err)
		}
		switch {
		case len(items) == 0:
		case !controller.Serves(k.resource.GroupResource()) || k.delivers && k.view == nil:
			u := Unserved{Kind: k.name, Count: len(items)}
			for _, item := range items[:min(len(items), some)] {
				u.Some = append(u.Some, item.GetNamespace()+"/"+item.GetName())
			}
			out.Unserved = append(out.Unserved, u)
		case k.delivers:
			out.Apps = append(out.Apps, items...)
		}
	}
	return out, nil
}

// list gives all of a kind; nothing if the cluster does not know it.
func (c *Cluster) list(ctx context.Context, resource schema.GroupVersionResource) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	opts := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := c.dynamic.Resource(resource).List(ctx, opts)
		switch {
		case apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, err
		}
		for i := range page.Items {
			out = append(out, &page.Items[i])
		}
		if opts.Continue = page.GetContinue(); opts.Continue == "" {
			return out, nil
		}
	}
}
