package engine

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/ownership"
)

// elsewhere is what the engine keeps of an app that another process delivers:
// what those that depend on it have to know. Its resource's status tells it.
type elsewhere struct {
	ready     bool
	source    app.SourceID
	applied   string // commit
	dependsOn []app.ID
}

func elsewhereOf(spec app.Spec) elsewhere {
	out := elsewhere{ready: spec.Ready, source: spec.Source, dependsOn: spec.DependsOn}
	if spec.LastSync != nil && spec.LastSync.Succeeded {
		out.applied = spec.LastSync.Revision
	}
	return out
}

// SetElsewhere tells of an app that another process delivers, or that its
// status has changed. An app of this engine must be released first.
func (e *Engine) SetElsewhere(spec app.Spec) {
	now := elsewhereOf(spec)
	e.mu.Lock()
	if e.apps[spec.ID] != nil {
		e.mu.Unlock()
		return
	}
	old, known := e.elsewhere[spec.ID]
	e.elsewhere[spec.ID] = now
	e.mu.Unlock()
	if now.ready && (!known || !old.ready || old.applied != now.applied || old.source != now.source) {
		e.triggerDependents(spec.ID, true)
	}
}

// Release gives apps up: another process is to deliver them. It returns when
// nothing of theirs is under way any more. A sync that runs ends before its
// next write, and is reported as far as it came; whoever goes on begins from
// that.
func (e *Engine) Release(ids ...app.ID) {
	var disown []func()
	e.mu.Lock()
	for _, id := range ids {
		a := e.apps[id]
		if a == nil {
			continue // it may have been removed, and still run
		}
		a.mu.Lock()
		a.released = true
		e.elsewhere[id] = elsewhereOf(a.spec)
		a.mu.Unlock()
		disown = append(disown, e.dropLocked(a))
	}
	e.mu.Unlock()
	for _, f := range disown {
		f()
	}
	for _, id := range ids {
		<-e.underWay.idle(id)
	}
}

// handOver publishes what came of the last run of an app that was released.
func (e *Engine) handOver(ctx context.Context, r *run, rep app.Report) {
	if rep.Failure != nil && rep.Failure.Reason == app.ReasonSuperseded {
		if rep.Attempt == nil {
			return // nothing happened
		}
		rep.Handled, rep.Answered = "", nil // whoever goes on answers
	}
	e.logRun(r, rep)
	if err := e.opts.Publish(ctx, rep); err != nil && ctx.Err() == nil {
		e.log.Warn("status cannot be written", "app", r.spec.ID, "error", err)
	}
}

// Relook makes all sources as they were before they had been looked at: what
// this process knows of them may be older than what others have delivered. No
// app is delivered from a source before the look that this causes.
func (e *Engine) Relook() {
	now := time.Now()
	e.mu.Lock()
	e.relooked = now // for sources that are not known yet, or not any more
	e.mu.Unlock()
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, s := range e.sources {
		s.mu.Lock()
		s.looked, s.revision, s.repo, s.failure = false, s.src.Recorded, nil, nil
		s.round++
		s.mu.Unlock()
		s.look(now)
	}
}

// takenOver reports whether an object that an app delivered has been delivered
// by another since: it carries that one's mark, written by the manager of both.
// The other has it then, until this one runs again; within one engine the same
// follows from who wrote last. One of another dialect writes as another manager,
// which cluster.Event.TakenFrom tells. Were it called drift, the two would undo each
// other's writes without end.
func takenOver(mark app.Mark, manager string, ref object.Ref, meta *metav1.PartialObjectMetadata) bool {
	if meta == nil {
		return false
	}
	other := false
	labels, annotations := mark.Stamp(ref)
	for kind, m := range map[string]struct{ want, live map[string]string }{
		"labels": {labels, meta.Labels}, "annotations": {annotations, meta.Annotations},
	} {
		for key, want := range m.want {
			if !ownership.Holds(meta.ManagedFields, manager, "metadata", kind, key) {
				return false
			}
			other = other || m.live[key] != want
		}
	}
	return other
}
