package cluster

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// errNoAnswer ends a request that took too long, while its caller would still
// wait.
var errNoAnswer = errors.New("the API server does not answer")

// gate is the one door to the API server. It bounds how many requests wait for
// an answer, watches aside, and remembers whether the server answers at all.
type gate struct {
	next  http.RoundTripper
	slots chan struct{}

	mu   sync.Mutex
	last time.Time
	err  error
}

func newGate(next http.RoundTripper, slots int) *gate {
	return &gate{next: next, slots: make(chan struct{}, slots)}
}

// RoundTrip implements http.RoundTripper.
func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Query().Get("watch") == "" {
		select {
		case g.slots <- struct{}{}:
			defer func() { <-g.slots }()
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	resp, err := g.next.RoundTrip(req)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.last, g.err = time.Now(), nil
	case req.Context().Err() == nil, errors.Is(context.Cause(req.Context()), errNoAnswer):
		g.err = err // otherwise the caller gave up, which says nothing about the server
	}
	return resp, err
}

func (g *gate) contact() (time.Time, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.last, g.err
}
