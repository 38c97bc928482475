package cluster

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// waiters are those who wait for changes of objects.
type waiters struct {
	mu  sync.Mutex
	all map[*waiter]struct{}
}

type waiter struct {
	refs    map[object.Ref]struct{}
	changed chan struct{} // has room for one
}

func (w *waiters) add(refs []object.Ref) *waiter {
	one := &waiter{refs: make(map[object.Ref]struct{}, len(refs)), changed: make(chan struct{}, 1)}
	for _, r := range refs {
		one.refs[r] = struct{}{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[*waiter]struct{}{}
	}
	w.all[one] = struct{}{}
	return one
}

func (w *waiters) remove(one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, one)
}

func (w *waiters) wake(ref object.Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		if _, ok := one.refs[ref]; !ok {
			continue
		}
		select {
		case one.changed <- struct{}{}:
		default:
		}
	}
}

// Await waits until done returns true. It is asked at once, and again after
// changes of refs, of which it must look at the present state. The error says
// why ctx ended.
func (c *Cluster) Await(ctx context.Context, refs []object.Ref, done func() bool) error {
	if err := c.remember(ctx, refs); err != nil {
		return err
	}
	w := c.waiters.add(refs)
	defer c.waiters.remove(w)
	for {
		if done() {
			return nil
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// WaitGone waits until none of refs exists. If ctx ends before, the failure
// names one that is still there and the finalizers that hold it.
func (c *Cluster) WaitGone(ctx context.Context, refs []object.Ref) error {
	var left object.Ref
	err := c.Await(ctx, refs, func() bool {
		for _, ref := range refs {
			if k := c.tracked(ref.GroupKind()); k != nil {
				if r, _ := k.store.get(nameIn(ref)); r != nil {
					left = ref
					return false
				}
			}
		}
		return true
	})
	if err == nil || left == (object.Ref{}) {
		return err
	}
	failure := stopped(ctx, "deletion", left)
	if failure == nil {
		return err
	}
	if failure.Reason == app.ReasonTimeout {
		failure.Hint = c.whatHolds(left)
	}
	return failure
}

// whatHolds says what keeps an object from going.
func (c *Cluster) whatHolds(ref object.Ref) string {
	ctx, cancel := context.WithTimeout(c.ctx, c.opts.Timeout)
	defer cancel()
	meta, found, err := c.self.GetMeta(ctx, ref)
	switch {
	case err != nil || !found:
		return ""
	case len(meta.Finalizers) > 0:
		return fmt.Sprintf("%s waits for its finalizers: %s", ref, strings.Join(meta.Finalizers, ", "))
	case meta.DeletionTimestamp == nil:
		return fmt.Sprintf("%s is not being deleted; something may have made it anew", ref)
	}
	return ""
}

// remember makes sure that refs are watched and remembered whoever owns them.
// A kind that is not served has no objects to remember.
func (c *Cluster) remember(ctx context.Context, refs []object.Ref) error {
	byKind := map[schema.GroupKind][]object.Ref{}
	for _, ref := range refs {
		byKind[ref.GroupKind()] = append(byKind[ref.GroupKind()], ref)
	}
	for gk, refs := range byKind {
		info, found, err := c.lookup(ctx, gk)
		if err != nil {
			return err
		}
		if !found || !info.watchable {
			continue
		}
		k := c.track(gk)
		if err := k.ready(ctx); err != nil {
			return err
		}
		if err := c.recall(ctx, k.store, refs); err != nil {
			return err
		}
	}
	return nil
}

// Remember makes sure that changes of refs are told (Options.OnEvent), whoever
// owns them, and whether they exist or not.
func (c *Cluster) Remember(ctx context.Context, refs []object.Ref) error {
	return c.remember(ctx, refs)
}

// Forget ends the remembering of objects that no app asks for any more.
func (c *Cluster) Forget(refs ...object.Ref) {
	for _, ref := range refs {
		if k := c.tracked(ref.GroupKind()); k != nil {
			k.store.forget(nameIn(ref))
		}
	}
}
