// Package engine is the straight line from a commit to a status, with the
// queue and the triggers that feed it. It works on the neutral vocabulary of
// package app: it must not know a dialect, a custom resource, or how a report
// becomes a status.
package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/expr"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/rendercache"
	"plumb.dev/plumb/internal/source"
	"plumb.dev/plumb/internal/source/archive"
)

// Options are what an engine is made of.
type Options struct {
	Sources *source.Store
	// Cluster is the cluster that Plumb serves.
	Cluster *cluster.Cluster
	// Connect makes a connection to another cluster, of which w is to hear.
	// Nil: there are no others.
	Connect func(access app.Access, w Watcher) (*cluster.Cluster, error)
	// Publish hands on the report of an app; an error makes the engine look
	// at the app again soon. PublishSource does the same for a source that is
	// a resource of its own.
	Publish       func(ctx context.Context, r app.Report) error
	PublishSource func(ctx context.Context, r app.SourceReport) error
	// Keys gives a source whose content must be signed, with the keys that are
	// trusted now; it is asked before each look. Nil leaves them as they are.
	Keys func(context.Context, app.Source) app.Source
	// Worked is told of each run of an app that came to a result, and of each
	// look at a source, before that is published; nil tells nobody.
	Worked func(Work)
	Log    *slog.Logger
	// Render turns a tree into objects; nil renders in this process.
	Render RenderFunc
	// Bases fetches the repositories that kustomizations build upon, without
	// credentials, from wherever a kustomization says; nil refuses them.
	Bases *source.Store
	// LenientVariables makes variables empty that are not set, instead of
	// failing the rendering.
	LenientVariables bool
	// Workers is how many apps are worked on at a time for each cluster;
	// waiting for health does not count. 0 means 16.
	Workers int
	// ClusterGrace is how long a connection to another cluster is kept that no
	// app goes to any more; 0 means five minutes.
	ClusterGrace time.Duration
	// Rendered keeps renderings on disk, for the next look and the next
	// process; nil keeps none.
	Rendered *rendercache.Cache
	// Owners are those of all dialects, to name who else delivers an object.
	Owners []app.Owner
	// Archives makes what sources show into files for others; nil makes none.
	Archives *archive.Store
}

// Work is a run of an app, or a look at a source.
type Work struct {
	Kind, Namespace, Name string
	Took                  time.Duration
	Failed                bool
}

// Engine delivers apps. Make one with New, feed it with SetSource and SetApp,
// let it go with Start.
type Engine struct {
	opts  Options
	log   *slog.Logger
	home  *destination // the cluster that Plumb serves
	bases *baseUsers
	index *index
	found *sourceIndex

	digestKey []byte // set before Run

	renders renders

	mu           sync.RWMutex
	apps         map[app.ID]*state
	sources      map[app.SourceID]*sourceLoop
	relooked     time.Time               // see Relook
	valued       map[object.Ref][]app.ID // who takes values from an object of the cluster that Plumb serves
	destinations map[string]*destination
	underWay     underWay
	// elsewhere are the apps that other processes deliver; none is in apps.
	elsewhere  map[app.ID]elsewhere
	ctx        context.Context         // of Run; nil before
	delivering context.Context         // the same, once it may deliver
	rewind     context.CancelCauseFunc // ends Run
	ended      bool                    // Run waits for what runs, nothing may begin any more
	started    chan struct{}           // closed by Start
	leaving    chan struct{}           // has room for one: a repository may have lost its last reader
	once       sync.Once
	running    sync.WaitGroup
}

// New makes an engine that does nothing yet.
func New(opts Options) *Engine {
	if opts.Render == nil {
		opts.Render = render.Render
	}
	if opts.Workers == 0 {
		opts.Workers = 16
	}
	if opts.ClusterGrace == 0 {
		opts.ClusterGrace = 5 * time.Minute
	}
	e := &Engine{
		opts: opts, log: opts.Log, bases: newBaseUsers(), index: newIndex(), found: newSourceIndex(),
		apps: map[app.ID]*state{}, sources: map[app.SourceID]*sourceLoop{},
		valued:       map[object.Ref][]app.ID{},
		destinations: map[string]*destination{}, elsewhere: map[app.ID]elsewhere{}, started: make(chan struct{}), leaving: make(chan struct{}, 1),
	}
	e.home = e.destinationLocked(local)
	e.home.told, e.home.conn = true, opts.Cluster
	return e
}

// UseKey gives the key with which digests of Secrets are made, which statuses
// show. It is called before Run; without it they have none.
func (e *Engine) UseKey(key []byte) { e.digestKey = key }

// Start says that all sources and apps that exist have been told, so that one
// which is not known does not exist. Nothing is delivered before.
func (e *Engine) Start() {
	e.once.Do(func() {
		close(e.started)
		e.lookAtWaiting()
	})
}

// Run delivers until ctx ends, and returns when all work has stopped. Its only
// error is ErrRewound.
func (e *Engine) Run(ctx context.Context) error {
	ctx, rewind := context.WithCancelCause(ctx)
	defer rewind(nil)
	e.mu.Lock()
	e.ctx, e.rewind = ctx, rewind
	for _, s := range e.sources {
		e.running.Go(s.run)
	}
	e.mu.Unlock()
	e.running.Go(func() { e.tidy(ctx) })
	e.running.Go(func() { e.lookAtBlind(ctx) })
	defer func() {
		e.mu.Lock()
		e.ended = true
		e.mu.Unlock()
		e.running.Wait()
	}()
	select {
	case <-ctx.Done():
		return rewound(ctx)
	case <-e.started:
	}
	e.mu.Lock()
	e.delivering = ctx
	for _, d := range e.destinations {
		e.serveLocked(d)
	}
	e.mu.Unlock()
	<-ctx.Done()
	return rewound(ctx)
}

func rewound(ctx context.Context) error {
	if err := context.Cause(ctx); errors.Is(err, ErrRewound) {
		return err
	}
	return nil
}

// state is what the engine keeps of one app.
type state struct {
	id  app.ID
	uid string

	mu       sync.Mutex
	dest     *destination // where its spec says; written under Engine.mu as well
	spec     app.Spec     // as the resource has it, with what this process delivered
	hash     string       // of what decides the outcome, revision excepted
	removed  bool
	released bool         // removed, because another process delivers it
	answered *app.Request // the last request that was answered
	applied  app.Revision
	last     *app.Report         // the last finished one
	told     string              // commit that the last report which was published names
	run      *run                // nil if none
	ran      bool                // at least once, in this process
	records  records             // with what a run that did not finish wrote
	writing  map[object.Ref]bool // being written right now
	health   map[object.Ref]seenHealth
	exprs    *expr.Health // of the spec whose hash is exprsOf
	exprsOf  string
	reported map[object.Ref]string // drift that was reported and stands: ownership digest
	passing  int                   // failures in a row that end by themselves
	freed    bool                  // since the last run began, something came about that it may have waited for
	unheard  bool                  // an object changed while it was being written
	due      due                   // the next run that was planned; zero if none
	// Of a Helm release: the tokens that were acted upon, what is known of its
	// storage, whether Helm writes now, and until when drift alone does not make
	// it try again.
	forced, reset string
	stored        stored
	acting        bool
	heldUntil     time.Time
	chartBy       time.Time // when the source that is made for it is there at the latest
	// differs are the objects of a release that drifted and were left so: any
	// change of them may put them right. unowned: there are some of which
	// ownership does not tell that they drift.
	differs map[object.Ref]bool
	unowned bool
	untold  []app.ReleaseResult // of actions that no status tells of yet
	read    inputs              // what the last full run rendered from
	// waitingSince is when the first wait for health of this revision began.
	waitingFor   string
	waitingSince time.Time
}

// due is a run that time brings.
type due struct {
	cause app.Cause
	at    time.Time
}

// seenHealth is a verdict on one version of an object.
type seenHealth struct {
	resourceVersion string
	app.Health
}

// SetApp tells of an app that is new or has changed. Calling it with what is
// known already does nothing.
func (e *Engine) SetApp(spec app.Spec) {
	hash := specHash(spec)
	e.mu.Lock()
	delete(e.elsewhere, spec.ID)
	a, known := e.apps[spec.ID]
	disown := func() {}
	if known && a.uid != spec.UID {
		disown = e.dropLocked(a)
		known = false
	}
	if !known {
		a = &state{id: spec.ID, uid: spec.UID, dest: e.destinationLocked(spec.Target.Cluster), spec: spec, hash: hash,
			writing: map[object.Ref]bool{}, health: map[object.Ref]seenHealth{}, reported: map[object.Ref]string{}}
		a.remember(spec.Recorded)
		if spec.LastSync != nil && spec.LastSync.Succeeded {
			a.applied = app.Revision{Commit: spec.LastSync.Revision}
		}
		e.apps[spec.ID] = a
		a.dest.enterLocked(spec.ID, spec.Tenant)
		if spec.RecordedAt == spec.Target.Cluster {
			a.dest.own(spec.ID, spec.Recorded)
		}
		e.index.file(a, spec)
		e.mu.Unlock()
		disown()
		e.trigger(spec.ID, app.CauseStart, 0)
		e.triggerDependents(spec.ID, true) // that had not found it
		return
	}
	cause, changed := a.update(spec, hash)
	disown = e.moveLocked(a, spec)
	e.mu.Unlock()
	disown()
	e.index.file(a, spec)
	if changed {
		e.trigger(spec.ID, cause, 0)
	}
}

// moveLocked makes an app wait where its spec says. What still runs at another
// cluster ends by itself: nothing runs at the new one before.
func (e *Engine) moveLocked(a *state, spec app.Spec) (disown func()) {
	was := a.dest
	if was.id == spec.Target.Cluster {
		was.queue.enrol(a.id, spec.Tenant)
		return func() {}
	}
	now := e.destinationLocked(spec.Target.Cluster)
	now.enterLocked(a.id, spec.Tenant)
	a.mu.Lock()
	a.dest = now
	left := a.left(nil)
	a.mu.Unlock()
	was.leaveLocked(a.id)
	return func() { was.disown(a.id, left) }
}

// update takes over a changed spec and says what it asks for. What this
// process recorded stays: the resource only repeats it.
func (a *state) update(spec app.Spec, hash string) (app.Cause, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, oldHash := a.spec, a.hash
	if a.ran {
		spec.Recorded, spec.RecordedAt, spec.Left = old.Recorded, old.RecordedAt, old.Left
		spec.LastSync, spec.Ahead = old.LastSync, old.Ahead
		if spec.Release != nil && old.Release != nil {
			spec.Release.Memory = old.Release.Memory
		}
	} else {
		a.remember(spec.Recorded) // of whoever delivered it so far
	}
	a.spec, a.hash = spec, hash
	if spec.Request == nil {
		a.answered = nil
	}
	switch {
	case asksNew(old.Request, spec.Request):
		return app.CauseRequest, true
	case hash != oldHash, old.Suspend != spec.Suspend, (old.Deletion == nil) != (spec.Deletion == nil),
		errorText(old.Invalid) != errorText(spec.Invalid), old.Source != spec.Source:
		return app.CauseSpec, true
	case old.Limits != spec.Limits:
		return app.CauseDepends, true
	case old.Generation != spec.Generation && a.last != nil && a.last.Generation != spec.Generation:
		return app.CauseSpec, true
	}
	return "", false
}

// asksNew reports whether a request has come up that was not there before.
func asksNew(old, now *app.Request) bool {
	if now == nil {
		return false
	}
	return old == nil || old.Token != now.Token || old.Sync != now.Sync || old.Refresh != now.Refresh || old.Hard != now.Hard
}

func errorText(f *app.Failure) string {
	if f == nil {
		return ""
	}
	return f.Error()
}

// RemoveApp forgets an app whose resource is gone.
func (e *Engine) RemoveApp(id app.ID) {
	e.mu.Lock()
	delete(e.elsewhere, id)
	disown := func() {}
	if a := e.apps[id]; a != nil {
		disown = e.dropLocked(a)
	}
	e.mu.Unlock()
	disown()
}

// dropLocked forgets an app. What it gives ends the app's hold on its objects,
// and needs no lock of the engine's.
func (e *Engine) dropLocked(a *state) (disown func()) {
	delete(e.apps, a.id)
	dest := a.dest
	dest.leaveLocked(a.id)
	e.uses(a.id, app.SourceID{}, nil)
	e.index.drop(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removed = true
	if a.run != nil {
		a.run.stop(app.CauseSpec, errors.New("the resource is gone"))
	}
	left := a.left(nil)
	for ref := range a.writing {
		left = append(left, ref)
	}
	return func() { dest.disown(a.id, left) }
}

// trigger makes an app due, and stops what is less urgent than the cause: in
// the other order it could stop the very run that it brings about.
func (e *Engine) trigger(id app.ID, cause app.Cause, after time.Duration) {
	a := e.app(id)
	if a == nil {
		return
	}
	a.mu.Lock()
	a.freed = a.freed || cause == app.CauseDepends // the queue may know it by a cause that is more urgent
	if a.run != nil && after <= 0 {
		a.run.preempt(cause)
	}
	a.mu.Unlock()
	e.due(a, cause, time.Now().Add(after))
}

// due makes an app run at a time, in its cluster's turn.
func (e *Engine) due(a *state, cause app.Cause, at time.Time) {
	e.mu.RLock() // so that it does not move meanwhile
	defer e.mu.RUnlock()
	if e.apps[a.id] == a {
		a.dest.queue.add(a.id, cause, at)
	}
}

func (e *Engine) app(id app.ID) *state {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.apps[id]
}

// begin makes r the app's run with the spec as it is now, in one step: what
// changes from here on pre-empts it. It reports false if there is nothing to
// run, or not here. What still runs at a cluster that the app has left makes it
// due again when it ends.
func (a *state) begin(r *run) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.removed || a.suspended() || a.dest != r.dest || a.run != nil {
		return false
	}
	a.arrive()
	r.spec, r.hash = a.asReleased(a.spec), a.hash
	if !asksNew(a.answered, r.spec.Request) {
		r.spec.Request = nil // answered; the resource still shows it
	}
	r.freed, a.freed = a.freed, false
	a.run, a.ran, a.due = r, true, due{}
	return true
}

// suspended reports whether the app is to be left alone. The caller holds a.mu.
func (a *state) suspended() bool { return a.spec.Suspend && a.spec.Deletion == nil }

// remember takes over the records of what is delivered.
func (a *state) remember(records []app.Record) {
	a.spec.Recorded = records
	a.records = newRecords(records)
}

// Ready reports whether the engine has begun to deliver.
func (e *Engine) Ready() bool {
	select {
	case <-e.started:
		return true
	default:
		return false
	}
}
