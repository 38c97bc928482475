package engine

import (
	"container/list"
	"context"
	"encoding/json"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// render gives the objects of the app at a revision. A commit that touches
// nothing of what the app read the last time is not rendered again.
func (r *run) render(ctx context.Context, src sourceNow) (rendering, *app.Failure) {
	spec := r.spec.Render
	spec.Name, spec.Revision = r.spec.ID.Name, src.revision.Commit
	spec.Kustomize.AllowRemoteBases = r.e.opts.Bases != nil
	key := renderKey(r.spec, src)
	r.read = inputs{}
	tree, err := src.repo.Tree(src.revision.Commit)
	if err != nil {
		return rendering{}, app.AsFailure(err, app.StageFetch)
	}
	bases := newBases(r.e.opts.Bases, src.since)
	if r.cause == app.CauseRequest || r.cause == app.CauseRetry {
		bases.since = time.Now() // as fresh as a user, or a mended base, expects
	}
	if r.spec.Request == nil || !r.spec.Request.Hard {
		if got, read, ok := r.e.cache.get(r.spec.ID, key, tree); ok && bases.hold(ctx, read.bases) {
			r.read = read
			return got, nil
		}
	}
	files := source.Record(tree)
	result, used, err := bases.render(ctx, r.e.opts.Render, src.files(files), spec)
	r.e.bases.set(r.spec.ID, r.spec.Source, used)
	if err != nil {
		return rendering{}, app.AsFailure(err, app.StageRender)
	}
	out := rendering{objects: result.Objects, warnings: result.Warnings, mode: result.Mode}
	r.read = inputs{key, files.Closure(), used}
	r.e.cache.put(r.spec.ID, r.read, out)
	return out, nil
}

// inputs is all that decides a rendering: renderKey, what was read of the
// source, and what of remote bases.
type inputs struct {
	key     string
	closure source.Closure
	bases   []base
}

// same reports whether rendering from tree by key gives what it gave before,
// as far as the source decides it; changes of bases are told by lookAtBases.
func (i inputs) same(key string, tree *source.Tree) bool {
	return key != "" && i.key == key && i.closure.Holds(tree)
}

// renderKey is what besides files decides a rendering.
func renderKey(spec app.Spec, src sourceNow) string {
	data, err := json.Marshal([]any{spec.Render, src.exclude, src.ignore})
	if err != nil {
		return ""
	}
	return string(data)
}

// renderCache keeps the renderings of the apps that ran last, within a bound
// of bytes. It may forget at any time.
type renderCache struct {
	mu    sync.Mutex
	limit int
	size  int
	order *list.List // of *cached, most recent first
	byApp map[app.ID]*list.Element
}

type cached struct {
	id app.ID
	inputs
	rendering
	size int
}

func newRenderCache(limit int) *renderCache {
	return &renderCache{limit: limit, order: list.New(), byApp: map[app.ID]*list.Element{}}
}

// get returns the rendering that was made by key from the same files as tree
// holds.
func (c *renderCache) get(id app.ID, key string, tree *source.Tree) (rendering, inputs, bool) {
	c.mu.Lock()
	el, ok := c.byApp[id]
	if ok {
		c.order.MoveToFront(el)
	}
	c.mu.Unlock()
	if !ok {
		return rendering{}, inputs{}, false
	}
	hit := el.Value.(*cached)
	if !hit.same(key, tree) {
		return rendering{}, inputs{}, false
	}
	return hit.rendering, hit.inputs, true
}

func (c *renderCache) put(id app.ID, read inputs, r rendering) {
	size := 1024
	for _, o := range r.objects {
		data, err := o.Payload()
		if err != nil {
			return
		}
		size += 6 * len(data) // what maps take beyond the bytes they hold
	}
	c.drop(id)
	if size > c.limit/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byApp[id] = c.order.PushFront(&cached{id: id, inputs: read, rendering: r, size: size})
	c.size += size
	for c.size > c.limit {
		c.remove(c.order.Back())
	}
}

func (c *renderCache) drop(id app.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.byApp[id]; ok {
		c.remove(el)
	}
}

func (c *renderCache) remove(el *list.Element) {
	hit := c.order.Remove(el).(*cached)
	delete(c.byApp, hit.id)
	c.size -= hit.size
}
