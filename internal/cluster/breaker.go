package cluster

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// How the breaker asks whether the server is back.
const (
	probeFor   = 3 * time.Second // for the answer
	probeFirst = 250 * time.Millisecond
	probeMost  = 5 * time.Second
)

// breaker knows whether the API server answers. It opens when a request found
// no server and a probe confirms that: whatever is in flight then ends, and
// further requests fail at once instead of each waiting for its own timeout.
// While it is open it alone asks, and it closes with the first answer.
type breaker struct {
	probe   func(ctx context.Context) error
	changed func(up bool)   // told when it opens and closes; may be nil
	spawn   func(func())    // runs the probing
	closing <-chan struct{} // ends the probing

	mu      sync.Mutex
	last    time.Time // of the last answer
	err     error     // why there is none since; nil if there is
	since   time.Time // of the first failure
	open    bool
	probing bool          // somebody asks, until there is an answer
	unsure  bool          // the first probe after a failure is not decided
	verdict chan struct{} // closed when it is
	next    time.Time     // of the next probe, while open
	closed  chan struct{} // closed when the breaker closes
	flights map[*flight]struct{}
}

// flight is a request that is ended when the breaker opens.
type flight struct{ cancel context.CancelCauseFunc }

// unavailable is the error of a request that was not made, or was ended,
// because the server is away.
type unavailable struct {
	since time.Time
	retry time.Duration
	cause error
}

// Error implements error.
func (u *unavailable) Error() string {
	return fmt.Sprintf("the API server does not answer since %s (%v)", u.since.UTC().Format("15:04:05Z"), u.cause)
}

// admit lets a request go, or says that the server is away. It waits while that
// is being found out, and the patient wait until the server is back.
func (b *breaker) admit(ctx context.Context, patient bool) error {
	for {
		b.mu.Lock()
		var wait chan struct{}
		switch {
		case b.open && !patient:
			defer b.mu.Unlock()
			return b.awayLocked()
		case b.open:
			wait = b.closed
		case b.unsure:
			wait = b.verdict
		default:
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awayLocked is the failure of whoever asks now.
func (b *breaker) awayLocked() *unavailable {
	return &unavailable{since: b.since, retry: max(time.Second, time.Until(b.next)), cause: b.err}
}

// fly registers a request in flight; land takes it out.
func (b *breaker) fly(cancel context.CancelCauseFunc) (land func()) {
	f := &flight{cancel}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.flights == nil {
		b.flights = map[*flight]struct{}{}
	}
	b.flights[f] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.flights, f)
	}
}

// answered notes that the server answered something.
func (b *breaker) answered() {
	b.mu.Lock()
	b.last, b.err = time.Now(), nil
	opened := b.open
	if opened {
		b.open = false
		close(b.closed)
	}
	b.mu.Unlock()
	if opened && b.changed != nil {
		b.changed(true)
	}
}

// suspect notes that a request found no server, and has that confirmed.
func (b *breaker) suspect(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err, b.since = err, time.Now()
	}
	if b.probing {
		return
	}
	select {
	case <-b.closing:
		return
	default:
	}
	b.probing, b.unsure, b.verdict = true, !b.open, make(chan struct{})
	b.spawn(b.ask)
}

// ask probes until the server answers.
func (b *breaker) ask() {
	delay := probeFirst
	for {
		err := b.probe(context.Background())
		if err == nil {
			b.mu.Lock()
			b.probing = false
			b.decideLocked()
			b.mu.Unlock()
			b.answered()
			return
		}
		pause := time.Duration(float64(delay) * (1 + rand.Float64()/4))
		b.mu.Lock()
		b.next = time.Now().Add(pause)
		opens := !b.open
		var cut []*flight
		if opens {
			if b.err == nil {
				b.since = time.Now() // something was answered meanwhile, and no more
			}
			b.open, b.closed, b.err = true, make(chan struct{}), err
			for f := range b.flights {
				cut = append(cut, f)
			}
		}
		away := b.awayLocked()
		b.decideLocked()
		b.mu.Unlock()
		for _, f := range cut {
			f.cancel(away)
		}
		if opens && b.changed != nil {
			b.changed(false)
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-b.closing:
			again.Stop()
			return
		}
		delay = min(2*delay, probeMost)
	}
}

// decideLocked lets those go on who wait for what the first probe says.
func (b *breaker) decideLocked() {
	if b.unsure {
		b.unsure = false
		close(b.verdict)
	}
}

// contact is when the server last answered, and why it does not since.
func (b *breaker) contact() (time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last, b.err
}

// readiness asks whether a server is ready, through rt. Whatever it answers
// but that it is not well shows that it is there.
func readiness(rt http.RoundTripper, base *url.URL) func(ctx context.Context) error {
	target := base.JoinPath("/readyz").String()
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeoutCause(ctx, probeFor, errNoAnswer)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return err
		}
		resp, err := rt.RoundTrip(req)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err
		}
		defer resp.Body.Close()
		io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
		if resp.StatusCode >= 500 {
			return fmt.Errorf("it answers %s to %s", resp.Status, req.URL.Path)
		}
		return nil
	}
}

// condition is the breaker's part of a Condition.
func (b *breaker) condition() Condition {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := Condition{Contact: b.last, Down: b.open, Err: b.err}
	if b.err != nil {
		c.Since = b.since
	}
	return c
}
