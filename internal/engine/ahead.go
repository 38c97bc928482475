package engine

import "plumb.dev/plumb/internal/app"

// The status of a source names a commit some time after it was found, and apps
// do not wait for that. What a process knows goes with it; so an app remembers
// which commit it delivered ahead of the status. A process that has only the
// status to go by, because the remote does not answer or the source is
// suspended, must not deliver an older commit over a newer one: that would undo
// the newer, and prune what it added. Whatever the remote itself says is
// followed, older or not.

// ahead is what an app is to remember that delivers the source's revision;
// before is what it remembers already.
func (n sourceNow) ahead(before app.Ahead) app.Ahead {
	commit := n.revision.Commit
	switch {
	case n.of.ID.Kind == "", n.of.External != nil: // no status of ours tells of it
		return app.Ahead{}
	case before.Revision == commit:
		return before // the status need not be written because its source's was
	case n.told, n.named == "", n.named == commit:
		return app.Ahead{}
	}
	return app.Ahead{Revision: commit, Of: n.named}
}

// behind is why the source's revision must not be delivered, nil if it may be.
func (n sourceNow) behind(a app.Ahead) *app.Failure {
	if !n.told || a.Of == "" || a.Of != n.named || a.Revision == n.revision.Commit {
		return nil
	}
	if n.failure == nil {
		return app.Fail(app.StageFetch, app.ReasonSourceNotReady,
			"%s has not been looked at since the start: its status names %s, and %s was delivered, which was newer", n.of.ID, n.named, a.Revision).
			WithHint("resume the source, or those that it is made of")
	}
	return app.Fail(app.StageFetch, app.ReasonSourceNotReady,
		"%s could not be fetched since the start: its status names %s, and %s was delivered, which was newer: %w", n.of.ID, n.named, a.Revision, n.failure)
}

// toldOf reports whether one of the sources is known by its status only.
func (e *Engine) toldOf(ids []app.SourceID) bool {
	for _, id := range ids {
		if now, there := e.current(id); there && now.told {
			return true
		}
	}
	return false
}
