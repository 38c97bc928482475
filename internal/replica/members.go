package replica

import (
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"plumb.dev/plumb/internal/shard"
)

// members is what the watch tells of the Leases of all replicas: at any time a
// state that the API server had, since a new list takes the place of the old
// one in one step. It is a store that a reflector fills.
type members struct {
	now func() time.Duration

	mu     sync.Mutex
	synced bool
	leases map[string]sighting
	news   chan struct{} // has room for one
}

// sighting is a Lease and when this process saw it change last. Times that
// other machines wrote into it mean nothing here.
type sighting struct {
	lease *coordinationv1.Lease
	at    time.Duration
}

func newMembers(now func() time.Duration) *members {
	return &members{now: now, leases: map[string]sighting{}, news: make(chan struct{}, 1)}
}

// state lists the members.
func (m *members) state() (_ []shard.Member, synced bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]shard.Member, 0, len(m.leases))
	for _, s := range m.leases {
		out = append(out, memberOf(s.lease))
	}
	slices.SortFunc(out, func(a, b shard.Member) int { return strings.Compare(a.Name, b.Name) })
	return out, m.synced
}

// lease gives the Lease of that name, nil if there is none.
func (m *members) lease(name string) *coordinationv1.Lease {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leases[name].lease
}

// others gives the Leases besides the one of that name.
func (m *members) others(name string) []sighting {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []sighting
	for _, s := range m.leases {
		if s.lease.Name != name {
			out = append(out, s)
		}
	}
	return out
}

func (m *members) put(l *coordinationv1.Lease) {
	if old, known := m.leases[l.Name]; known && old.lease.ResourceVersion == l.ResourceVersion && old.lease.UID == l.UID {
		return
	}
	m.leases[l.Name] = sighting{l, m.now()}
}

func (m *members) change(f func()) error {
	m.mu.Lock()
	f()
	m.mu.Unlock()
	select {
	case m.news <- struct{}{}:
	default:
	}
	return nil
}

// Add implements cache.ReflectorStore.
func (m *members) Add(o any) error { return m.Update(o) }

// Update implements cache.ReflectorStore.
func (m *members) Update(o any) error {
	return m.change(func() { m.put(o.(*coordinationv1.Lease)) })
}

// Delete implements cache.ReflectorStore.
func (m *members) Delete(o any) error {
	return m.change(func() { delete(m.leases, o.(*coordinationv1.Lease).Name) })
}

// Replace implements cache.ReflectorStore.
func (m *members) Replace(list []any, _ string) error {
	return m.change(func() {
		there := map[string]bool{}
		for _, o := range list {
			l := o.(*coordinationv1.Lease)
			there[l.Name] = true
			m.put(l)
		}
		for name := range m.leases {
			if !there[name] {
				delete(m.leases, name)
			}
		}
		m.synced = true
	})
}

// Resync implements cache.ReflectorStore.
func (m *members) Resync() error { return nil }
