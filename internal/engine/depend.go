package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
)

// dependencies reports whether the apps that spec depends on are ready. It
// waits, by telling so, for those that have not run yet in this process and
// were not ready before it.
func (e *Engine) dependencies(ctx context.Context, spec app.Spec) (waiting bool, _ *app.Failure) {
	if cycle := e.cycle(spec); cycle != nil {
		f := app.Fail(app.StageDepends, app.ReasonCycle, "dependencies go in a circle: %s", strings.Join(cycle, " → ")).
			WithHint("remove one of these dependsOn entries")
		f.Retry.Never = true
		return false, f
	}
	for _, id := range spec.DependsOn {
		if i := slices.IndexFunc(spec.ReadyExprs, func(x app.ReadyExpr) bool { return x.On == id }); i >= 0 {
			if failure := e.readyExpr(ctx, spec.ID, spec.ReadyExprs[i]); failure != nil {
				return false, failure
			}
			continue
		}
		dep := e.app(id)
		if dep == nil {
			if f := e.dependencyElsewhere(id, spec); f != nil {
				return false, f
			}
			continue
		}
		dep.mu.Lock()
		last, src, ready, applied, generation := dep.last, dep.spec.Source, dep.spec.Ready, dep.applied, dep.spec.Generation
		suspended := dep.spec.Suspend
		slow := dep.ran && dep.spec.Release != nil // its first run may take long, and what waits for it says so
		dep.mu.Unlock()
		switch {
		case last == nil && ready && suspended:
			continue
		case last == nil && ready && (src != spec.Source || spec.Release != nil):
			continue
		case last == nil && !suspended && !slow:
			return true, nil
		case last == nil || last.Failure != nil || last.Generation != generation:
			return false, notReady("dependency '%s/%s' is not ready", id.Namespace, id.Name)
		case spec.Release != nil:
			continue // of releases no revision is asked for
		case src == spec.Source && !e.hasCurrent(src, applied) && !e.catchUp(dep):
			return false, notReady("dependency '%s/%s' revision is not up to date", id.Namespace, id.Name)
		}
	}
	return false, nil
}

// dependencyElsewhere says why an app that another process delivers holds spec
// back; nil if it does not.
func (e *Engine) dependencyElsewhere(id app.ID, spec app.Spec) *app.Failure {
	e.mu.RLock()
	dep, known := e.elsewhere[id]
	e.mu.RUnlock()
	switch {
	case !known:
		return notReady("dependency '%s/%s' not found", id.Namespace, id.Name)
	case !dep.ready:
		return notReady("dependency '%s/%s' is not ready", id.Namespace, id.Name)
	case spec.Release == nil && dep.source == spec.Source && !e.hasCurrent(dep.source, app.Revision{Commit: dep.applied}):
		return notReady("dependency '%s/%s' revision is not up to date", id.Namespace, id.Name)
	}
	return nil
}

// hasCurrent reports whether applied is the current revision of a source.
func (e *Engine) hasCurrent(id app.SourceID, applied app.Revision) bool {
	now, ok := e.current(id)
	return ok && now.revision.Commit == applied.Commit
}

func notReady(format string, args ...any) *app.Failure {
	f := app.Fail(app.StageDepends, app.ReasonDependency, format, args...)
	f.Retry.After = 30 * time.Second
	return f
}

// dependsOn is what an app depends on, whoever delivers it.
func (e *Engine) dependsOn(id app.ID) []app.ID {
	e.mu.RLock()
	a, other := e.apps[id], e.elsewhere[id]
	e.mu.RUnlock()
	if a == nil {
		return other.dependsOn
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.spec.DependsOn
}

// cycle finds a circle of dependencies through spec; nil if there is none.
func (e *Engine) cycle(spec app.Spec) []string {
	seen := map[app.ID]bool{}
	var walk func(id app.ID, on []app.ID, path []string) []string
	walk = func(id app.ID, on []app.ID, path []string) []string {
		for _, next := range on {
			if next == spec.ID {
				return append(path, next.String())
			}
			if seen[next] {
				continue
			}
			seen[next] = true
			further := e.dependsOn(next)
			if found := walk(next, further, append(path[:len(path):len(path)], next.String())); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(spec.ID, spec.DependsOn, []string{spec.ID.String()})
}

// triggerDependents makes the apps due that wait for id: all if it is well,
// otherwise those that have said nothing yet. Apps that depend on each other in
// a circle would keep each other running.
func (e *Engine) triggerDependents(id app.ID, well bool) {
	for _, a := range e.index.dependentsOf(id) {
		a.mu.Lock()
		waits := a.last == nil || well && a.last.Failure != nil && a.last.Failure.Stage == app.StageDepends
		a.mu.Unlock()
		if waits {
			e.trigger(a.id, app.CauseDepends, 0)
		}
	}
}
