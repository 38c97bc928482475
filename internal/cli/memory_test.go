package cli

import (
	"runtime/debug"
	"testing"
)

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{0: 200, 10 << 20: 200, 32 << 20: 100, 64 << 20: 50, 1 << 30: 50} {
		if got := gcPercent(live); got != want {
			t.Errorf("with %d MB alive %d, want %d", live>>20, got, want)
		}
	}
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	giveHeadroom()()
	if got := debug.SetGCPercent(77); got != 77 {
		t.Errorf("afterwards it is %d", got)
	}
}
