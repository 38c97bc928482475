package controller

import (
	"context"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"

	"plumb.dev/plumb/internal/app"
)

// maxHeeded bounds the sources whose Secrets are watched. Beyond it a corrected one is
// found when its source is tried again.
const maxHeeded = 50

// ofSecrets are the reasons of failures that another content of a Secret may
// mend.
var ofSecrets = []app.Reason{app.ReasonAuthentication, app.ReasonProvider, app.ReasonVerifyKeys, app.ReasonCommitSignature, app.ReasonTagSignature, app.ReasonUnverified}

// heed watches the Secrets of a source whose credentials or keys were refused, or are
// missing, until a look at it succeeds: whoever corrects one need not wait for
// the next try. Secrets of sources that are well are not watched.
func (c *Controller) heed(k sourceKind, u *unstructured.Unstructured, failure *app.Failure) {
	key := keyOf(k.resource, u)
	var wanted []string
	if failure != nil && slices.Contains(ofSecrets, failure.Reason) {
		for _, use := range k.Secrets(u) {
			if !use.ServiceAccount {
				wanted = append(wanted, use.Name)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, heeded := c.heeded[key]; heeded {
		if slices.Equal(old.names, wanted) {
			return
		}
		old.end()
		delete(c.heeded, key)
	}
	if len(wanted) == 0 || len(c.heeded) >= maxHeeded {
		return
	}
	ctx, end := context.WithCancel(c.ctx)
	c.heeded[key] = heededSecrets{wanted, end}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(wanted))) {
		go c.watchSecret(ctx, k, key, name)
	}
}

// heededSecrets are the Secrets of a source that are watched.
type heededSecrets struct {
	names []string
	end   context.CancelFunc
}

// watchSecret tells the engine of the source anew whenever its Secret changes.
func (c *Controller) watchSecret(ctx context.Context, k sourceKind, key resourceKey, name string) {
	again := time.NewTicker(5 * time.Second) // after a watch that failed
	defer again.Stop()
	for ctx.Err() == nil {
		w, err := c.core.CoreV1().Secrets(key.namespace).Watch(ctx, metav1.ListOptions{
			FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
		if err == nil {
			for range w.ResultChan() {
				if u := c.find(key.resource, key.namespace, key.name); u != nil && ctx.Err() == nil {
					c.setSource(k, u)
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
