package controller

import (
	"context"
	"sync"

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
)

// kubeconfigs follows the Secrets that Kustomizations reach other clusters by.
// Each is watched by its name, as long as a Kustomization names it: other
// Secrets are nobody's business here.
type kubeconfigs struct {
	c *Controller

	mu      sync.Mutex
	used    map[app.ID]flux.KubeConfigRef
	watched map[flux.KubeConfigRef]*followed
}

// followed is a Secret that is watched for some Kustomizations.
type followed struct {
	stop  context.CancelFunc
	users map[app.ID]bool
}

func newKubeconfigs(c *Controller) *kubeconfigs {
	return &kubeconfigs{c: c, used: map[app.ID]flux.KubeConfigRef{}, watched: map[flux.KubeConfigRef]*followed{}}
}

// use says which Secret an app names now; the zero reference is none.
func (k *kubeconfigs) use(id app.ID, ref flux.KubeConfigRef) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, had := k.used[id]
	if had && old == ref {
		return
	}
	if ref != (flux.KubeConfigRef{}) {
		k.used[id] = ref
		f := k.watched[ref]
		if f == nil {
			ctx, stop := context.WithCancel(k.c.ctx)
			f = &followed{stop: stop, users: map[app.ID]bool{}}
			k.watched[ref] = f
			go k.follow(ctx, ref)
		}
		f.users[id] = true
	} else {
		delete(k.used, id)
	}
	if !had {
		return
	}
	f := k.watched[old]
	delete(f.users, id)
	if len(f.users) == 0 {
		f.stop()
		delete(k.watched, old)
		k.c.engine.RemoveCluster(old.ID())
	}
}

// tell tells the engine of a cluster, if its Secret is still followed.
func (k *kubeconfigs) tell(ctx context.Context, c app.Cluster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() == nil {
		k.c.engine.SetCluster(c)
	}
}

// follow watches a Secret until ctx ends, and tells the engine what it says.
func (k *kubeconfigs) follow(ctx context.Context, ref flux.KubeConfigRef) {
	secrets := k.c.core.CoreV1().Secrets(ref.Namespace)
	named := func(o metav1.ListOptions) metav1.ListOptions {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, ref.Name).String()
		return o
	}
	informer := cache.NewSharedInformer(cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return secrets.List(ctx, named(o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			return secrets.Watch(ctx, named(o))
		},
	}, k.c.core), &corev1.Secret{}, 0)
	_ = informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil && apierrors.IsForbidden(err) {
			k.tell(ctx, app.Cluster{ID: ref.ID(), Err: app.Fail(app.StageObserve, app.ReasonForbidden,
				"unable to read KubeConfig secret '%s/%s': %w", ref.Namespace, ref.Name, err).
				WithHint("let Plumb get, list and watch Secrets in this namespace")})
		}
	})
	set := func(o any) {
		if s, ok := o.(*corev1.Secret); ok {
			data := s.Data
			if data == nil {
				data = map[string][]byte{}
			}
			k.tell(ctx, ref.Cluster(data))
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    set,
		UpdateFunc: func(_, o any) { set(o) },
		DeleteFunc: func(any) { k.tell(ctx, ref.Cluster(nil)) },
	})
	if err != nil {
		return // it was stopped already
	}
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) && len(informer.GetStore().ListKeys()) == 0 {
			k.tell(ctx, ref.Cluster(nil))
		}
	}()
	informer.RunWithContext(klog.NewContext(ctx, logr.Discard()))
}
