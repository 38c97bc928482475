package cluster

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// After this part of its life a token is replaced, in hundredths.
	renewAfter = 80
	// A token that is younger is not replaced because it was refused: another
	// would fare no better.
	tokenYoung = 10 * time.Second
	// So long counts that there was no token to be had.
	tokenPause = 5 * time.Second
)

// bearer says with each request who asks, by a token that it keeps fresh. An
// old one is replaced beside the requests, which go on with it as long as it
// counts; one that the server refuses is replaced at once, and the request made
// again. What runs on, such as a watch, is not touched.
type bearer struct {
	next  http.RoundTripper
	ctx   context.Context // ends the asking
	ask   func(context.Context) (Token, error)
	spawn func(func()) // runs the asking

	mu     sync.Mutex
	token  string // "" if there is none
	asked  time.Time
	life   time.Duration
	asking *tokenAsk // nil unless somebody asks
	err    error     // of the last time, if that failed
	failed time.Time
}

// tokenAsk is one time that a token is asked for.
type tokenAsk struct {
	done  chan struct{}
	token string
	err   error
}

// noToken is the error of a request that was not made: it says nothing about
// the server that it was for.
type noToken struct{ err error }

func (n *noToken) Error() string { return n.err.Error() }
func (n *noToken) Unwrap() error { return n.err }

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := b.get(req.Context())
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := b.send(req, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !b.refused(token) {
		return resp, err
	}
	again := req
	if req.Body != nil && req.Body != http.NoBody {
		if req.GetBody == nil {
			return resp, nil
		}
		again = req.Clone(req.Context())
		if again.Body, err = req.GetBody(); err != nil {
			return resp, nil
		}
	}
	if token, err = b.get(req.Context()); err != nil {
		if again.Body != nil {
			again.Body.Close()
		}
		return resp, nil
	}
	io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
	resp.Body.Close()
	return b.send(again, token)
}

func (b *bearer) send(req *http.Request, token string) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(req)
}

// CloseIdleConnections passes on that nobody needs them any more.
func (b *bearer) CloseIdleConnections() {
	if closer, ok := b.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// get gives a token that counts.
func (b *bearer) get(ctx context.Context) (string, error) {
	b.mu.Lock()
	age := time.Since(b.asked)
	counts := b.token != "" && age < b.life
	recently := b.err != nil && time.Since(b.failed) < tokenPause
	switch {
	case counts:
		if age*100 >= b.life*renewAfter && !recently {
			b.askLocked()
		}
		defer b.mu.Unlock()
		return b.token, nil
	case recently:
		defer b.mu.Unlock()
		return "", &noToken{b.err}
	}
	a := b.askLocked()
	b.mu.Unlock()
	select {
	case <-a.done:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if a.err != nil {
		return "", &noToken{a.err}
	}
	return a.token, nil
}

// askLocked has a token asked for, once at a time.
func (b *bearer) askLocked() *tokenAsk {
	if b.asking != nil {
		return b.asking
	}
	a := &tokenAsk{done: make(chan struct{})}
	if err := b.ctx.Err(); err != nil {
		a.err = err
		close(a.done)
		return a
	}
	b.asking = a
	b.spawn(func() {
		asked := time.Now()
		token, err := b.ask(b.ctx)
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.asking, b.err = nil, err; err == nil {
			b.token, b.asked, b.life = token.Bearer, asked, token.Life
		} else {
			b.failed = time.Now()
		}
		a.token, a.err = token.Bearer, err
		close(a.done)
	})
	return a
}

// refused notes that the server takes a token no more, and reports whether
// another is worth a try.
func (b *bearer) refused(token string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.token != token { // it was replaced meanwhile
		return true
	}
	if time.Since(b.asked) < tokenYoung {
		return false
	}
	b.token = ""
	return true
}
