package engine

import (
	"context"
	"maps"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// healthDelay gathers the many small changes of a rollout into one look.
const healthDelay = 100 * time.Millisecond

// Observed takes an event of the metadata watches of the cluster that Plumb
// serves.
func (e *Engine) Observed(ev cluster.Event) { e.home.observed(ev) }

// observed takes an event of the cluster's metadata watches. It must be quick:
// it is called for every change of every delivered object.
func (d *destination) observed(ev cluster.Event) {
	e := d.e
	id, owned := d.owner(ev.Ref)
	if ev.Ref.Kind == "CustomResourceDefinition" || ev.Ref.Kind == "Namespace" {
		d.unblock(ev)
	}
	if d == e.home {
		e.valueChanged(ev.Ref)
	}
	d.storageObserved(ev)
	if !owned {
		return
	}
	a := e.app(id)
	if a == nil {
		return
	}
	a.mu.Lock()
	if a.dest != d {
		a.mu.Unlock()
		return
	}
	rec, known := a.records.get(ev.Ref)
	manager, mark, rules := a.spec.FieldManager, a.spec.Mark, a.spec.Policy.HealthRules
	writing, needs := a.writing[ev.Ref] || a.acting, a.spec.Release == nil && a.needsRead(ev.Ref.GroupKind(), rules)
	differs := a.differs[ev.Ref]
	a.unheard = a.unheard || writing
	a.mu.Unlock()
	if !known || writing {
		return
	}
	switch {
	case differs:
		e.trigger(id, app.CauseDrift, healthDelay)
	case rec.Owned != "" && !ev.Deleted && ev.Owned(manager) != rec.Owned &&
		(takenOver(mark, manager, ev.Ref, ev.Meta) || ev.TakenFrom(manager)):
		d.letGo(id, []object.Ref{ev.Ref})
	case rec.Owned != "" && (ev.Deleted || ev.Owned(manager) != rec.Owned):
		e.trigger(id, app.CauseDrift, 0)
	case needs || ev.Deleted && a.spec.Release == nil:
		e.trigger(id, app.CauseHealth, healthDelay)
	}
}

// unblock makes apps due that failed for want of a kind or a namespace.
func (d *destination) unblock(ev cluster.Event) {
	if ev.Deleted {
		return
	}
	reason := app.ReasonNamespaceMissing
	if ev.Ref.Kind == "CustomResourceDefinition" {
		reason = app.ReasonKindUnknown
	}
	d.mu.Lock()
	d.came[reason]++
	d.mu.Unlock()
	for _, a := range d.e.index.blockedBy(reason) {
		a.mu.Lock()
		here := a.dest == d
		a.mu.Unlock()
		if here {
			d.e.trigger(a.id, app.CauseDepends, healthDelay)
		}
	}
}

// arrived reports whether something came, since it had come so often, that an
// app may have failed for want of.
func (d *destination) arrived(reason app.Reason, since map[app.Reason]int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.came[reason] != since[reason]
}

// arrivals is how often something has come that apps may fail for want of.
func (d *destination) arrivals() map[app.Reason]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.came)
}

// news leaves out drift that was reported before and still stands. The caller
// holds a.mu.
func (a *state) news(drifts []app.Drift) []app.Drift {
	var out []app.Drift
	standing := map[object.Ref]string{}
	for _, d := range drifts {
		if d.Restored {
			out = append(out, d)
			continue
		}
		what := d.At.String() + d.By
		for _, f := range d.Fields {
			what += "\n" + f
		}
		if d.Deleted {
			what = "deleted"
		}
		standing[d.Ref] = what
		if a.reported[d.Ref] != what {
			out = append(out, d)
		}
	}
	a.reported = standing
	return out
}

// tracked writes for an app and keeps its records true as it goes, so that the
// app's own writes are never taken for drift, and others' during a run are.
type tracked struct {
	*cluster.Writer
	dest    *destination
	a       *state
	manager string
}

func (t *tracked) Apply(ctx context.Context, obj object.Object, opts plan.WriteOptions) (plan.Written, error) {
	return t.note(obj, func() (plan.Written, error) { return t.Writer.Apply(ctx, obj, opts) })
}

func (t *tracked) Recreate(ctx context.Context, obj object.Object, opts plan.WriteOptions) (plan.Written, error) {
	return t.note(obj, func() (plan.Written, error) { return t.Writer.Recreate(ctx, obj, opts) })
}

func (t *tracked) note(obj object.Object, write func() (plan.Written, error)) (plan.Written, error) {
	ref := obj.Ref()
	t.a.mu.Lock()
	t.a.writing[ref] = true
	if !t.a.removed {
		t.dest.own(t.a.id, []app.Record{{Ref: ref}}) // before it is there: a wait in this run hears of its changes
	}
	t.a.mu.Unlock()
	w, err := write()
	if err == nil && t.dest == t.dest.e.home {
		defer t.dest.e.valueChanged(ref) // no watch tells of our own writes
	}
	t.a.mu.Lock()
	defer t.a.mu.Unlock()
	delete(t.a.writing, ref)
	if err == nil {
		t.a.records.put(app.Record{Ref: ref, Version: obj.GVK().Version, Desired: obj.Digest(), Owned: w.Owned})
	}
	return w, err
}

func (t *tracked) Delete(ctx context.Context, ref object.Ref, version, uid string, p app.Propagation) (bool, error) {
	t.a.mu.Lock()
	t.a.records.drop(ref) // its disappearance is no drift
	t.a.mu.Unlock()
	if t.dest == t.dest.e.home {
		defer t.dest.e.valueChanged(ref)
	}
	remains, err := t.Writer.Delete(ctx, ref, version, uid, p)
	if remains {
		t.a.mu.Lock()
		t.a.unheard = true // it may be gone before the run is over
		t.a.mu.Unlock()
	}
	return remains, err
}

// missed reports whether an object of the app was changed by someone else
// while a write of ours was under way, or what was pruned is gone by now.
func (e *Engine) missed(a *state) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	cl := a.dest.current()
	if cl == nil {
		return false
	}
	for rec := range a.records.all() {
		live, there := cl.Live(rec.Ref, a.spec.FieldManager)
		if there && (!live.Exists || rec.Owned != "" && live.Owned != rec.Owned) {
			return true
		}
	}
	return false
}
