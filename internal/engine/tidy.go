package engine

import (
	"context"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// tidyAfter is how long a repository stays in the cache after the last source
// that reads it has gone, or changed: sources are replaced, and runs end.
const tidyAfter = 10 * time.Minute

// tidy deletes repositories from the cache: those of an earlier process that
// nobody reads now, and those whose last reader goes.
func (e *Engine) tidy(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-e.started:
	}
	if e.opts.Bases == nil {
		e.prune(time.Now().Add(-tidyAfter))
	} else {
		// Which remote bases are in use shows only when their apps have run.
		e.left()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.leaving:
		}
		later := time.NewTimer(tidyAfter)
		select {
		case <-ctx.Done():
			later.Stop()
			return
		case <-later.C:
		}
		e.prune(time.Now().Add(-tidyAfter / 2))
	}
}

// left tells tidy that a repository may have lost its last reader.
func (e *Engine) left() {
	select {
	case e.leaving <- struct{}{}:
	default:
	}
}

// prune deletes the repositories that no source and no app reads, and nobody
// has asked for since before.
func (e *Engine) prune(before time.Time) {
	if e.opts.Sources == nil {
		return
	}
	var keep []*source.Repo
	known := map[app.SourceID]bool{}
	e.mu.RLock()
	for id, s := range e.sources {
		known[id] = true
		s.mu.Lock()
		keep = append(keep, s.repo, e.opts.Sources.Repo(s.src))
		s.mu.Unlock()
	}
	e.mu.RUnlock()
	for _, url := range e.bases.urls() {
		keep = append(keep, e.opts.Sources.Repo(app.Source{URL: url}))
	}
	if err := e.opts.Sources.Prune(before, keep...); err != nil {
		e.log.Warn("repositories that are not in use cannot be deleted from the cache", "error", err)
	}
	if err := e.opts.Archives.Forget(known); err != nil {
		e.log.Warn("archives that are not in use cannot be deleted", "error", err)
	}
}
