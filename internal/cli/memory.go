package cli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
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
