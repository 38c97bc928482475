package engine

import (
	"context"
	"errors"
	"os"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
	"plumb.dev/plumb/internal/source/archive"
)

// What a look at a source found is published by a goroutine of its own: before
// that it is packed for whoever fetches it over HTTP, which nobody who delivers
// waits for, nor the next look.

const (
	// packAfter lets the apps that a commit touches be delivered first, and
	// makes one archive of commits that come together.
	packAfter = 500 * time.Millisecond
	// packWithin is how long commits that follow one another may put it off.
	packWithin = 5 * time.Second
	// publishAgain is the wait after a status could not be written.
	publishAgain = time.Second
)

// outbox holds what is to be published of a source: of several, the last.
type outbox struct {
	report *app.SourceReport // nil if there is nothing
	now    sourceNow
	since  time.Time // when there was nothing before
	going  bool      // post's goroutine runs
	news   chan struct{}
}

// publish hands a report on. now is what the source shows.
func (s *sourceLoop) publish(report app.SourceReport, now sourceNow) {
	s.mu.Lock()
	if s.out.report == nil {
		s.out.since = time.Now()
	}
	s.out.report, s.out.now = &report, now
	start := !s.out.going
	s.out.going = true
	if s.out.news == nil {
		s.out.news = make(chan struct{}, 1)
	}
	select {
	case s.out.news <- struct{}{}:
	default:
	}
	s.mu.Unlock()
	if !start {
		return
	}
	e := s.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx != nil && !e.ended {
		e.running.Go(s.post)
	}
}

// post publishes until nothing is left.
func (s *sourceLoop) post() {
	for failures := 0; ; {
		report, now := s.nextReport()
		if report == nil {
			return
		}
		failure, newer := s.pack(report, now)
		if newer {
			failures = 0
			continue
		}
		sent := *report
		if failure != nil {
			s.e.log.Warn("source cannot be packed", "source", sent.ID, "error", failure.Error())
			sent.Failure = failure
		}
		err := s.e.opts.PublishSource(s.ctx, sent)
		if s.ctx.Err() != nil {
			return
		}
		var again time.Duration
		switch {
		case err != nil:
			s.e.log.Warn("status of a source cannot be written", "source", sent.ID, "error", err)
			again = publishAgain
		case failure != nil:
			again = sourceBackoff.After(failures)
			failures++
		default:
			failures = 0
			s.published(report)
			continue
		}
		if !s.pause(again) {
			failures = 0
		}
	}
}

// nextReport gives what is to be published now; it stays until it is.
func (s *sourceLoop) nextReport() (*app.SourceReport, sourceNow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.out.news:
	default:
	}
	if s.out.report == nil || s.ctx.Err() != nil {
		s.out.going = false
	}
	if !s.out.going {
		return nil, sourceNow{}
	}
	return s.out.report, s.out.now
}

// published takes a report out, unless there is a newer one.
func (s *sourceLoop) published(report *app.SourceReport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if report.Artifact != nil || report.Failure == nil { // else the status keeps what it named
		s.named = report.Revision.Commit
	}
	if s.out.report == report {
		s.out.report, s.out.now = nil, sourceNow{}
	}
}

// pause waits; it reports false if something newer is to be published.
func (s *sourceLoop) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.out.news:
		return false
	case <-s.ctx.Done():
		return false
	}
}

// pack gives a report its artifact. It stops when there is a newer report.
func (s *sourceLoop) pack(report *app.SourceReport, now sourceNow) (failure *app.Failure, newer bool) {
	store := s.e.opts.Archives
	if store == nil || report.Artifact != nil || !now.packable() || report.Revision.IsZero() || now.repo == nil {
		return nil, false
	}
	content, err := now.content(report.Revision)
	if err != nil {
		return app.AsFailure(err, app.StageArchive), false
	}
	if made, ok := store.Made(report.ID, content); ok {
		report.Artifact = &made
		return nil, false
	}
	if report.Failure != nil { // what can be fetched stays what it was
		return nil, false
	}
	s.mu.Lock()
	late := time.Since(s.out.since) > packWithin
	s.mu.Unlock()
	if !late && !s.pause(packAfter) {
		return nil, true
	}
	made, err := store.Make(s.ctx, report.ID, content)
	if err != nil {
		return app.AsFailure(err, app.StageArchive), s.ctx.Err() != nil
	}
	report.Artifact = &made
	return nil, false
}

// packable reports whether others may fetch what the source has: not what they
// fetch elsewhere, nor the index of a Helm repository, of which only excerpts
// are kept.
func (n sourceNow) packable() bool { return n.of.External == nil && n.of.HelmRepository == nil }

// content is what an archive of a revision has.
func (n sourceNow) content(r app.Revision) (archive.Content, error) {
	tree, err := n.repo.Tree(r.ID())
	if err != nil {
		return archive.Content{}, err
	}
	c := archive.Content{Revision: r, Tree: tree}
	if r.Chart != nil {
		c.Prefix = r.Chart.Name // as helm package does
	}
	if files := n.files(tree); files != tree {
		filter, ok := files.(source.Filter)
		if !ok {
			return c, app.Fail(app.StageArchive, app.ReasonInternal, "what the source leaves out is not known")
		}
		c.Filter = filter
	}
	return c, nil
}

// ErrNoArtifact says that a source, or an archive of it, is not there.
var ErrNoArtifact = errors.New("there is no such artifact")

// Artifact opens the archive of a source by the name of its file. One of the
// current revision is made if it is not there: another replica may be the one
// that tells of it, or the cache was emptied. The error wraps ErrNoArtifact if
// that is no help.
func (e *Engine) Artifact(ctx context.Context, id app.SourceID, file string) (*os.File, app.Artifact, error) {
	store := e.opts.Archives
	now, there := e.current(id)
	if store == nil || !there || !now.packable() {
		return nil, app.Artifact{}, ErrNoArtifact
	}
	if f, a, ok := store.Get(id, file); ok {
		return f, a, nil
	}
	if now.repo == nil || now.revision.IsZero() || file != archive.FileName(now.revision) && file != archive.LatestName {
		return nil, app.Artifact{}, ErrNoArtifact
	}
	content, err := now.content(now.revision)
	if err == nil {
		_, err = store.Make(ctx, id, content)
	}
	if err != nil {
		return nil, app.Artifact{}, err
	}
	f, a, ok := store.Get(id, file)
	if !ok {
		return nil, a, ErrNoArtifact
	}
	return f, a, nil
}
