package faultproxy

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// nowhere takes an answer that is not to arrive.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}
func (n *nowhere) Flush()                      {}

// limited is the way of an answer that arrives in part, or slowly.
type limited struct {
	http.ResponseWriter
	request *http.Request
	do      Action
	left    int64
	cleared <-chan struct{}
}

// Unwrap lets an http.ResponseController reach what is below.
func (l *limited) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// Write implements io.Writer.
func (l *limited) Write(b []byte) (int, error) {
	if l.do.kind == slow {
		return l.slowly(b)
	}
	n, err := l.ResponseWriter.Write(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	if err != nil || l.left > 0 {
		return n, err
	}
	if err := http.NewResponseController(l.ResponseWriter).Flush(); err != nil {
		return n, err
	}
	if l.do.kind == stall {
		select {
		case <-l.request.Context().Done():
		case <-l.cleared:
		}
	}
	abort(l.request)
	return n, io.ErrClosedPipe
}

// slowly writes a tenth of a second's worth at a time.
func (l *limited) slowly(b []byte) (written int, err error) {
	const tick = 100 * time.Millisecond
	part := max(1, int(l.do.bytes/10))
	for len(b) > 0 && err == nil {
		n := 0
		n, err = l.ResponseWriter.Write(b[:min(part, len(b))])
		written += n
		b = b[n:]
		if err == nil {
			err = http.NewResponseController(l.ResponseWriter).Flush()
		}
		wait(l.request, tick)
		if l.request.Context().Err() != nil {
			return written, l.request.Context().Err()
		}
	}
	return written, err
}

// watchBody is the answer to a watch, which can be ended.
type watchBody struct {
	io.ReadCloser
	ended atomic.Bool
	proxy *Proxy
}

// noteWatch makes the answer to a watch one that EndWatches ends.
func (p *Proxy) noteWatch(resp *http.Response) error {
	if !Watches(resp.Request) || resp.StatusCode != http.StatusOK {
		return nil
	}
	w := &watchBody{ReadCloser: resp.Body, proxy: p}
	resp.Body = w
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watches[w] = struct{}{}
	return nil
}

// Read implements io.Reader.
func (w *watchBody) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	if err != nil && w.ended.Load() {
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer.
func (w *watchBody) Close() error {
	w.proxy.mu.Lock()
	delete(w.proxy.watches, w)
	w.proxy.mu.Unlock()
	return w.ReadCloser.Close()
}

// end ends the watch as if the server had.
func (w *watchBody) end() {
	w.ended.Store(true)
	w.ReadCloser.Close()
}
