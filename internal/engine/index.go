package engine

import (
	"maps"
	"slices"
	"sync"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// index finds the apps that something concerns without looking at all of them:
// what a commit or an event costs must not depend on how many apps there are.
// It follows what it is told; whoever asks looks at the app itself again.
type index struct {
	mu         sync.Mutex
	apps       map[*state]filed
	readers    map[app.SourceID]map[*state]struct{}
	dependents map[app.ID]map[*state]struct{}
	blocked    map[app.Reason]map[*state]struct{}
	read       map[app.SourceID]*source.Index[*state]
}

// filed is what an app is found by.
type filed struct {
	source    app.SourceID
	dependsOn []app.ID
	reason    app.Reason      // why its last run failed
	closure   *source.Closure // of its last run; nil if that did not count
}

func newIndex() *index {
	return &index{apps: map[*state]filed{}, readers: map[app.SourceID]map[*state]struct{}{}, dependents: map[app.ID]map[*state]struct{}{},
		blocked: map[app.Reason]map[*state]struct{}{}, read: map[app.SourceID]*source.Index[*state]{}}
}

func enter[K, V comparable](m map[K]map[V]struct{}, key K, v V) {
	if m[key] == nil {
		m[key] = map[V]struct{}{}
	}
	m[key][v] = struct{}{}
}

func leave[K, V comparable](m map[K]map[V]struct{}, key K, v V) {
	if delete(m[key], v); len(m[key]) == 0 {
		delete(m, key)
	}
}

func keys[V comparable](m map[V]struct{}) []V { return slices.Collect(maps.Keys(m)) }

// file takes in an app that is new or has changed.
func (x *index) file(a *state, spec app.Spec) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, known := x.apps[a]
	if known && f.source == spec.Source && slices.Equal(f.dependsOn, spec.DependsOn) {
		return
	}
	if f.source != spec.Source {
		x.unread(a, &f)
	}
	x.unfile(a, f)
	f.source, f.dependsOn = spec.Source, spec.DependsOn
	enter(x.readers, f.source, a)
	for _, on := range f.dependsOn {
		enter(x.dependents, on, a)
	}
	x.apps[a] = f
}

func (x *index) unfile(a *state, f filed) {
	leave(x.readers, f.source, a)
	for _, on := range f.dependsOn {
		leave(x.dependents, on, a)
	}
}

// drop forgets an app.
func (x *index) drop(a *state) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, known := x.apps[a]
	if !known {
		return
	}
	x.unread(a, &f)
	x.unfile(a, f)
	leave(x.blocked, f.reason, a)
	delete(x.apps, a)
}

// ran takes in the end of a run: why it failed, and what it read from which
// source; a closure of nil is one that does not count.
func (x *index) ran(a *state, reason app.Reason, from app.SourceID, closure *source.Closure) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f, known := x.apps[a]
	if !known {
		return // it is gone
	}
	if f.reason != reason {
		leave(x.blocked, f.reason, a)
		enter(x.blocked, reason, a)
		f.reason = reason
	}
	x.unread(a, &f)
	if closure != nil && from == f.source {
		if x.read[from] == nil {
			x.read[from] = &source.Index[*state]{}
		}
		x.read[from].Put(a, *closure)
		f.closure = closure
	}
	x.apps[a] = f
}

func (x *index) unread(a *state, f *filed) {
	if f.closure != nil {
		x.read[f.source].Drop(a, *f.closure)
		f.closure = nil
	}
}

// readersOf lists the apps that read a source.
func (x *index) readersOf(id app.SourceID) []*state {
	x.mu.Lock()
	defer x.mu.Unlock()
	return keys(x.readers[id])
}

// dependentsOf lists the apps that name id among what they depend on.
func (x *index) dependentsOf(id app.ID) []*state {
	x.mu.Lock()
	defer x.mu.Unlock()
	return keys(x.dependents[id])
}

// blockedBy lists the apps whose last run failed for a reason.
func (x *index) blockedBy(reason app.Reason) []*state {
	x.mu.Lock()
	defer x.mu.Unlock()
	return keys(x.blocked[reason])
}

// touchedBy lists the apps that may have read something of what changed in a
// source.
func (x *index) touchedBy(id app.SourceID, changes source.Changes) map[*state]struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.read[id] == nil {
		return map[*state]struct{}{}
	}
	return x.read[id].Touched(changes)
}
