package engine

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// Sources that are made of others: charts of a repository, repositories with
// others within.

// errNotLooked is that of a source which has not been looked at yet.
var errNotLooked = app.Fail(app.StageFetch, app.ReasonSourceNotReady, "it has not been looked at yet")

// parts gives what a source is made of, as it is now.
//
// read then tells what was read of them, if that alone decides what src shows:
// a chart is what its files are, unless each revision makes another one.
func (e *Engine) parts(src app.Source) (_ []source.Part, read func() map[app.SourceID]source.Closure, _ *app.Failure) {
	recorders := map[app.SourceID]recording{}
	read = func() map[app.SourceID]source.Closure {
		out := map[app.SourceID]source.Closure{}
		for id, r := range recorders {
			if out[id] = r.closure(src); out[id].Len() == 0 {
				return nil
			}
		}
		return out
	}
	if e.usesItself(src) {
		return nil, read, app.Fail(app.StageFetch, app.ReasonCycle, "source %s is made of itself, by way of those that it includes", src.ID).
			WithHint("take out one of the includes")
	}
	var out []source.Part
	for _, id := range src.Uses {
		now, there := e.current(id)
		switch {
		case !there && !e.Ready(), there && !now.looked:
			return nil, read, errNotLooked
		case !there:
			return nil, read, app.Fail(app.StageFetch, app.ReasonSourceNotFound, "source %s not found", id).
				WithHint("create it, or correct the reference")
		case now.of.Static():
			out = append(out, source.Part{Source: now.of})
			continue
		case now.revision.IsZero() || now.repo == nil:
			return nil, read, app.Fail(app.StageFetch, app.ReasonSourceNotReady, "source %s is not ready, artifact not found", id)
		}
		tree, err := now.repo.Tree(now.revision.ID())
		if err != nil {
			return nil, read, app.AsFailure(err, app.StageFetch)
		}
		files := now.files(tree)
		if c := src.HelmChart; c != nil && !c.ByRevision {
			recorder := source.Record(tree)
			files = now.files(recorder)
			recorders[id] = recording{recorder, files, now.of.HelmRepository != nil}
		}
		out = append(out, source.Part{Source: now.of, Revision: now.revision, Files: files})
	}
	return out, read, nil
}

// recording notes what is read of a source that a chart is made of.
type recording struct {
	*source.Recorder
	files fs.FS
	index bool // of a Helm repository: there are no files of charts
}

// closure is what decides whether a look would find what this one did. If
// another look at the same chart found it, nothing was read now: that is the
// file that names the version.
func (r recording) closure(src app.Source) source.Closure {
	c := r.Closure()
	if c.Len() > 0 || r.index {
		return c
	}
	at := path.Clean(strings.Trim(src.HelmChart.Chart, "/"))
	if info, err := fs.Stat(r.files, at); err == nil && info.IsDir() {
		_, _ = fs.ReadFile(r.files, path.Join(at, "Chart.yaml")) // for the note that it makes
	}
	return r.Closure()
}

// lookAtWaiting looks at the sources that waited for others to be told of: by
// now all are that exist.
func (e *Engine) lookAtWaiting() {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, s := range e.sources {
		s.mu.Lock()
		waits := !s.looked && len(s.src.Uses) > 0
		s.mu.Unlock()
		if waits {
			s.look(time.Now())
		}
	}
}

// usesItself reports whether a source is made of others that are made of it:
// they would wait for each other without end.
func (e *Engine) usesItself(src app.Source) bool {
	seen := map[app.SourceID]bool{}
	for queue := slices.Clone(src.Uses); len(queue) > 0; queue = queue[1:] {
		id := queue[0]
		if id == src.ID {
			return true
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		if now, there := e.current(id); there {
			queue = append(queue, now.of.Uses...)
		}
	}
	return false
}

// lookAtUsers looks at the sources that are made of a source, but for those that
// read nothing of it which is another now. all looks at them, too.
func (e *Engine) lookAtUsers(id app.SourceID, all bool) {
	users := e.found.usersOf(id)
	var tree *source.Tree // nil if it cannot be had: then all look
	if now, ok := e.current(id); ok && !all && len(users) > 0 && now.repo != nil {
		tree, _ = now.repo.Tree(now.revision.ID())
	}
	for _, user := range users {
		e.mu.RLock()
		u := e.sources[user]
		e.mu.RUnlock()
		if u == nil {
			continue // it has gone meanwhile
		}
		u.mu.Lock()
		read, known := u.read[id]
		u.mu.Unlock()
		if tree == nil || !known || !read.Holds(tree) {
			u.look(time.Now())
		}
	}
}
