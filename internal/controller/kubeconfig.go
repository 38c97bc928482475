package controller

import (
	"context"
	"sync"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

// kubeconfigs follows the Secrets and ConfigMaps that Kustomizations and
// HelmReleases reach other clusters by. Each is watched by its name, as long as
// one names it: others are nobody's business here.
type kubeconfigs struct {
	c *Controller

	mu      sync.Mutex
	used    map[app.ID]flux.KubeConfigRef
	watched map[flux.KubeConfigRef]*followed
}

// followed is a Secret or ConfigMap that is watched for some apps.
type followed struct {
	stop  context.CancelFunc
	users map[app.ID]bool
}

func newKubeconfigs(c *Controller) *kubeconfigs {
	return &kubeconfigs{c: c, used: map[app.ID]flux.KubeConfigRef{}, watched: map[flux.KubeConfigRef]*followed{}}
}

// use says which of them an app names now; the zero reference is none.
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

// tell tells the engine of a cluster, if what says how it is reached is still followed.
func (k *kubeconfigs) tell(ctx context.Context, c app.Cluster) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ctx.Err() == nil {
		k.c.engine.SetCluster(c)
	}
}
