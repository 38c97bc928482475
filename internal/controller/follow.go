package controller

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/pace"
)

// follow watches what ref names until ctx ends, and tells the engine what it
// says.
func (k *kubeconfigs) follow(ctx context.Context, ref flux.KubeConfigRef) {
	core := k.c.core.CoreV1()
	if ref.ConfigMap {
		a := &account{k: k, ctx: ctx, ref: ref}
		followOne(ctx, k.c, core.ConfigMaps(ref.Namespace), ref.Name, &corev1.ConfigMap{},
			func(cm *corev1.ConfigMap) { a.configured(ref.Tokens(configured(cm), k.c.opts.Tenancy)) },
			func(err error) { a.configured(unreadable(ref, "ConfigMap", ref.Name, err)) })
		return
	}
	followOne(ctx, k.c, core.Secrets(ref.Namespace), ref.Name, &corev1.Secret{},
		func(s *corev1.Secret) { k.tell(ctx, ref.Cluster(secretData(s))) },
		func(err error) { k.tell(ctx, unreadable(ref, "secret", ref.Name, err)) })
}

// secretData and configured give nil for what is not there, and for nothing
// else.
func secretData(s *corev1.Secret) map[string][]byte {
	switch {
	case s == nil:
		return nil
	case s.Data == nil:
		return map[string][]byte{}
	}
	return s.Data
}

func configured(cm *corev1.ConfigMap) map[string]string {
	switch {
	case cm == nil:
		return nil
	case cm.Data == nil:
		return map[string]string{}
	}
	return cm.Data
}

func unreadable(ref flux.KubeConfigRef, kind, name string, err error) app.Cluster {
	return app.Cluster{ID: ref.ID(), Err: app.Fail(app.StageObserve, app.ReasonForbidden,
		"unable to read KubeConfig %s '%s/%s': %w", kind, ref.Namespace, name, err).
		WithHint("let Plumb get, list and watch them in this namespace")}
}

// account follows the service account that a ConfigMap names: without it there
// are no tokens, and another of the same name is somebody else.
type account struct {
	k   *kubeconfigs
	ctx context.Context
	ref flux.KubeConfigRef

	mu   sync.Mutex
	way  app.Cluster // what the ConfigMap says
	name string      // of the account that is followed; "" is none
	stop context.CancelFunc
	// What is known of it, if anything yet.
	known bool
	uid   string
	err   error
}

// configured takes what the ConfigMap says now.
func (a *account) configured(way app.Cluster) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.way = way
	name := ""
	if way.Err == nil {
		name = way.Access.Tokens.Name
	}
	if name != a.name {
		if a.stop != nil {
			a.stop()
		}
		a.name, a.stop, a.known, a.uid, a.err = name, nil, false, "", nil
		if name != "" {
			var ctx context.Context
			ctx, a.stop = context.WithCancel(a.ctx)
			go followOne(ctx, a.k.c, a.k.c.core.CoreV1().ServiceAccounts(a.ref.Namespace), name, &corev1.ServiceAccount{},
				func(s *corev1.ServiceAccount) {
					if s == nil {
						a.found(ctx, "", nil)
					} else {
						a.found(ctx, string(s.UID), nil)
					}
				},
				func(err error) { a.found(ctx, "", err) })
		}
	}
	a.tellLocked()
}

// found takes what is known of the account, if ctx is still that of the one
// that is followed.
func (a *account) found(ctx context.Context, uid string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() == nil {
		a.known, a.uid, a.err = true, uid, err
		a.tellLocked()
	}
}

func (a *account) tellLocked() {
	switch {
	case a.name == "": // none is needed, or it is not known which
		a.k.tell(a.ctx, a.way)
	case a.known && a.err != nil:
		a.k.tell(a.ctx, unreadable(a.ref, "ServiceAccount", a.name, a.err))
	case a.known:
		a.k.tell(a.ctx, a.ref.Account(a.way, a.uid))
	}
}

// namedOnes are the resources of a kind in a namespace.
type namedOnes[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (apiwatch.Interface, error)
}

// followOne watches one resource by its name until ctx ends. said is told what
// it is, and again whenever that changes: nil if it does not exist. refused is
// told that it may not be read.
func followOne[T any, L runtime.Object](ctx context.Context, c *Controller, of namedOnes[L], name string, example *T, said func(*T), refused func(error)) {
	named := func(o metav1.ListOptions) metav1.ListOptions {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
		return o
	}
	var informer cache.SharedInformer
	var looking sync.Mutex
	look := func() { // what is stored is at least as new as what this is called for
		looking.Lock()
		defer looking.Unlock()
		for _, o := range informer.GetStore().List() {
			if one, ok := o.(*T); ok {
				said(one)
				return
			}
		}
		said(nil)
	}
	var denied atomic.Bool
	informer = cache.NewSharedInformer(cache.ToListWatcherWithWatchListSemantics(new(pace.Pacer).Watches(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return of.List(ctx, named(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			w, err := of.Watch(ctx, named(o))
			if err == nil && informer.HasSynced() && denied.Swap(false) {
				look() // there may be no news of it
			}
			return w, err
		},
	}), c.core), any(example).(runtime.Object), 0)
	_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil && apierrors.IsForbidden(err) {
			denied.Store(true)
			refused(err)
		}
	})
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { look() },
		UpdateFunc: func(any, any) { look() },
		DeleteFunc: func(any) { look() },
	})
	if err != nil {
		return // it was stopped already
	}
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			look()
		}
	}()
	informer.RunWithContext(klog.NewContext(ctx, logr.Discard()))
}
