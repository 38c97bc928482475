package engine

import (
	"context"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// sourceLoop looks at one source: at its interval, when a push is told, when a
// user asks. Loops of the same repository share their fetches in the store.
type sourceLoop struct {
	e      *Engine
	wake   chan struct{} // has room for one
	cancel context.CancelFunc
	ctx    context.Context

	looking sync.Mutex // one look at a time: an older answer must not come after a newer

	mu       sync.Mutex
	src      app.Source
	looked   bool  // at least once, in this process
	asked    int64 // generation of the resource at the last look
	revision app.Revision
	failure  *app.Failure // of the last look
	told     bool         // revision is what the status told, or made of such: no look has succeeded in this process
	named    string       // commit that the status names, as far as is known
	repo     *source.Repo // nil before the first look that reached the store
	failures int          // in a row
	since    time.Time    // how fresh the next look must be
	made     time.Time
	seen     app.Source                      // src of the look that found revision
	read     map[app.SourceID]source.Closure // what that look read of the sources it is made of; nil if that is not known
	behind   behind                          // whose statuses do not name revision yet
	round    int                             // counts up with Relook: what was asked before does not count
	out      outbox
}

// SetSource tells of a source that is new or has changed.
func (e *Engine) SetSource(src app.Source) {
	e.mu.Lock()
	e.found.file(src)
	s, known := e.sources[src.ID]
	if known {
		e.mu.Unlock()
		s.update(src)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s = &sourceLoop{e: e, src: src, wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel,
		revision: src.Recorded, named: src.Recorded.Commit, made: time.Now(), since: e.relooked}
	e.sources[src.ID] = s
	if e.ctx != nil && !e.ended {
		e.running.Go(s.run)
	}
	e.mu.Unlock()
}

func (s *sourceLoop) update(src app.Source) {
	s.mu.Lock()
	old := s.src
	old.Handled, old.Recorded = src.Handled, src.Recorded // only repeat what was published
	if old.Auth.Err != nil && src.Auth.Err != nil {
		// What the API server says may differ each time: that is no change.
		old.Auth.Err = src.Auth.Err
	}
	changed := !reflect.DeepEqual(old, src)
	moved := old.URL != src.URL || !reflect.DeepEqual(old.Auth, src.Auth)
	late := src.Followed && src.Recorded.Commit != s.src.Recorded.Commit && src.Recorded.Commit != s.revision.Commit
	if src.Recorded.Commit != s.src.Recorded.Commit { // or this is from before what was published since
		s.named = src.Recorded.Commit
	}
	s.src = src
	s.mu.Unlock()
	if changed || late {
		s.look(time.Now())
	}
	if moved {
		s.e.left()
	}
}

// look makes the loop look at once. A listing of the remote that was begun at
// since or later is good enough: sources that are told of the same push at the
// same instant share one.
func (s *sourceLoop) look(since time.Time) {
	s.mu.Lock()
	if since.After(s.since) {
		s.since = since
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// RemoveSource forgets a source; apps that read it find it missing.
func (e *Engine) RemoveSource(id app.SourceID) {
	e.mu.Lock()
	s := e.sources[id]
	delete(e.sources, id)
	e.found.drop(id)
	e.mu.Unlock()
	if s != nil {
		s.cancel()
		e.opts.Archives.Remove(id)
		e.triggerReaders(id, app.CauseRevision)
		e.lookAtUsers(id, true)
		e.left()
	}
}

// Pushed tells that repositories have changed, by their URLs in any spelling.
// It returns how many sources look because of it.
func (e *Engine) Pushed(urls ...string) int {
	wanted := map[string]bool{}
	for _, u := range urls {
		wanted[source.Canonical(u)] = true
	}
	delete(wanted, "") // of what is no address
	e.mu.RLock()
	defer e.mu.RUnlock()
	n, now := 0, time.Now()
	for _, id := range e.found.of(wanted) {
		s := e.sources[id]
		s.mu.Lock()
		suspended := s.src.Suspend
		s.mu.Unlock()
		if !suspended {
			s.look(now)
			n++
		}
	}
	if e.ctx != nil && !e.ended {
		for id := range e.bases.pushed(wanted) {
			e.lookAtBases(e.ctx, id, now)
		}
	}
	return n
}

func (s *sourceLoop) run() {
	e := s.e
	stop := context.AfterFunc(e.ctx, s.cancel)
	defer stop()
	defer s.cancel()
	for {
		wait := s.once()
		timer := time.NewTimer(wait)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
		case <-timer.C:
			s.mu.Lock()
			s.since = time.Now()
			s.mu.Unlock()
		}
		timer.Stop()
	}
}

// once looks at the source and returns the wait before the next look.
func (s *sourceLoop) once() time.Duration {
	s.looking.Lock()
	defer s.looking.Unlock()
	s.mu.Lock()
	src, before, first, told := s.src, s.revision, !s.looked, s.told
	failedBefore, since, round := reasonOf(s.failure), s.since, s.round
	s.mu.Unlock()
	const never = 365 * 24 * time.Hour
	switch {
	case src.Static():
		s.mu.Lock()
		s.looked, s.failure = true, nil
		s.mu.Unlock()
		s.e.lookAtUsers(src.ID, true)
		return never
	case src.Suspend:
		s.suspended(src)
		return never
	}
	began := time.Now()
	src = s.e.withKeys(s.ctx, src)
	parts, read, failure := s.e.parts(src)
	if failure == errNotLooked {
		return never // whoever looks at it tells
	}
	partTold := s.e.toldOf(src.Uses)
	var revision app.Revision
	var repo *source.Repo
	if failure == nil {
		var err error
		revision, repo, err = s.e.opts.Sources.Resolve(s.ctx, src, since, parts...)
		failure = app.AsFailure(err, app.StageFetch)
	}
	if s.ctx.Err() != nil {
		return never
	}
	if s.e.opts.Worked != nil {
		s.e.opts.Worked(Work{Kind: src.ID.Kind, Namespace: src.ID.Namespace, Name: src.ID.Name, Took: time.Since(began), Failed: failure != nil})
	}
	if failure != nil && first {
		revision, repo = s.recorded(src) // go on with what was delivered before
	}
	s.mu.Lock()
	if src.Generation != s.src.Generation || src.URL != s.src.URL || src.Ref != s.src.Ref || round != s.round {
		s.mu.Unlock()
		return 0 // changed meanwhile: this look answers an old question
	}
	again := s.asked != src.Generation // what waited for that goes on, whatever was found
	s.looked, s.failure, s.asked = true, failure, src.Generation
	if repo != nil {
		s.revision, s.repo, s.told = revision, repo, failure != nil || partTold
	}
	if s.read = nil; failure == nil {
		s.failures, s.read = 0, read()
	} else {
		s.failures++
	}
	current, failures, known, confirmed := s.revision, s.failures, s.repo, told && !s.told
	others := failure == nil && !first && !sameFiles(s.seen, src)
	if failure == nil {
		s.seen = src
	}
	s.mu.Unlock()

	changed := failure == nil && current.ID() != before.ID()
	report := app.SourceReport{ID: src.ID, Of: src, Generation: src.Generation, Handled: src.Request,
		Revision: current, Changed: changed, Failure: failure, At: time.Now()}
	switch {
	case others && failedBefore == "":
		s.moved(src.ID, app.Revision{}) // another choice of files: there is nothing to compare with
	case changed && !first && failedBefore == "":
		s.moved(src.ID, before)
	case changed || first || again || confirmed || failedBefore != reasonOf(failure):
		s.e.triggerReaders(src.ID, app.CauseRevision)
	}
	if changed || others || first || confirmed || failedBefore != reasonOf(failure) {
		s.e.lookAtUsers(src.ID, others || confirmed)
	}
	s.e.lookAtBases(s.ctx, src.ID, since)
	if failure != nil {
		s.e.log.Error("source cannot be fetched", "source", src.ID, "error", failure.Error())
	} else if changed {
		s.e.log.Info("new revision", "source", src.ID, "revision", current.Commit, "ref", current.Ref)
	}
	if src.ID.Kind != "" && !src.Followed {
		s.publish(report, sourceNow{of: src, revision: current, repo: known})
	}
	if failure != nil && !failure.Retry.Never {
		wait := sourceBackoff.After(failures - 1)
		if !src.Followed { // else nothing is known of its interval
			wait = min(wait, max(src.Interval, time.Second))
		}
		return max(wait, failure.Retry.After) // the server may have said when to come back
	}
	if src.Interval <= 0 || failure != nil {
		return never
	}
	// Spread the polls of sources that began together.
	return src.Interval - time.Duration(rand.Int64N(int64(src.Interval)/20+1))
}

// withKeys gives a source the keys that count now: one that was taken away must
// not open the way to a commit that came after.
func (e *Engine) withKeys(ctx context.Context, src app.Source) app.Source {
	if e.opts.Keys == nil || !src.Verifies() {
		return src
	}
	return e.opts.Keys(ctx, src)
}

// sameFiles reports whether two states of a source show the same files of a
// commit.
func sameFiles(a, b app.Source) bool {
	return a.URL == b.URL && a.UseIgnore == b.UseIgnore && reflect.DeepEqual(a.Ignore, b.Ignore) &&
		reflect.DeepEqual(a.OCI, b.OCI) && reflect.DeepEqual(a.HelmChart, b.HelmChart) && slices.Equal(a.Uses, b.Uses) &&
		a.Submodules == b.Submodules && slices.Equal(a.Include, b.Include) && slices.Equal(a.Sparse, b.Sparse)
}

// reasonOf is why something failed, "" if it did not.
func reasonOf(f *app.Failure) app.Reason {
	if f == nil {
		return ""
	}
	return f.Reason
}

var sourceBackoff = app.Backoff{Initial: time.Second, Factor: 2, Max: 2 * time.Minute}

// suspended makes what was delivered before available without a look at the
// remote. What this process found counts more than the status, which follows
// later.
func (s *sourceLoop) suspended(src app.Source) {
	s.mu.Lock()
	revision, repo, known := s.revision, s.repo, s.looked && s.repo != nil
	s.mu.Unlock()
	if !known {
		revision, repo = s.recorded(src)
	}
	s.mu.Lock()
	news := !s.looked || s.repo == nil && repo != nil /* what it is made of may come late */ || s.asked != src.Generation
	s.looked, s.asked = true, src.Generation
	if repo != nil {
		s.revision, s.repo, s.told = revision, repo, s.told || !known
	}
	s.mu.Unlock()
	if news {
		s.e.triggerReaders(src.ID, app.CauseRevision)
		s.e.lookAtUsers(src.ID, true)
	}
}

// recorded gives the revision that the status tells of, with its repository;
// nil if there is none, or it cannot be had. What the source includes is as it
// is now. Its signature was looked at when
// it was recorded; a commit is named by what it holds.
func (s *sourceLoop) recorded(src app.Source) (app.Revision, *source.Repo) {
	if src.Recorded.IsZero() {
		return app.Revision{}, nil
	}
	parts, _, failure := s.e.parts(src)
	if failure != nil {
		return app.Revision{}, nil
	}
	src.Ref, src.Verify = app.GitRef{Commit: src.Recorded.Commit}, nil
	revision, repo, err := s.e.opts.Sources.Resolve(s.ctx, src, time.Time{}, parts...)
	if err != nil {
		return app.Revision{}, nil
	}
	revision.Ref = src.Recorded.Ref
	return revision, repo
}

// sourceNow is what a source last gave.
type sourceNow struct {
	of       app.Source
	looked   bool
	asked    int64 // generation of the resource at the last look
	revision app.Revision
	repo     *source.Repo
	failure  *app.Failure
	told     bool      // revision is what the status told: there may be a newer one
	named    string    // commit that the status names
	since    time.Time // how fresh it is
}

// files gives what the source shows of a tree.
func (n sourceNow) files(tree fs.FS) fs.FS {
	return source.Shown(n.of, tree)
}

// current tells where a source stands; ok is false if there is none.
func (e *Engine) current(id app.SourceID) (sourceNow, bool) {
	e.mu.RLock()
	s := e.sources[id]
	e.mu.RUnlock()
	if s == nil {
		return sourceNow{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return sourceNow{of: s.src, looked: s.looked, asked: s.asked, revision: s.revision, repo: s.repo, failure: s.failure, told: s.told, named: s.named, since: later(s.since, s.made)}, true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// triggerReaders makes the apps that read a source due.
func (e *Engine) triggerReaders(id app.SourceID, cause app.Cause) {
	for _, a := range e.index.readersOf(id) {
		e.trigger(a.id, cause, 0)
	}
}

// refresh looks at a source now, and returns when it has.
func (e *Engine) refresh(id app.SourceID) {
	e.mu.RLock()
	s := e.sources[id]
	e.mu.RUnlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	s.since = time.Now()
	s.mu.Unlock()
	s.once()
}

// at gives a source at another revision than its own, as a user asks for.
func (e *Engine) at(ctx context.Context, id app.SourceID, revision string) (sourceNow, *app.Failure) {
	e.mu.RLock()
	s := e.sources[id]
	e.mu.RUnlock()
	if s == nil {
		return sourceNow{}, app.Fail(app.StageFetch, app.ReasonSourceNotFound, "source %s not found", id)
	}
	s.mu.Lock()
	src := s.src
	s.mu.Unlock()
	src = e.withKeys(ctx, src)
	parts, _, failure := e.parts(src)
	if failure != nil {
		return sourceNow{of: src}, failure
	}
	src.Ref = app.GitRef{Any: revision}
	found, repo, err := e.opts.Sources.Resolve(ctx, src, time.Now(), parts...)
	if err != nil {
		return sourceNow{of: src}, app.AsFailure(err, app.StageFetch)
	}
	return sourceNow{of: src, looked: true, revision: found, repo: repo, since: time.Now()}, nil
}
