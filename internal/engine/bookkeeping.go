package engine

import (
	"context"
	"maps"
	"slices"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// bookkeepingEvery spaces the statuses that only name a newer revision, and
// bookkeepingAfter keeps them off the commit that causes them, and gathers
// commits that come close together.
const (
	bookkeepingEvery = 20 * time.Millisecond
	bookkeepingAfter = time.Second
)

// moved tells the readers of the source that it has a new revision. Those that
// it touches are due, and with them those that are not well or depend on one
// that is due. The others count as delivered; that their statuses say so is
// bookkeeping, done later, slowly, and once for several commits.
func (s *sourceLoop) moved(id app.SourceID, before app.Revision) {
	e := s.e
	src, ok := e.current(id)
	if !ok || src.repo == nil { // gone, or to be looked at anew
		return
	}
	readers := e.index.readersOf(id)
	due := e.touched(id, src, before, readers)
	for _, a := range readers {
		a.mu.Lock()
		if !a.settled() {
			due[a] = struct{}{}
		}
		a.mu.Unlock()
	}
	e.spread(id, due)
	for a := range due {
		e.trigger(a.id, app.CauseRevision, 0)
	}
	s.keepUp(readers)
}

// touched lists the readers that have read something of what is different
// since a revision: by what the difference touches, or where that cannot be
// told, by looking at each.
func (e *Engine) touched(id app.SourceID, src sourceNow, before app.Revision, readers []*state) map[*state]struct{} {
	out := map[*state]struct{}{}
	tree, err := src.repo.Tree(src.revision.ID())
	if err != nil {
		for _, a := range readers {
			out[a] = struct{}{}
		}
		return out
	}
	candidates := slices.Values(readers)
	if changes, err := changesSince(src.repo, tree, before); err == nil {
		candidates = maps.Keys(e.index.touchedBy(id, changes))
	}
	for a := range candidates {
		if !a.untouched(src, tree) {
			out[a] = struct{}{}
		}
	}
	return out
}

func changesSince(repo *source.Repo, tree *source.Tree, before app.Revision) (source.Changes, error) {
	if before.IsZero() {
		return source.Changes{}, source.ErrUncertain
	}
	old, err := repo.Tree(before.ID())
	if err != nil {
		return source.Changes{}, err
	}
	return tree.Changes(old)
}

// spread makes those readers due that depend on one that is: it must be
// delivered first, and if it fails they are held back.
func (e *Engine) spread(id app.SourceID, due map[*state]struct{}) {
	next := slices.Collect(maps.Keys(due))
	for len(next) > 0 {
		a := next[len(next)-1]
		next = next[:len(next)-1]
		for _, d := range e.index.dependentsOf(a.id) {
			d.mu.Lock()
			reads := d.spec.Source == id
			d.mu.Unlock()
			if _, known := due[d]; reads && !known {
				due[d] = struct{}{}
				next = append(next, d)
			}
		}
	}
}

// behind are the apps whose statuses do not name the revision of a source, in
// the order in which they will.
type behind struct {
	apps    []*state
	waiting map[*state]bool
	going   bool // keepUp's goroutine runs
}

// keepUp makes the statuses of readers name the current revision, one after
// the other. Who waits already keeps its place.
func (s *sourceLoop) keepUp(readers []*state) {
	if !s.queueBehind(readers) {
		return
	}
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx != nil && !e.ended {
		e.running.Go(s.keepBooks)
	}
}

// queueBehind reports whether keepBooks is to be started.
func (s *sourceLoop) queueBehind(readers []*state) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.behind
	if b.waiting == nil {
		b.waiting = make(map[*state]bool, len(readers))
	}
	for _, a := range readers {
		if !b.waiting[a] {
			b.apps, b.waiting[a] = append(b.apps, a), true
		}
	}
	start := !b.going
	b.going = true
	return start
}

func (s *sourceLoop) keepBooks() {
	timer := time.NewTimer(bookkeepingAfter)
	defer timer.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		}
		a := s.nextBehind()
		if a == nil {
			return
		}
		s.e.due(a, app.CauseBookkeeping, time.Now())
		timer.Reset(bookkeepingEvery)
	}
}

// nextBehind takes the next app whose status does not name the revision; nil
// if there is none any more. Whoever is not well tells by itself.
func (s *sourceLoop) nextBehind() *state {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.behind
	for len(b.apps) > 0 {
		a := b.apps[0]
		b.apps = b.apps[1:]
		delete(b.waiting, a)
		a.mu.Lock()
		tell := a.settled() && a.spec.Source == s.src.ID && a.told != s.revision.Commit
		a.mu.Unlock()
		if tell {
			return a
		}
	}
	*b = behind{}
	return nil
}

// catchUp counts an app as delivered at the current revision of its source if
// that touches nothing of what it read, and reports whether it counts so.
func (e *Engine) catchUp(a *state) bool {
	a.mu.Lock()
	id, applied, well := a.spec.Source, a.applied, a.settled()
	a.mu.Unlock()
	if !well {
		return false
	}
	src, there := e.current(id)
	switch {
	case !there || src.repo == nil || src.revision.IsZero():
		return false
	case src.revision.ID() == applied.ID():
		return true
	}
	tree, err := src.repo.Tree(src.revision.ID())
	return err == nil && a.untouched(src, tree) && a.follow(src)
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
		sync.Succeeded && sync.SpecHash == withValues(a.hash, a.read.values) && sync.Revision == last.Revision.Commit
}

// follow counts the app as delivered at a source's revision that does not touch it. It
// reports false if something has come up meanwhile.
func (a *state) follow(src sourceNow) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.settled() {
		return false
	}
	sync, rep := *a.spec.LastSync, *a.last
	sync.Revision = src.revision.Commit
	rep.Revision, rep.Applied, rep.LastSync, rep.Ahead = src.revision, src.revision, &sync, src.ahead(a.spec.Ahead)
	a.spec.LastSync, a.spec.Ahead, a.applied, a.last = &sync, rep.Ahead, src.revision, &rep
	return true
}

// publishBooks publishes the last report of an app whose revision has moved on
// without it. It reports false if a full run is needed instead.
func (e *Engine) publishBooks(ctx context.Context, a *state) bool {
	if !e.catchUp(a) {
		return false
	}
	a.mu.Lock()
	last := *a.last
	a.mu.Unlock()
	if e.opts.Publish(ctx, told(last)) != nil {
		return false
	}
	a.mu.Lock()
	a.told = last.Revision.Commit
	a.mu.Unlock()
	return true
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
