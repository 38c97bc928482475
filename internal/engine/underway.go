package engine

import (
	"sync"

	"plumb.dev/plumb/internal/app"
)

// underWay knows which apps are being worked on, wherever they go: one that has
// been removed, or has changed its cluster, may still be.
type underWay struct {
	mu      sync.Mutex
	works   map[app.ID]int
	waiters map[app.ID][]chan struct{} // closed when nothing works on the app
}

// begin is called before it is looked whether the app is still known.
func (u *underWay) begin(id app.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.works == nil {
		u.works, u.waiters = map[app.ID]int{}, map[app.ID][]chan struct{}{}
	}
	u.works[id]++
}

func (u *underWay) end(id app.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.works[id]--; u.works[id] > 0 {
		return
	}
	delete(u.works, id)
	for _, idle := range u.waiters[id] {
		close(idle)
	}
	delete(u.waiters, id)
}

// idle is closed as soon as nothing works on the app.
func (u *underWay) idle(id app.ID) <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	idle := make(chan struct{})
	if u.works[id] == 0 {
		close(idle)
	} else {
		u.waiters[id] = append(u.waiters[id], idle)
	}
	return idle
}
