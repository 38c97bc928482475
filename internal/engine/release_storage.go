package engine

import (
	"context"
	"strconv"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/object"
)

// Helm keeps each revision of a release in a Secret of its own. The one of the
// revision that is known is watched, and the name of the next: whoever upgrades,
// rolls back or uninstalls by hand changes the first, or makes the second.

// storageSecret is where Helm keeps a revision.
func storageSecret(namespace, name string, version int) object.Ref {
	return object.Ref{Kind: "Secret", Namespace: namespace, Name: storagePrefix + name + ".v" + strconv.Itoa(version)}
}

const storagePrefix = "sh.helm.release.v1."

// stored is the revision that an app knows of.
type stored struct {
	current, next object.Ref
	status        string
}

// watchStorage watches what Helm keeps of the release. That it cannot is no
// failure of the app: the next run looks by itself.
func (w *releasing) watchStorage(ctx context.Context) {
	var now stored
	if m := w.now.Memory; len(m.History) > 0 && m.StorageNamespace != "" {
		last := m.History[0]
		now = stored{current: storageSecret(m.StorageNamespace, last.Name, last.Version),
			next: storageSecret(m.StorageNamespace, last.Name, last.Version+1), status: last.Status}
	}
	w.a.mu.Lock()
	was := w.a.stored
	w.a.stored = now
	w.a.mu.Unlock()
	d := w.dest
	d.mu.Lock()
	delete(d.releases, was.current)
	delete(d.releases, was.next)
	if now != (stored{}) {
		d.releases[now.current], d.releases[now.next] = w.a.id, w.a.id
	}
	d.mu.Unlock()
	if now == (stored{}) || w.cl == nil || was.current == now.current {
		return
	}
	if err := w.cl.Remember(ctx, []object.Ref{now.current, now.next}); err != nil && ctx.Err() == nil {
		w.e.log.Warn("what Helm stores cannot be watched", "app", w.spec.ID, "error", err)
	}
}

// storageObserved makes an app due of whose release someone else changed what
// Helm stores. An action that is under way is nobody's business yet.
func (d *destination) storageObserved(ev cluster.Event) {
	if ev.Ref.Kind != "Secret" || !strings.HasPrefix(ev.Ref.Name, storagePrefix) {
		return
	}
	d.mu.Lock()
	id, ok := d.releases[ev.Ref]
	d.mu.Unlock()
	a := d.e.app(id)
	if !ok || a == nil {
		return
	}
	status := ""
	if ev.Meta != nil {
		status = ev.Meta.Labels["status"]
	}
	a.mu.Lock()
	news := !a.acting && a.dest == d && (ev.Deleted && ev.Ref == a.stored.current ||
		!ev.Deleted && !strings.HasPrefix(status, "pending-") && status != "uninstalling" && (ev.Ref == a.stored.next || status != a.stored.status))
	a.mu.Unlock()
	if news {
		d.e.trigger(id, app.CauseDrift, healthDelay)
	}
}
