package cli

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"plumb.dev/plumb/internal/resident"
)

// What the heap may grow by before it is collected: headroom bytes, but no
// less than minGCPercent of what is alive, and no more than maxGCPercent.
const (
	headroom     = 32 << 20
	minGCPercent = 50
	maxGCPercent = 200
)

// giveHeadroom keeps memory and CPU in proportion, until stop is called: by a
// percentage alone, a small heap is collected all the time while a fleet is
// delivered, and a large one takes more than it needs while nothing happens.
func giveHeadroom() (stop func()) {
	var over atomic.Bool
	before := debug.SetGCPercent(minGCPercent)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	// Whatever is unreachable is noticed by the collection that frees it.
	var watch func()
	watch = func() {
		sentinel := new([16]byte)
		runtime.AddCleanup(sentinel, func(struct{}) {
			if over.Load() {
				return
			}
			metrics.Read(live)
			debug.SetGCPercent(gcPercent(live[0].Value.Uint64()))
			watch()
		}, struct{}{})
	}
	watch()
	return func() {
		over.Store(true)
		debug.SetGCPercent(before)
	}
}

// gcPercent is what GOGC should be with so many bytes alive.
func gcPercent(live uint64) int {
	return int(min(max(100*headroom/max(live, 1), minGCPercent), maxGCPercent))
}

// staySmall gives memory back soon after the start, when what it found to do is
// done; whenever work has ended, for the heap that it took would be kept for the
// next; and whenever the pages of the program's file have become many again: the
// system takes them in by large pieces, of which little is used.
func staySmall(ctx context.Context) {
	const (
		soon  = time.Second
		later = 10 * time.Second
		many  = 48 << 20
	)
	var c calm
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	timer := time.NewTimer(soon)
	defer timer.Stop()
	for first := true; ; first = false {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(allocated)
		if over := c.over(allocated[0].Value.Uint64()); first || over || resident.FileBytes() > many {
			resident.Return()
		}
		timer.Reset(later)
	}
}

// calm tells when work has ended, by how much was allocated since the last
// look.
type calm struct {
	seen     uint64 // allocated at the last look
	returned uint64 // allocated when work was last over
}

// What an idle engine allocates between two looks, and what it takes for
// giving memory back to be worth a collection; both with room.
const (
	littleWork = 4 << 20
	muchWork   = 32 << 20
)

// over reports whether work has ended since it last did, given what has been
// allocated so far.
func (c *calm) over(allocated uint64) bool {
	now := allocated-c.seen < littleWork && allocated-c.returned > muchWork
	c.seen = allocated
	if now {
		c.returned = allocated
	}
	return now
}
