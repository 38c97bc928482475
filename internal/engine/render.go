package engine

import (
	"container/list"
	"context"
	"encoding/json"
	"sync"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// render gives the objects of the app at a revision. A commit that touches
// nothing of what the app read the last time is not rendered again.
func (r *run) render(ctx context.Context, src sourceNow) (rendering, *app.Failure) {
	spec := r.spec.Render
	spec.Name, spec.Revision = r.spec.ID.Name, src.revision.Commit
	key := renderKey(r.spec, src)
	r.read = inputs{}
	tree, err := src.repo.Tree(src.revision.Commit)
	if err != nil {
		return rendering{}, app.AsFailure(err, app.StageFetch)
	}
	if r.spec.Request == nil || !r.spec.Request.Hard {
		if got, closure, ok := r.e.cache.get(r.spec.ID, key, tree); ok {
			r.read = inputs{key, closure}
			return got, nil
		}
	}
	files := source.Record(tree)
	result, err := r.e.opts.Render(ctx, src.files(files), spec)
	if err != nil {
		return rendering{}, app.AsFailure(err, app.StageRender)
	}
	out := rendering{objects: result.Objects, warnings: result.Warnings, mode: result.Mode}
	r.read = inputs{key, files.Closure()}
	r.e.cache.put(r.spec.ID, key, r.read.closure, out)
	return out, nil
}

// inputs is all that decides a rendering: renderKey, and what was read.
type inputs struct {
	key     string
	closure source.Closure
}

// same reports whether rendering from tree by key gives what it gave before.
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
func (c *renderCache) get(id app.ID, key string, tree *source.Tree) (rendering, source.Closure, bool) {
	c.mu.Lock()
	el, ok := c.byApp[id]
	if ok {
		c.order.MoveToFront(el)
	}
	c.mu.Unlock()
	if !ok {
		return rendering{}, source.Closure{}, false
	}
	hit := el.Value.(*cached)
	if !hit.same(key, tree) {
		return rendering{}, source.Closure{}, false
	}
	return hit.rendering, hit.closure, true
}

func (c *renderCache) put(id app.ID, key string, closure source.Closure, r rendering) {
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
	c.byApp[id] = c.order.PushFront(&cached{id: id, inputs: inputs{key, closure}, rendering: r, size: size})
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
