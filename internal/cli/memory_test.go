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

func TestCalm(t *testing.T) {
	const mb = 1 << 20
	var c calm
	for i, step := range []struct {
		allocated uint64
		want      bool
	}{
		{20 * mb, false},  // the start
		{21 * mb, false},  // too little to be worth it
		{200 * mb, false}, // at work
		{201 * mb, true},  // over
		{202 * mb, false}, // told already
		{230 * mb, false},
		{235 * mb, false}, // still at it
		{236 * mb, true},
	} {
		if got := c.over(step.allocated); got != step.want {
			t.Errorf("%d: %t, want %t", i, got, step.want)
		}
	}
}
