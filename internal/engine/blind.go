package engine

import (
	"context"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// blindEvery is how often objects are compared of which no watch tells drift.
const blindEvery = 3 * time.Minute

// lookAtBlind makes apps due again and again that deliver such objects. There
// are few: nothing of Kubernetes itself is among them.
func (e *Engine) lookAtBlind(ctx context.Context) {
	tick := time.NewTicker(blindEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, id := range e.blind() {
			e.trigger(id, app.CauseRetry, 0)
		}
	}
}

// blind lists the apps that deliver objects of which no watch tells drift.
func (e *Engine) blind() []app.ID {
	e.mu.RLock()
	apps := make([]*state, 0, len(e.apps))
	for _, a := range e.apps {
		apps = append(apps, a)
	}
	e.mu.RUnlock()
	var out []app.ID
	for _, a := range apps {
		a.mu.Lock()
		refs := make([]object.Ref, 0, len(a.records.sorted))
		for rec := range a.records.all() {
			refs = append(refs, rec.Ref)
		}
		idle, dest := a.run == nil && !a.suspended(), a.dest
		unowned, off := a.unowned, a.spec.Release != nil && a.spec.Release.Drift.Mode == app.DriftOff
		a.mu.Unlock()
		if off {
			continue
		}
		if cl := dest.current(); idle && cl != nil && dest.unreachable() == nil && (unowned || len(cl.Unwatched(refs)) > 0) {
			out = append(out, a.id)
		}
	}
	return out
}
