package up

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
)

const (
	// healthyWithin is how long the apps may take before `up` goes on without
	// them.
	healthyWithin = 2 * time.Minute
	// resigned is how long to wait if no app is at work and some have failed:
	// they may yet be tried again.
	resigned = 10 * time.Second
)

// watched is a kind of app, or of source, and how to read it. It knows what
// there is now.
type watched struct {
	resource schema.GroupVersionResource
	view     func(*unstructured.Unstructured) app.View
}

// apps is what is known of all apps of the cluster.
type apps struct {
	mu      sync.Mutex
	known   map[string]app.View // by kind/namespace/name
	changed chan struct{}       // holds one element after a change
}

// follow watches all apps until ctx ends, and returns when it knows those that
// exist.
func follow(ctx context.Context, c *cluster) (*apps, error) {
	a := &apps{known: map[string]app.View{}, changed: make(chan struct{}, 1)}
	for _, kind := range []watched{{kustomizations, flux.View}, {applications, argo.View}, {gitRepositories, sourceView}} {
		informer := dynamicinformer.NewDynamicSharedInformerFactory(c.objects, 0).ForResource(kind.resource).Informer()
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { a.set(kind, o, false) },
			UpdateFunc: func(_, o any) { a.set(kind, o, false) },
			DeleteFunc: func(o any) { a.set(kind, o, true) },
		})
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", kind.resource.Resource, err)
		}
		go informer.RunWithContext(ctx)
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return nil, context.Cause(ctx)
		}
	}
	return a, nil
}

// sourceView is as much of a source as the wait for apps looks at.
func sourceView(u *unstructured.Unstructured) app.View {
	v := flux.ViewSource(u)
	return app.View{
		ID:        app.ID{Kind: v.ID.Kind, Namespace: v.ID.Namespace, Name: v.ID.Name},
		Suspended: v.Suspended, State: v.State, Reason: v.Reason, Message: v.Message,
	}
}

func (a *apps) set(kind watched, o any, gone bool) {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return
	}
	v := kind.view(u)
	key := fmt.Sprintf("%s/%s/%s", v.ID.Kind, v.ID.Namespace, v.ID.Name)
	a.mu.Lock()
	if gone {
		delete(a.known, key)
	} else {
		a.known[key] = v
	}
	a.mu.Unlock()
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// standing sorts what is known: how many are well, who is at work, who has
// failed.
func (a *apps) standing() (well int, running, failed []app.View) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range a.known {
		switch {
		case v.Suspended, v.State == app.StateReady, v.State == app.StateDiffers:
			well++
		case v.State == app.StateFailed:
			failed = append(failed, v)
		default:
			running = append(running, v)
		}
	}
	byName := func(a, b app.View) int {
		return strings.Compare(a.ID.Namespace+"/"+a.ID.Name, b.ID.Namespace+"/"+b.ID.Name)
	}
	slices.SortFunc(running, byName)
	slices.SortFunc(failed, byName)
	return well, running, failed
}

// settle waits until all are well, those included that the first ones deliver.
// It resigns if some fail, or take too long, and returns these.
func (a *apps) settle(ctx context.Context, detail func(string)) (well int, unwell []app.View, err error) {
	limit := time.NewTimer(healthyWithin)
	defer limit.Stop()
	for {
		well, running, failed := a.standing()
		if len(running)+len(failed) == 0 {
			return well, nil, nil
		}
		var quiet <-chan time.Time
		if len(running) == 0 {
			quiet = time.After(resigned)
		}
		detail(names(append(running, failed...)))
		select {
		case <-a.changed:
		case <-quiet:
			return well, failed, nil
		case <-limit.C:
			return well, append(failed, running...), nil
		case <-ctx.Done():
			return well, nil, context.Cause(ctx)
		}
	}
}

func names(views []app.View) string {
	var list []string
	for _, v := range views {
		list = append(list, v.ID.Name)
	}
	if len(list) > 5 {
		list = append(list[:5], fmt.Sprintf("%d more", len(views)-5))
	}
	return strings.Join(list, ", ")
}
