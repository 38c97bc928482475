package pace

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestPacer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pacer
		waits := func(what string, want time.Duration) {
			t.Helper()
			began := time.Now()
			p.Wait(t.Context())
			if got := time.Since(began); got != want {
				t.Errorf("%s: waited %s, want %s", what, got, want)
			}
		}
		pass := func(d time.Duration) { <-time.After(d) }
		waits("the first", 0)
		for _, want := range []time.Duration{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
			waits("one after the other", want*time.Millisecond)
		}
		pass(6 * time.Second)
		waits("soon after long pauses", 5*time.Second)
		pass(7 * time.Second)
		waits("later", 0)
		pass(2 * time.Second)
		waits("now and then", 0)
		p.Most = 60 * time.Millisecond
		waits("with a limit", 50*time.Millisecond)
		waits("at the limit", 60*time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		began := time.Now()
		if p.Wait(ctx); time.Since(began) != 0 {
			t.Error("it waits for nobody")
		}
	})
}
