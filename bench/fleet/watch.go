package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
)

// watching follows the objects of one kind and notes when each became what is
// expected of it.
type watching struct {
	mu       sync.Mutex
	latest   map[string]seen // by namespace/name
	expected map[string]expectation
}

type seen struct {
	object *unstructured.Unstructured
	at     time.Time
}

type expectation struct {
	ok   func(*unstructured.Unstructured) bool
	done chan time.Time // has room for one
}

// watch returns when what exists has been read. It ends with ctx.
func watch(ctx context.Context, client dynamic.Interface, gvr schema.GroupVersionResource, namespace, selector string) (*watching, error) {
	w := &watching{latest: map[string]seen{}, expected: map[string]expectation{}}
	informer := dynamicinformer.NewFilteredDynamicInformer(client, gvr, namespace, 0, cache.Indexers{},
		func(o *metav1.ListOptions) { o.LabelSelector = selector }).Informer()
	handler := cache.ResourceEventHandlerFuncs{AddFunc: w.saw, UpdateFunc: func(_, o any) { w.saw(o) }}
	if _, err := informer.AddEventHandler(handler); err != nil {
		return nil, err
	}
	err := informer.SetWatchErrorHandlerWithContext(func(_ context.Context, r *cache.Reflector, err error) {
		if ctx.Err() == nil {
			cache.DefaultWatchErrorHandler(ctx, r, err)
		}
	})
	if err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, fmt.Errorf("%s cannot be watched: %w", gvr.Resource, context.Cause(ctx))
	}
	return w, nil
}

func (w *watching) saw(o any) {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	key, now := u.GetNamespace()+"/"+u.GetName(), time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest[key] = seen{u, now}
	if e, ok := w.expected[key]; ok && e.ok(u) {
		delete(w.expected, key)
		e.done <- now
	}
}

// expect gives the time at which an object is seen as expected, which may be
// now. One expectation at a time is kept of an object.
func (w *watching) expect(namespace, name string, ok func(*unstructured.Unstructured) bool) <-chan time.Time {
	key, done := namespace+"/"+name, make(chan time.Time, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if last, there := w.latest[key]; there && ok(last.object) {
		done <- last.at
		return done
	}
	w.expected[key] = expectation{ok, done}
	return done
}

// version is the resourceVersion as a number, by which versions of one kind
// may be compared.
func version(u *unstructured.Unstructured) uint64 {
	n, err := strconv.ParseUint(u.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
