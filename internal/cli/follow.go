package cli

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
)

// reconnectAfter is the wait before a lost connection is tried again.
const reconnectAfter = time.Second

// follow tells emit of each state of each object after the snapshot, until ctx
// ends or emit returns an error, which it returns. A lost connection is made
// again, and what happened meanwhile is told as far as it still shows.
func follow(ctx context.Context, from dynamic.ResourceInterface, opts metav1.ListOptions, start snapshot,
	emit func(u *unstructured.Unstructured, gone bool) error,
) error {
	known := map[types.UID]*unstructured.Unstructured{}
	for _, u := range start.items {
		known[u.GetUID()] = u
	}
	version := start.version
	for {
		err := watchOnce(ctx, from, opts, &version, known, emit)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		if version != "" {
			continue // the server ended the watch, as it does now and then
		}
		now, err := relist(ctx, from, opts)
		if err != nil {
			return err
		}
		version = now.version
		if err := catchUp(now, known, emit); err != nil {
			return err
		}
	}
}

// watchOnce runs one watch. It empties version if the server cannot go on from
// there; errors are those of emit.
func watchOnce(ctx context.Context, from dynamic.ResourceInterface, opts metav1.ListOptions, version *string,
	known map[types.UID]*unstructured.Unstructured, emit func(*unstructured.Unstructured, bool) error,
) error {
	opts.ResourceVersion, opts.AllowWatchBookmarks = *version, true
	w, err := from.Watch(ctx, opts)
	if err != nil {
		*version = ""
		return nil
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		u, ok := e.Object.(*unstructured.Unstructured)
		if e.Type == watch.Error || !ok {
			*version = ""
			return nil
		}
		*version = u.GetResourceVersion()
		if e.Type == watch.Bookmark {
			continue
		}
		gone := e.Type == watch.Deleted
		if gone {
			delete(known, u.GetUID())
		} else {
			known[u.GetUID()] = u
		}
		if err := emit(u, gone); err != nil {
			return err
		}
	}
	return nil
}

// relist lists until it works. A refusal is final, a lost connection is not.
func relist(ctx context.Context, from dynamic.ResourceInterface, opts metav1.ListOptions) (snapshot, error) {
	for {
		now, err := list(ctx, from, opts)
		if err == nil {
			return now, nil
		}
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || err == errNotServed {
			return snapshot{}, err
		}
		timer := time.NewTimer(reconnectAfter)
		select {
		case <-ctx.Done():
			timer.Stop()
			return snapshot{}, ctx.Err()
		case <-timer.C:
		}
	}
}

// catchUp tells the difference between what is known and what is now.
func catchUp(now snapshot, known map[types.UID]*unstructured.Unstructured, emit func(*unstructured.Unstructured, bool) error) error {
	still := map[types.UID]bool{}
	for _, u := range now.items {
		still[u.GetUID()] = true
		if before, ok := known[u.GetUID()]; ok && before.GetResourceVersion() == u.GetResourceVersion() {
			continue
		}
		known[u.GetUID()] = u
		if err := emit(u, false); err != nil {
			return err
		}
	}
	for uid, u := range known {
		if !still[uid] {
			delete(known, uid)
			if err := emit(u, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// change is what one of several followed kinds told.
type change struct {
	kind   kind
	object *unstructured.Unstructured
	gone   bool
}

// stream is a kind that is followed from a snapshot.
type stream struct {
	kind  kind
	from  dynamic.ResourceInterface
	opts  metav1.ListOptions
	start snapshot
}

// followAll follows several kinds and calls handle for one change at a time.
func followAll(ctx context.Context, streams []stream, handle func(change) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := make(chan change)
	ended := make(chan error, len(streams))
	for _, s := range streams {
		go func() {
			ended <- follow(ctx, s.from, s.opts, s.start, func(u *unstructured.Unstructured, gone bool) error {
				select {
				case changes <- change{s.kind, u, gone}:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		}()
	}
	for {
		select {
		case c := <-changes:
			if err := handle(c); err != nil {
				return err
			}
		case err := <-ended:
			return err
		}
	}
}
