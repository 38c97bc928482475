package engine

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/rendercache"
	"plumb.dev/plumb/internal/source"
)

// render gives the objects of the app at a revision. What was rendered before
// from the same files is not rendered again.
func (r *run) render(ctx context.Context, src sourceNow) (rendering, *app.Failure) {
	spec := r.spec.Render
	spec.Name, spec.Revision, spec.Owner = r.spec.ID.Name, src.revision.Commit, r.spec.ID.String()
	spec.Kustomize.AllowRemoteBases = r.e.opts.Bases != nil
	key := renderKey(r.spec, src)
	r.read = inputs{}
	if failure := r.resolve(ctx); failure != nil {
		return rendering{}, failure
	}
	tree, err := src.repo.Tree(src.revision.ID())
	if err != nil {
		return rendering{}, app.AsFailure(err, app.StageFetch)
	}
	bases := newBases(r.e.opts.Bases, src.since)
	if r.cause == app.CauseRequest || r.cause == app.CauseRetry {
		bases.since = time.Now() // as fresh as a user, or a mended base, expects
	}
	if r.spec.Request == nil || !r.spec.Request.Hard {
		if out, read, ok := r.e.stored(ctx, key, tree, bases); ok {
			r.read = read
			r.e.uses(r.spec.ID, r.spec.Source, read.bases)
			r.e.renders.stored.Add(1)
			return r.complete(out, spec)
		}
	}
	files := source.Record(tree)
	result, used, err := bases.render(ctx, r.build, src.files(files), spec)
	r.e.uses(r.spec.ID, r.spec.Source, used)
	r.e.renders.rendered.Add(1)
	if err != nil {
		return rendering{}, app.AsFailure(err, app.StageRender)
	}
	r.read = inputs{key: key, closure: files.Closure(), bases: used}
	if !spec.Confidential() {
		r.e.store(r.read, result)
	}
	return r.complete(result, spec)
}

// complete does what comes after a build. It is done anew each time: what is
// kept of a rendering holds nothing of the values of the cluster.
func (r *run) complete(result render.Result, spec app.Render) (rendering, *app.Failure) {
	r.read.values = r.values.version
	result, err := render.Complete(result, spec, r.values.Values)
	if err != nil {
		return rendering{}, app.AsFailure(err, app.StageRender)
	}
	return rendering{result.Objects, result.Warnings, result.Mode}, nil
}

// inputs is all that decides a rendering: renderKey, what was read of the
// source, and what of remote bases.
type inputs struct {
	key     rendercache.Key
	closure source.Closure
	bases   []base
	values  string // the version of what came from the cluster
}

// same reports whether rendering from tree by key gives what it gave before,
// as far as the source decides it; changes of bases are told by lookAtBases.
func (i inputs) same(key rendercache.Key, tree *source.Tree) bool {
	return key != rendercache.Key{} && i.key == key && i.closure.Holds(tree)
}

// renderKey is what besides files decides a rendering. The address keeps apart
// the many that differ by nothing else.
func renderKey(spec app.Spec, src sourceNow) rendercache.Key {
	how := any(spec.Render)
	if spec.Release != nil {
		how = "chart"
	}
	data, err := json.Marshal([]any{how, src.of.UseIgnore, src.of.Ignore, src.of.Sparse, src.of.Include, source.Canonical(src.of.URL)})
	if err != nil {
		return rendercache.Key{}
	}
	return rendercache.KeyOf(data)
}

// note is what is stored with a rendering: what was read.
type note struct {
	Closure source.Closure `json:"closure"`
	Bases   []baseNote     `json:"bases,omitempty"`
}

type baseNote struct {
	render.Remote
	Commit  string         `json:"commit"`
	Closure source.Closure `json:"closure"`
}

// stored gives the rendering that was made by key from the same files as tree
// and the bases now hold, by whichever process.
func (e *Engine) stored(ctx context.Context, key rendercache.Key, tree *source.Tree, now *bases) (render.Result, inputs, bool) {
	if key == (rendercache.Key{}) {
		return render.Result{}, inputs{}, false
	}
	var read inputs
	block, ok := e.opts.Rendered.Get(key, func(text []byte) bool {
		var n note
		if err := json.Unmarshal(text, &n); err != nil || !n.Closure.Holds(tree) || len(n.Bases) > 0 && e.opts.Bases == nil {
			return false
		}
		read = inputs{key: key, closure: n.Closure}
		for _, b := range n.Bases {
			read.bases = append(read.bases, base{b.Remote, b.Commit, b.Closure})
		}
		return now.hold(ctx, read.bases)
	})
	if !ok {
		return render.Result{}, inputs{}, false
	}
	result, err := render.Decode(block)
	if err != nil {
		e.opts.Rendered.Forget(key)
		return render.Result{}, inputs{}, false
	}
	return result, read, true
}

// store keeps a rendering for later. That it cannot is no failure of the app.
func (e *Engine) store(read inputs, result render.Result) {
	if e.opts.Rendered == nil || read.key == (rendercache.Key{}) {
		return
	}
	n := note{Closure: read.closure}
	for _, b := range read.bases {
		n.Bases = append(n.Bases, baseNote{b.Remote, b.commit, b.read})
	}
	text, err := json.Marshal(n)
	var block []byte
	if err == nil {
		block, err = render.Encode(result)
	}
	if err == nil {
		err = e.opts.Rendered.Put(read.key, text, block)
	}
	if failing := err != nil; e.renders.failing.Swap(failing) != failing && failing {
		e.log.Warn("renderings cannot be kept on disk: a restart renders again", "error", err)
	}
}

// renders counts where renderings came from.
type renders struct {
	rendered, stored atomic.Uint64
	failing          atomic.Bool // the last one could not be stored
}

// Renders tells how often, since the start, apps were rendered, and how often
// a stored rendering took the place of that.
func (e *Engine) Renders() (rendered, stored uint64) {
	return e.renders.rendered.Load(), e.renders.stored.Load()
}
