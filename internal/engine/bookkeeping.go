package engine

import (
	"context"
	"slices"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// bookkeepingEvery spaces the statuses that only name a newer revision: they
// must not crowd out the commit that causes them.
const bookkeepingEvery = 20 * time.Millisecond

// moved tells the readers of a source that it has a new revision. Those that
// read nothing of what changed count as delivered at once; that their statuses
// say so is bookkeeping, done later, slowly, and once for several commits. The
// others are due.
func (e *Engine) moved(id app.SourceID) {
	src, ok := e.current(id)
	if !ok {
		return
	}
	tree, err := src.repo.Tree(src.revision.Commit)
	readers := e.readers(id)
	touched := map[app.ID]bool{}
	for _, a := range readers {
		touched[a.id] = err != nil || !a.untouched(src, tree)
	}
	spread(touched, readers)
	due := time.Now()
	for _, a := range readers {
		if !touched[a.id] && a.follow(src.revision) {
			due = due.Add(bookkeepingEvery)
			e.queue.add(a.id, app.CauseBookkeeping, due)
		} else {
			touched[a.id] = true
		}
	}
	for _, a := range readers { // now that what they depend on counts as delivered
		if touched[a.id] {
			e.trigger(a.id, app.CauseRevision, 0)
		}
	}
}

// spread makes those touched that depend on one that is: it must be delivered
// first, and if it fails they are held back.
func spread(touched map[app.ID]bool, apps []*state) {
	for more := true; more; {
		more = false
		for _, a := range apps {
			if touched[a.id] {
				continue
			}
			a.mu.Lock()
			on := a.spec.DependsOn
			a.mu.Unlock()
			if slices.ContainsFunc(on, func(id app.ID) bool { return touched[id] }) {
				touched[a.id], more = true, true
			}
		}
	}
}

// untouched reports whether the app is well and has read nothing of what is
// different in tree.
func (a *state) untouched(src sourceNow, tree *source.Tree) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settled() && a.read.same(renderKey(a.spec, src), tree)
}

// settled reports whether the last run delivered everything, and nothing has
// come up since. The caller holds a.mu.
func (a *state) settled() bool {
	last, sync := a.last, a.spec.LastSync
	switch {
	case a.removed, a.run != nil, a.suspended(), a.spec.Deletion != nil, a.spec.Invalid != nil,
		asksNew(a.answered, a.spec.Request), last == nil, sync == nil, !a.due.at.IsZero():
		return false
	}
	return last.Failure == nil && last.Sync == app.Synced && last.Generation == a.spec.Generation &&
		sync.Succeeded && sync.SpecHash == a.hash && sync.Revision == last.Revision.Commit
}

// follow counts the app as delivered at a revision that does not touch it. It
// reports false if something has come up meanwhile.
func (a *state) follow(revision app.Revision) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.settled() {
		return false
	}
	sync, rep := *a.spec.LastSync, *a.last
	sync.Revision = revision.Commit
	rep.Revision, rep.Applied, rep.LastSync = revision, revision, &sync
	a.spec.LastSync, a.applied, a.last = &sync, revision, &rep
	return true
}

// keepBooks publishes the last report of an app whose revision has moved on
// without it. It reports false if a full run is needed instead.
func (e *Engine) keepBooks(ctx context.Context, a *state) bool {
	a.mu.Lock()
	last := a.last
	a.mu.Unlock()
	if last == nil {
		return false
	}
	return e.opts.Publish(ctx, told(*last)) == nil
}

// told is a report without the doings of the run that made it, which are told
// already. It shares nothing that may be changed with rep.
func told(rep app.Report) app.Report {
	rep.At, rep.Attempt, rep.Drift, rep.Answered, rep.Handled = time.Now(), nil, nil, nil, ""
	objects := make([]app.ObjectReport, 0, len(rep.Objects))
	for _, o := range rep.Objects {
		if o.Sync == "" && o.Action == app.ActionPruned {
			continue // it is gone
		}
		if o.Action != app.ActionSkipped {
			o.Action, o.Message = app.ActionNone, ""
		}
		objects = append(objects, o)
	}
	rep.Objects = objects
	return rep
}
