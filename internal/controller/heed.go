package controller

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

// maxHeeded bounds the Secrets that are watched. Beyond it a corrected one is
// found when its source is tried again.
const maxHeeded = 50

// heed watches the Secret of a GitRepository whose credentials were refused,
// or are missing, until a look at it succeeds: whoever corrects the Secret need
// not wait for the next try. Secrets of sources that are well are not watched.
func (c *Controller) heed(u *unstructured.Unstructured, failure *app.Failure) {
	key := keyOf(gitRepositoryResource, u)
	name, secret := flux.SecretRef(u)
	wanted := secret && failure != nil && failure.Reason == app.ReasonAuthentication
	c.mu.Lock()
	defer c.mu.Unlock()
	old, heeded := c.heeded[key]
	if heeded && (!wanted || old.secret != name) {
		old.end()
		delete(c.heeded, key)
		heeded = false
	}
	if !wanted || heeded || len(c.heeded) >= maxHeeded {
		return
	}
	ctx, end := context.WithCancel(c.ctx)
	c.heeded[key] = heededSecret{name, end}
	go c.watchSecret(ctx, key, name)
}

// heededSecret is a Secret that is watched.
type heededSecret struct {
	secret string
	end    context.CancelFunc
}

// watchSecret tells the engine of the source anew whenever its Secret changes.
func (c *Controller) watchSecret(ctx context.Context, key resourceKey, name string) {
	again := time.NewTicker(5 * time.Second) // after a watch that failed
	defer again.Stop()
	for ctx.Err() == nil {
		w, err := c.core.CoreV1().Secrets(key.namespace).Watch(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
		if err == nil {
			for range w.ResultChan() {
				if u := c.find(key.resource, key.namespace, key.name); u != nil && ctx.Err() == nil {
					c.setGitRepository(u)
				}
			}
			w.Stop()
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
}
