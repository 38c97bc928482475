package cluster

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// How a server that hangs is found out. All of it together is how long one
// that is frozen goes unnoticed while something is asked of it.
const (
	// An HTTP/2 connection that is silent for pingAfter is pinged, and given
	// up pingFor later. That costs no request.
	pingAfter = 3 * time.Second
	pingFor   = 5 * time.Second
	// A request that waits for its answer so long makes the breaker ask whether
	// the server is well: one behind a proxy hangs while its connection lives.
	suspectAfter = 5 * time.Second
	// A watch brings a bookmark a minute, if nothing else.
	watchSilent = 3 * time.Minute
	// A new connection must be encrypted by then.
	handshakeFor = 5 * time.Second
)

// errNoAnswer ends a request that took too long, while its caller would still
// wait.
var errNoAnswer = errors.New("the API server does not answer")

// gate is the one door to the API server. It bounds how many requests wait for
// an answer, watches aside, and lets none wait for a server that is away.
type gate struct {
	next    http.RoundTripper
	limit   *limiter
	breaker *breaker
}

// RoundTrip implements http.RoundTripper.
func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := g.pass(req)
	if err != nil && req.Body != nil {
		req.Body.Close()
	}
	return resp, err
}

func (g *gate) pass(req *http.Request) (*http.Response, error) {
	asked := req.Context()
	watch, patient := isWatch(req)
	if !watch {
		if err := g.limit.take(asked); err != nil {
			return nil, err
		}
		defer g.limit.give()
	}
	if err := g.breaker.admit(asked, patient); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(asked)
	land := g.breaker.fly(cancel)
	end := func() {
		land()
		cancel(nil)
	}
	late := time.AfterFunc(suspectAfter, func() { g.breaker.suspect(errNoAnswer) })
	resp, err := g.next.RoundTrip(req.WithContext(ctx))
	late.Stop()
	if err != nil {
		err = g.failed(asked, ctx, err)
		end()
		return nil, err
	}
	g.breaker.answered()
	if resp.StatusCode == http.StatusTooManyRequests {
		g.limit.slow()
	} else {
		g.limit.answered()
	}
	body := &answer{ReadCloser: resp.Body, gate: g, asked: asked, ctx: ctx, end: sync.OnceFunc(end)}
	if watch {
		body.silent = time.AfterFunc(watchSilent, func() { g.breaker.suspect(errNoAnswer) })
	}
	resp.Body = body
	return resp, nil
}

// failed tells the breaker of a request that found no server, and gives what
// its caller is told. A caller that gave up says nothing about the server.
func (g *gate) failed(asked, ctx context.Context, err error) error {
	var away *unavailable
	var none *noToken
	switch {
	case errors.As(context.Cause(ctx), &away): // ended by the breaker
		return away
	case errors.As(err, &none): // it was not even asked
	case asked.Err() == nil, errors.Is(context.Cause(asked), errNoAnswer):
		g.breaker.suspect(err)
	}
	return err
}

// isWatch reports whether req is a watch, and whether it goes on from a state
// that is known: such a one may wait until the server is back.
func isWatch(req *http.Request) (watch, patient bool) {
	if !strings.Contains(req.URL.RawQuery, "watch=") {
		return false, false
	}
	q := req.URL.Query()
	return q.Get("watch") != "", q.Get("sendInitialEvents") == "" && q.Get("resourceVersion") != ""
}

// answer is the body of an answer. An end that is none tells of the server's.
type answer struct {
	io.ReadCloser
	gate       *gate
	asked, ctx context.Context
	end        func()
	silent     *time.Timer // nil unless it is a watch
	closed     atomic.Bool
}

// Read implements io.Reader.
func (a *answer) Read(b []byte) (int, error) {
	n, err := a.ReadCloser.Read(b)
	if a.silent != nil {
		a.silent.Reset(watchSilent)
	}
	if err != nil && err != io.EOF && !a.closed.Load() {
		err = a.gate.failed(a.asked, a.ctx, err)
	}
	return n, err
}

// Close implements io.Closer.
func (a *answer) Close() error {
	a.closed.Store(true)
	if a.silent != nil {
		a.silent.Stop()
	}
	err := a.ReadCloser.Close()
	a.end()
	return err
}

// attentive makes the transport below rt notice a connection that is dead. It
// must not be shared with others.
func attentive(rt http.RoundTripper) http.RoundTripper {
	for at := rt; ; {
		switch t := at.(type) {
		case *http.Transport:
			t.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingFor}
			t.TLSHandshakeTimeout = handshakeFor
			return rt
		case utilnet.RoundTripperWrapper:
			at = t.WrappedRoundTripper()
		default:
			return rt
		}
	}
}

// limiter bounds the requests in flight, and takes a hint: an API server that
// answers "too many requests" gets half as many, then step by step more again.
type limiter struct {
	tokens chan struct{} // each allows one request

	mu    sync.Mutex
	most  int
	limit int
	owed  int // tokens to keep when they come back
	good  int // answers since the limit last changed
	cut   time.Time
}

func newLimiter(most int) *limiter {
	l := &limiter{tokens: make(chan struct{}, most), most: most, limit: most}
	for range most {
		l.tokens <- struct{}{}
	}
	return l
}

func (l *limiter) take(ctx context.Context) error {
	select {
	case <-l.tokens:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *limiter) give() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owed > 0 {
		l.owed--
		return
	}
	l.tokens <- struct{}{} // has room: there are never more than most
}

// slow halves the limit, at most once a second: what is in flight already
// comes back with the same hint.
func (l *limiter) slow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.good = 0
	if l.limit == 1 || time.Since(l.cut) < time.Second {
		return
	}
	l.cut = time.Now()
	l.owed += l.limit - l.limit/2
	l.limit /= 2
}

func (l *limiter) answered() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limit == l.most {
		return
	}
	if l.good++; l.good < l.limit {
		return
	}
	l.good = 0
	l.limit++
	if l.owed > 0 {
		l.owed--
		return
	}
	l.tokens <- struct{}{}
}

func (l *limiter) now() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}
