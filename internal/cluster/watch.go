package cluster

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"plumb.dev/plumb/internal/object"
)

// The kinds that other objects need to exist at all; they are always watched.
var (
	namespaceKind  = schema.GroupKind{Kind: "Namespace"}
	crdKind        = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	apiServiceKind = schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}
)

// How a watch that fails is tried again.
const (
	retryFirst = 50 * time.Millisecond
	retryMost  = 5 * time.Second
	listFor    = 2 * time.Minute // one page of a list
)

// kindWatch keeps the store of one kind up to date.
type kindWatch struct {
	store *store
	kick  chan struct{} // something happened that makes another try worthwhile

	mu     sync.Mutex
	synced bool
	err    error         // why it is not, of the last try
	tried  chan struct{} // closed and renewed whenever synced or err is set
}

// track makes sure that a kind is watched.
func (c *Cluster) track(gk schema.GroupKind) *kindWatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.kinds[gk]; k != nil {
		return k
	}
	k := &kindWatch{kick: make(chan struct{}, 1), tried: make(chan struct{})}
	k.store = newStore(gk, keeper{c.opts.Managers, c.opts.Keys, c.opts.Strip})
	k.store.event, k.store.wake = c.opts.OnEvent, c.waiters.wake
	k.store.all = gk == crdKind || gk == namespaceKind
	if gk == crdKind || gk == apiServiceKind {
		k.store.seen = c.definitionChanged
	}
	c.kinds[gk] = k
	c.tasks.Go(func() { c.keepWatching(gk, k) })
	return k
}

// tracked gives the watch of a kind if there is one.
func (c *Cluster) tracked(gk schema.GroupKind) *kindWatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kinds[gk]
}

// definitionChanged makes discovery ask again for the group that a
// CustomResourceDefinition (plural.group) or APIService (version.group)
// defines, and tries watches of that group anew that had failed. An empty name
// stands for all.
func (c *Cluster) definitionChanged(name string) {
	_, groupName, ok := strings.Cut(name, ".")
	if !ok {
		c.discovery.invalidateAll()
	} else {
		c.discovery.invalidate(groupName)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for gk, k := range c.kinds {
		if !ok || gk.Group == groupName {
			select {
			case k.kick <- struct{}{}:
			default:
			}
		}
	}
}

// keepWatching lists and watches a kind until the cluster is closed.
func (c *Cluster) keepWatching(gk schema.GroupKind, k *kindWatch) {
	// What goes wrong is kept in k.err and told to who asks; client-go would
	// log it.
	ctx := klog.NewContext(c.ctx, logr.Discard())
	var (
		reflector *cache.Reflector
		resource  schema.GroupVersionResource
		delay     = retryFirst
	)
	for ctx.Err() == nil {
		info, found, err := c.discovery.lookup(ctx, gk)
		switch {
		case err == nil && !found:
			err = errNotServed
		case err == nil:
			if gvr := info.gvr(gk.Group, ""); reflector == nil || gvr != resource {
				resource = gvr
				reflector = c.reflector(gvr, k)
			}
			err = reflector.ListAndWatchWithContext(ctx)
		}
		if err == nil { // it had worked: a watch that ended, or a history that expired
			delay = retryFirst
			continue
		}
		if apierrors.IsNotFound(err) || errors.Is(err, errNotServed) {
			c.discovery.invalidate(gk.Group)
			k.store.reset()
			reflector, err = nil, errNotServed
		}
		k.set(false, err)
		retry := time.NewTimer(wait.Jitter(delay, 0.2))
		select {
		case <-ctx.Done():
		case <-retry.C:
			delay = min(2*delay, retryMost)
		case <-k.kick:
			delay = retryFirst
		}
		retry.Stop()
	}
}

func (c *Cluster) reflector(gvr schema.GroupVersionResource, k *kindWatch) *cache.Reflector {
	client := c.meta.Resource(gvr)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			ctx, cancel := context.WithTimeout(ctx, listFor)
			defer cancel()
			return client.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, options)
		},
	}
	return cache.NewReflectorWithOptions(cache.ToListWatcherWithWatchListSemantics(lw, c.meta), &metav1.PartialObjectMetadata{},
		announcing{k.store, k}, cache.ReflectorOptions{
			Name:            gvr.String(),
			TypeDescription: gvr.String(),
			// While the API server is away the watch is tried again in here.
			Backoff: &wait.Backoff{Duration: retryFirst, Factor: 2, Jitter: 0.2, Steps: 10, Cap: retryMost},
		})
}

// announcing tells a watch's waiters once its store is filled.
type announcing struct {
	*store
	watch *kindWatch
}

// Replace implements cache.ReflectorStore.
func (a announcing) Replace(list []any, version string) error {
	err := a.store.Replace(list, version)
	a.watch.set(true, nil)
	return err
}

func (k *kindWatch) set(synced bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.synced, k.err = synced, err
	close(k.tried)
	k.tried = make(chan struct{})
}

// ready waits until the store is filled. If it is not because an attempt
// failed, the next attempt is made at once, and decides.
func (k *kindWatch) ready(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		select {
		case k.kick <- struct{}{}:
		default:
		}
	}
	for first := true; !k.synced; first = false {
		if k.err != nil && !first {
			return Classify("observation", k.every(), object.Origin{}, k.err)
		}
		tried := k.tried
		k.mu.Unlock()
		select {
		case <-tried:
		case <-ctx.Done():
		}
		k.mu.Lock()
		if !k.synced && ctx.Err() != nil {
			return stopped(ctx, "observation", k.every())
		}
	}
	return nil
}

// every stands for all objects of the kind in messages.
func (k *kindWatch) every() object.Ref {
	return object.Ref{Group: k.store.kind.Group, Kind: k.store.kind.Kind, Name: "*"}
}
