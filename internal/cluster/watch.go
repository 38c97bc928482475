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
	"plumb.dev/plumb/internal/pace"
)

// The kinds that other objects need to exist at all; they are always watched.
var (
	namespaceKind  = schema.GroupKind{Kind: "Namespace"}
	crdKind        = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	apiServiceKind = schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}
)

// How a watch that fails is tried again.
const (
	retryFirst   = 50 * time.Millisecond
	retryMost    = 5 * time.Second
	retryRefused = time.Minute      // at most, if the API server says no
	steady       = 10 * time.Second // a watch that ran so long had worked
	listFor      = 2 * time.Minute  // one page of a list
)

// errNotWatchable ends the watch of a kind that can only be read.
var errNotWatchable = errors.New("this kind cannot be watched")

// kindWatch keeps the store of one kind up to date.
type kindWatch struct {
	store *store
	pace  pace.Pacer
	kick  chan struct{} // something happened that makes another try worthwhile

	mu     sync.Mutex
	synced bool
	err    error         // why it is not, of the last try
	tried  chan struct{} // closed and renewed whenever synced or err is set
	open   bool          // a watch runs
	failed error         // why the last one could not be opened
	since  time.Time     // when open last changed
}

// track makes sure that a kind is watched.
func (c *Cluster) track(gk schema.GroupKind) *kindWatch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k := c.kinds[gk]; k != nil {
		return k
	}
	k := &kindWatch{kick: make(chan struct{}, 1), tried: make(chan struct{}), since: time.Now()}
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
			k.again()
		}
	}
}

// again has a watch that waits for its next try make it now.
func (k *kindWatch) again() {
	select {
	case k.kick <- struct{}{}:
	default:
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
		began := time.Now()
		info, found, err := c.discovery.lookup(ctx, gk)
		if err == nil && (!found || !info.watchable) {
			// Only discovery can tell that a kind is gone, and its objects with
			// it: a watch also ends for good when a version is served no more.
			k.store.reset()
			reflector, err = nil, errNotServed
			if found {
				err = errNotWatchable
			}
		} else if err == nil {
			if gvr := info.gvr(gk.Group, ""); reflector == nil || gvr != resource {
				resource = gvr
				reflector = c.reflector(gvr, k)
			}
			err = reflector.ListAndWatchWithContext(ctx)
		}
		if err == nil && time.Since(began) > steady { // the history expired, or the server was restarted
			delay = retryFirst
			continue
		}
		most := retryMost
		switch {
		case err == nil: // it ends as soon as it begins
		case apierrors.IsNotFound(err):
			c.discovery.invalidate(gk.Group)
			k.set(false, errNotServed)
		case errors.Is(err, errNotServed), errors.Is(err, errNotWatchable):
			k.set(false, err)
			if !c.discovery.changing(gk.Group) {
				delay, most = discoveryFor, discoveryFor // a change of definitions is told
			}
		default:
			k.set(false, err)
			if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
				most = retryRefused
			}
		}
		retry := time.NewTimer(wait.Jitter(delay, 0.2))
		select {
		case <-ctx.Done():
		case <-retry.C:
			delay = min(2*delay, most)
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
			k.opening()
			k.pace.Wait(ctx)
			w, err := client.Watch(ctx, options)
			k.opened(err)
			return w, err
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

// opening and opened note whether the watch runs.
func (k *kindWatch) opening() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open {
		k.open, k.since = false, time.Now()
	}
}

func (k *kindWatch) opened(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = err
	if err == nil {
		k.open, k.since = true, time.Now()
	}
}

// condition tells how the watch fares. A kind that is not served has no
// objects, and one that cannot be watched is read: neither is stale.
func (k *kindWatch) condition() WatchCondition {
	objects := k.store.size()
	k.mu.Lock()
	defer k.mu.Unlock()
	out := WatchCondition{Live: k.synced && k.open, Since: k.since, Objects: objects}
	switch {
	case errors.Is(k.err, errNotServed), errors.Is(k.err, errNotWatchable):
		out.Live = true
	case !out.Live && k.err != nil:
		out.Err = k.err
	case !out.Live:
		out.Err = k.failed
	}
	return out
}

// ready waits until the store is filled. If it is not because an attempt
// failed, the next attempt is made at once, and decides.
func (k *kindWatch) ready(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		k.again()
	}
	for first := true; !k.synced; first = false {
		if k.err != nil && !first {
			f := Classify("observation", k.every(), object.Origin{}, k.err)
			if apierrors.IsForbidden(k.err) {
				f.Hint = "let the credentials list and watch this kind in all namespaces, by a ClusterRole: rights in some alone are not enough, as each kind is watched in one piece"
			}
			return f
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
