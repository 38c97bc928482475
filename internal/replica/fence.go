package replica

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// ErrFenced is why a connection ended: this replica's Lease was not renewed in
// time, and others may be doing its work by now.
var ErrFenced = errors.New("the Lease of this replica has not been renewed in time: it must not write")

// Fence keeps this process from sending anything to an API server once its
// Lease may be taken for expired. It looks at the clock as late as a process
// can, in the write of a connection: a process that is stopped in the middle of
// a request and goes on much later does not get to send the rest of it, and a
// request of which a part is missing is none.
//
// What it cannot see is a process stopped between that look and the system call
// that follows.
type Fence struct {
	now func() time.Duration

	mu    sync.Mutex
	until time.Duration // by now; 0 is closed
	since time.Duration // when it was opened after it was closed
	shut  bool          // until it is opened anew, whatever is renewed
}

// newFence makes a fence that is closed.
func newFence(now func() time.Duration) *Fence { return &Fence{now: now, shut: true} }

// Open reports whether this replica may write.
func (f *Fence) Open() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open()
}

func (f *Fence) open() bool { return !f.shut && f.now() < f.until }

// extend lets the replica write until then.
func (f *Fence) extend(until time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open() {
		f.since = f.now()
	}
	f.until = max(f.until, until)
}

// begin makes a fence useful that was closed for good.
func (f *Fence) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut, f.until = false, 0
}

// end closes the fence for good.
func (f *Fence) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shut = true
}

// opened is since when the fence has been open; ok is false if it is closed.
func (f *Fence) opened() (since time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since, f.open()
}

// Dialer dials as rest.Config.Dial does.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// Behind makes connections that send nothing while the fence is closed. A nil
// dial is the usual one.
func (f *Fence) Behind(dial Dialer) Dialer {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !f.Open() {
			return nil, ErrFenced
		}
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return fenced{conn, f}, nil
	}
}

// fenced is a connection behind a fence. It hides all else that a connection
// may be able to, such as sending a file.
type fenced struct {
	net.Conn
	fence *Fence
}

func (c fenced) Write(data []byte) (int, error) {
	if !c.fence.Open() {
		c.Conn.Close()
		return 0, ErrFenced
	}
	return c.Conn.Write(data)
}
