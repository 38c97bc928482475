package engine

import (
	"context"
	"time"

	"plumb.dev/plumb/internal/app"
)

// renderOrRegain is render, and once more if files of the source have gone
// from the cache, which anyone may empty at any time.
func (r *run) renderOrRegain(ctx context.Context, src sourceNow) (rendering, *app.Failure) {
	out, failure := r.render(ctx, src)
	if failure == nil || failure.Reason != app.ReasonSourceLost {
		return out, failure
	}
	if failure := r.e.regain(ctx, r.spec.Source, src); failure != nil {
		return out, failure
	}
	return r.render(ctx, src)
}

// regain brings the commit of src back into the cache. Its source need not have
// moved, and so would not look again by itself.
func (e *Engine) regain(ctx context.Context, id app.SourceID, src sourceNow) *app.Failure {
	e.mu.RLock()
	s := e.sources[id]
	e.mu.RUnlock()
	if s == nil {
		return app.Fail(app.StageFetch, app.ReasonSourceNotFound, "source %s not found", id)
	}
	s.looking.Lock() // apps that read the same source share what the first one brings
	defer s.looking.Unlock()
	if _, err := src.repo.Tree(src.revision.ID()); err == nil {
		return nil
	}
	s.mu.Lock()
	wanted := s.src
	s.mu.Unlock()
	parts, _, lacking := e.parts(wanted)
	if lacking != nil {
		return lacking
	}
	wanted.Ref, wanted.Verify = app.GitRef{Commit: src.revision.Commit}, nil // it was verified when it came
	_, _, err := e.opts.Sources.Resolve(ctx, wanted, time.Time{}, parts...)
	if err == nil {
		e.log.Info("fetched again what was gone from the cache", "source", id, "revision", src.revision.Commit)
		return nil
	}
	failure := *app.AsFailure(err, app.StageFetch)
	failure.Reason = app.ReasonSourceLost // whatever stands against it: it is tried again
	return &failure
}
