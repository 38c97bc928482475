// Package controller joins the engine to the Kubernetes API: it watches the
// custom resources, decodes them by their dialect, feeds the engine, and
// writes what the engine reports as statuses and events. It must not know how
// an app is delivered, nor what a status means: the first is the engine's, the
// second the dialect's business.
package controller

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/pace"
	"plumb.dev/plumb/internal/shard"
)

// Engine is what the controller feeds.
type Engine interface {
	SetSource(app.Source)
	RemoveSource(app.SourceID)
	SetCluster(app.Cluster)
	RemoveCluster(id string)
	SetApp(app.Spec)
	RemoveApp(app.ID)
	// Of several replicas: what others deliver, what this one gives up, and
	// that nothing it knows of the sources is known to be new.
	SetElsewhere(app.Spec)
	Release(...app.ID)
	Relook()
	Start()
}

// Options are what a controller is made of.
type Options struct {
	Config *rest.Config
	Log    *slog.Logger
	// ControlNamespace is where the Argo CD dialect keeps projects and the
	// Secrets of repositories and clusters; "" means argocd.
	ControlNamespace string
	// Tenancy is what is demanded of apps of the Flux dialect.
	Tenancy flux.Tenancy
	// Shared: other replicas may serve the cluster. Nothing is worked on
	// before Widen says what.
	Shared bool
}

// Controller watches and writes the custom resources of one cluster.
type Controller struct {
	opts     Options
	log      *slog.Logger
	dynamic  dynamic.Interface
	core     kubernetes.Interface
	metadata metadata.Interface
	recorder record.EventRecorderLogger
	events   record.EventBroadcaster
	argo     argo.Options
	// inPlaceOf is the same for all apps.
	inPlaceOf *app.StandIn
	engine    Engine
	ctx       context.Context // of Run
	running   chan struct{}   // closed when there is one

	// feeding makes it one step to look whether a resource is still the latest
	// and to tell the engine of it: what is old, or gone, must not come last.
	feeding sync.Mutex

	// sharing is held while the share changes. wanted is the share that this
	// replica has among the others; held: nothing of it is worked on now.
	sharing sync.Mutex
	wanted  shard.Share
	held    bool
	waiting atomic.Pointer[string] // see Waiting

	mu      sync.Mutex
	share   shard.Share // what this replica works on
	reads   map[app.ID][]app.SourceID
	latest  map[resourceKey]*kept            // the newest version seen or written
	readers map[app.SourceID]map[app.ID]bool // apps of this replica that a source is kept for
	inline  map[app.ID]app.SourceID
	secrets map[string]argo.SecretData
	// registered are the clusters of each Secret, and repositories the
	// credentials of all; nil if they are to be found out again.
	registered   map[string][]argo.Cluster
	repositories *argo.Repositories
	heeded       map[resourceKey]heededSecrets
	spared       map[types.UID]bool              // of resources that are being deleted: what they delivered stays
	charts       map[app.ID]map[resourceKey]bool // HelmCharts by the HelmRelease they are kept for
	// clusters are those that secrets register; told the ones that the engine
	// knows of.
	clusters    []argo.Cluster
	told        map[string]bool
	kubeconfigs *kubeconfigs
	asides      chan struct{} // bounds writes beside the watches
	writes      sync.Map      // resourceKey → *sync.Mutex: one status writer at a time
}

// resourceKey names a custom resource.
type resourceKey struct {
	resource        schema.GroupVersionResource
	namespace, name string
}

func keyOf(gvr schema.GroupVersionResource, u metav1.Object) resourceKey {
	return resourceKey{gvr, u.GetNamespace(), u.GetName()}
}

// New makes a controller. Use must be called before Run.
func New(opts Options) (*Controller, error) {
	config := rest.CopyConfig(opts.Config)
	config.QPS = -1
	config.WarningHandlerWithContext = rest.NoWarnings{}
	client, err := rest.HTTPClientFor(config) // one for both
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	dyn, err := dynamic.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	binary := rest.CopyConfig(config) // cheaper to read and write than JSON
	binary.ContentType, binary.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	core, err := kubernetes.NewForConfigAndClient(binary, client)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	meta, err := metadata.NewForConfigAndClient(metadata.ConfigFor(config), client)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	share := shard.All()
	if opts.Shared {
		share = shard.Share{}
	}
	c := &Controller{
		share: share, wanted: share, reads: map[app.ID][]app.SourceID{}, running: make(chan struct{}),
		opts: opts, log: opts.Log, dynamic: dyn, core: core, metadata: meta, spared: map[types.UID]bool{},
		argo: argo.Options{ControlNamespace: opts.ControlNamespace}, inPlaceOf: newStandIn(),
		latest:  map[resourceKey]*kept{},
		readers: map[app.SourceID]map[app.ID]bool{}, inline: map[app.ID]app.SourceID{},
		secrets: map[string]argo.SecretData{}, registered: map[string][]argo.Cluster{}, heeded: map[resourceKey]heededSecrets{}, charts: map[app.ID]map[resourceKey]bool{}, told: map[string]bool{}, asides: make(chan struct{}, 8),
	}
	c.kubeconfigs = newKubeconfigs(c)
	return c, nil
}

// Use says which engine is fed.
func (c *Controller) Use(e Engine) { c.engine = e }

// watch is one kind of resource that is watched.
type watch struct {
	resource schema.GroupVersionResource
	selector string
	set      func(*unstructured.Unstructured)
	removed  func(*unstructured.Unstructured)
}

// Serves reports whether Plumb works on resources of a kind.
func Serves(kind schema.GroupResource) bool {
	for _, w := range (&Controller{}).watches() {
		if w.resource.GroupResource() == kind {
			return true
		}
	}
	return false
}

// watches lists all that is watched, what others refer to first.
func (c *Controller) watches() []watch {
	out := []watch{
		{secretResource, controlSecrets, c.setSecret, c.removedSecret},
		{projectResource, "", c.setProject, c.removedProject},
	}
	for _, k := range sourceKinds() {
		out = append(out, watch{k.resource, "",
			func(u *unstructured.Unstructured) { c.foundSource(k, u) }, func(u *unstructured.Unstructured) { c.removedSource(k, u) }})
	}
	return append(out,
		watch{kustomizationResource, "", c.setKustomization, c.removedKustomization},
		watch{helmReleaseResource, "", c.setHelmRelease, c.removedHelmRelease},
		watch{applicationResource, "", c.setApplication, c.removedApplication},
		watch{applicationSetResource, "", c.setApplicationSet, c.forget(applicationSetResource)})
}

// Run watches until ctx ends. The engine is started when everything that
// exists has been told to it.
func (c *Controller) Run(ctx context.Context) error {
	c.ctx = ctx
	c.startEvents()
	defer c.events.Shutdown()
	c.awaitPredecessors(ctx) // before anything is written
	c.awaitDefinitions(ctx)
	close(c.running)
	for _, w := range c.watches() {
		informer := c.informer(w)
		told, err := informer.AddEventHandler(c.handler(w))
		if err != nil {
			return fmt.Errorf("watching %s: %w", w.resource.Resource, err)
		}
		go informer.RunWithContext(ctx)
		if !cache.WaitFor(ctx, "", told.HasSyncedChecker()) {
			return nil
		}
	}
	c.engine.Start()
	c.heedPredecessors(ctx)
	<-ctx.Done()
	return nil
}

func (c *Controller) informer(w watch) cache.SharedIndexInformer {
	client := c.dynamic.Resource(w.resource)
	selected := func(o metav1.ListOptions) metav1.ListOptions {
		o.LabelSelector = w.selector
		return o
	}
	informer := cache.NewSharedIndexInformerWithOptions(cache.ToListWatcherWithWatchListSemantics(new(pace.Pacer).Watches(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, selected(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			return client.Watch(ctx, selected(o))
		},
	}), c.dynamic), &unstructured.Unstructured{}, cache.SharedIndexInformerOptions{ObjectDescription: w.resource.String()})
	_ = informer.SetTransform(func(o any) (any, error) {
		if u, ok := o.(*unstructured.Unstructured); ok {
			return keptOf(u)
		}
		return o, nil // done before
	})
	_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			c.log.Warn("watch interrupted", "resource", w.resource.Resource, "error", err)
		}
	})
	return informer
}

func (c *Controller) handler(w watch) cache.ResourceEventHandler {
	set := func(o any) {
		k := o.(*kept)
		u := k.open()
		c.mu.Lock()
		if key := keyOf(w.resource, u); w.resource != secretResource && !c.latest[key].newerThan(k) {
			c.latest[key] = k // which the informer keeps too
		}
		c.mu.Unlock()
		w.set(u)
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc: set,
		UpdateFunc: func(before, o any) {
			// A list that is read anew, because the history of a watch has
			// expired, tells of everything.
			if was, now := before.(*kept), o.(*kept); was.UID != now.UID || was.ResourceVersion != now.ResourceVersion {
				set(o)
			}
		},
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			w.removed(o.(*kept).open())
		},
	}
}

// note keeps u if it is the newest version of its resource, and reports
// whether it is.
func (c *Controller) note(gvr schema.GroupVersionResource, u *unstructured.Unstructured) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyOf(gvr, u)
	old := c.latest[key]
	if old != nil && old.UID == u.GetUID() && old.ResourceVersion == u.GetResourceVersion() {
		return true
	}
	k, err := keptOf(u)
	if err != nil {
		c.log.Error("resource cannot be remembered, and is passed over", "error", err)
		return false
	}
	if old.newerThan(k) {
		return false
	}
	c.latest[key] = k
	return true
}

// renew keeps what the API server answered to a write, unless the resource is
// gone by now, or another one.
func (c *Controller) renew(gvr schema.GroupVersionResource, u *unstructured.Unstructured) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := keyOf(gvr, u)
	old := c.latest[key]
	if old == nil || old.UID != u.GetUID() {
		return
	}
	k, err := keptOf(u)
	if err != nil {
		c.log.Error("resource cannot be remembered as it was written", "error", err)
		return
	}
	if !old.newerThan(k) {
		c.latest[key] = k
	}
}

// feed runs tell if u still counts: if nothing newer of it is known.
func (c *Controller) feed(gvr schema.GroupVersionResource, u *unstructured.Unstructured, tell func()) {
	c.feeding.Lock()
	defer c.feeding.Unlock()
	c.mu.Lock()
	now := c.latest[keyOf(gvr, u)]
	c.mu.Unlock()
	if now != nil && now.UID == u.GetUID() && now.ResourceVersion == u.GetResourceVersion() {
		tell()
	}
}

// aside runs a write that the watch need not wait for; some at a time.
func (c *Controller) aside(write func()) {
	c.asides <- struct{}{}
	defer func() { <-c.asides }()
	write()
}

// again takes a resource up once more in a while, after a write that failed:
// the watch need not bring it again.
func (c *Controller) again(gvr schema.GroupVersionResource, u *unstructured.Unstructured, set func(*unstructured.Unstructured)) {
	const after = 2 * time.Second
	time.AfterFunc(after, func() {
		now := c.find(gvr, u.GetNamespace(), u.GetName())
		if now != nil && now.GetUID() == u.GetUID() && c.ctx.Err() == nil {
			set(now)
		}
	})
}

func (c *Controller) find(gvr schema.GroupVersionResource, namespace, name string) *unstructured.Unstructured {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest[resourceKey{gvr, namespace, name}].open()
}

func (c *Controller) forget(gvr schema.GroupVersionResource) func(*unstructured.Unstructured) {
	return func(u *unstructured.Unstructured) {
		c.mu.Lock()
		defer c.mu.Unlock()
		key := keyOf(gvr, u)
		if old := c.latest[key]; old != nil && old.UID == u.GetUID() {
			delete(c.latest, key)
			delete(c.spared, u.GetUID())
			c.writes.Delete(key)
		}
	}
}

// request bounds one request to the API server.
func (c *Controller) request(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 30*time.Second)
}
