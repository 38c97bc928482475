package up

import (
	"context"
	"fmt"
	"time"

	"plumb.dev/plumb/internal/sandbox/child"
)

// Waits before a child that ended is started again, as a Deployment would:
// each failure in a row waits twice as long. A child that lived for longer
// than steady begins anew.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
	steady    = 10 * time.Second
)

// keep keeps a child alive until ctx ends, and stops it then. start starts it
// again; tell is told what happens.
func keep(ctx context.Context, name string, process *child.Process, start func(context.Context) (*child.Process, error), tell func(string)) {
	wait, began := firstWait, time.Now()
	for {
		select {
		case <-ctx.Done():
			if err := process.Stop(); err != nil {
				tell(err.Error())
			}
			return
		case <-process.Done():
		}
		if time.Since(began) > steady {
			wait = firstWait
		}
		tell(fmt.Sprintf("%s has ended (%s) and is started again", name, endText(process.Wait())))
		for {
			if !pause(ctx, wait) {
				return
			}
			wait = min(2*wait, lastWait)
			began = time.Now()
			again, err := start(ctx)
			if err == nil {
				process = again
				tell(fmt.Sprintf("%s is back after %.1f s, process %d", name, time.Since(began).Seconds(), process.PID))
				break
			}
			if ctx.Err() != nil {
				return
			}
			tell(fmt.Sprintf("%v; trying again", err))
		}
	}
}

func endText(err error) string {
	if err == nil {
		return "unasked"
	}
	return err.Error()
}

// pause reports whether the time has passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
