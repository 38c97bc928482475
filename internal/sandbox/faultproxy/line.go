package faultproxy

import (
	"net"
	"sync"
)

// Line is what a proxy listens on, and where faults of the network happen: it
// can be cut, silent, or reset. It stays on one port from the start to Close.
type Line struct {
	addr     string
	accepted chan net.Conn
	closed   chan struct{}

	mu       sync.Mutex
	listener net.Listener // nil while it is down
	conns    map[*conn]struct{}
	thawed   chan struct{} // closed unless frozen
}

func newLine() (*Line, error) {
	l := &Line{accepted: make(chan net.Conn), closed: make(chan struct{}), conns: map[*conn]struct{}{}, thawed: make(chan struct{})}
	close(l.thawed)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.addr = listener.Addr().String()
	l.open(listener)
	return l, nil
}

func (l *Line) open(listener net.Listener) {
	l.listener = listener
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			l.mu.Lock()
			wrapped := &conn{Conn: c, line: l, over: make(chan struct{})}
			l.conns[wrapped] = struct{}{}
			l.mu.Unlock()
			select {
			case l.accepted <- wrapped:
			case <-l.closed:
				wrapped.Close()
				return
			}
		}
	}()
}

// Addr is the address it listens on, host:port.
func (l *Line) Addr() string { return l.addr }

// Freeze lets nothing pass any more, in either direction, while connections
// stay open and new ones are taken: what a stopped process, or a network that
// swallows packets, looks like. What was sent meanwhile passes after Thaw.
func (l *Line) Freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.thawed:
		l.thawed = make(chan struct{})
	default:
	}
}

// Thaw ends Freeze.
func (l *Line) Thaw() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.thawed:
	default:
		close(l.thawed)
	}
}

// Down resets every connection and refuses new ones: nobody listens.
func (l *Line) Down() {
	l.mu.Lock()
	if l.listener != nil {
		l.listener.Close()
		l.listener = nil
	}
	l.mu.Unlock()
	l.ResetConnections()
}

// Up ends Down, on the same port.
func (l *Line) Up() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		return nil
	}
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		return err
	}
	l.open(listener)
	return nil
}

// ResetConnections resets every connection there is.
func (l *Line) ResetConnections() {
	l.mu.Lock()
	var all []*conn
	for c := range l.conns {
		all = append(all, c)
	}
	l.mu.Unlock()
	for _, c := range all {
		c.reset()
	}
}

// Connections is how many connections are open.
func (l *Line) Connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}

func (l *Line) close() {
	l.Thaw()
	l.Down()
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
}

// acceptor is the line as a net.Listener that outlives Down.
type acceptor struct{ *Line }

func (a acceptor) Accept() (net.Conn, error) {
	select {
	case c := <-a.accepted:
		return c, nil
	case <-a.closed:
		return nil, net.ErrClosed
	}
}

func (a acceptor) Close() error {
	a.close()
	return nil
}

func (a acceptor) Addr() net.Addr {
	addr, err := net.ResolveTCPAddr("tcp", a.addr)
	if err != nil {
		return &net.TCPAddr{}
	}
	return addr
}

// conn is a connection that the line can hold up.
type conn struct {
	net.Conn
	line *Line
	once sync.Once
	over chan struct{} // closed with the connection
}

// pass waits while the line is frozen.
func (c *conn) pass() error {
	c.line.mu.Lock()
	thawed := c.line.thawed
	c.line.mu.Unlock()
	select {
	case <-thawed:
		return nil
	case <-c.over:
		return net.ErrClosed
	}
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if passed := c.pass(); passed != nil {
		return 0, passed
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.pass(); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.over)
		c.line.mu.Lock()
		delete(c.line.conns, c)
		c.line.mu.Unlock()
	})
	return c.Conn.Close()
}

// reset closes the connection so that the other side is told of a reset.
func (c *conn) reset() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	c.Close()
}
