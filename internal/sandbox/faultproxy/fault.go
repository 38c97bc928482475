package faultproxy

import (
	"net/http"
	"strings"
	"time"
)

// Fault is something that goes wrong with some requests.
type Fault struct {
	// Match selects requests; nil selects all. It is called from many
	// goroutines.
	Match func(*http.Request) bool
	// Times is how many of the selected requests it happens to, after which
	// the fault is over; 0 is all of them, until Set or Clear.
	Times int
	// Every spares requests: 3 lets it happen to the third, the sixth, and so
	// on; 0 and 1 to each.
	Every int
	// Delay holds the request back, before anything else.
	Delay time.Duration
	// Do is what happens instead of passing the request on and answering it;
	// the zero Action is nothing.
	Do Action
}

// Action is what happens to a request.
type Action struct {
	kind  kind
	code  int
	after time.Duration
	bytes int64
}

type kind int

const (
	pass kind = iota
	answer
	reset
	lose
	cut
	stall
	slow
	hang
)

// Answer answers with a code, in the form of the Kubernetes API, without
// passing the request on. A retryAfter above 0 is sent along, in whole seconds.
func Answer(code int, retryAfter time.Duration) Action {
	return Action{kind: answer, code: code, after: retryAfter}
}

// Reset resets the connection without passing the request on. As with a real
// one, every other request of that connection dies with it.
func Reset() Action { return Action{kind: reset} }

// Lose passes the request on and resets the connection instead of answering:
// what was written is written, and the client does not know.
func Lose() Action { return Action{kind: lose} }

// Cut resets the connection after so many bytes of the answer's body.
func Cut(bytes int64) Action { return Action{kind: cut, bytes: bytes} }

// Stall sends so many bytes of the answer's body, and then nothing more while
// the connection lives on.
func Stall(bytes int64) Action { return Action{kind: stall, bytes: bytes} }

// Slow sends the answer's body at so many bytes a second.
func Slow(bytesPerSecond int64) Action { return Action{kind: slow, bytes: bytesPerSecond} }

// Hang neither passes the request on nor answers it, until the client gives
// up, or Set, Clear or Close resets its connection.
func Hang() Action { return Action{kind: hang} }

// Watches selects watches of the Kubernetes API.
func Watches(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

// Writes selects whatever is not a read.
func Writes(r *http.Request) bool { return r.Method != http.MethodGet && r.Method != http.MethodHead }

// Method selects requests by method, such as "PATCH", whose path contains
// part; empty strings select any.
func Method(method, part string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return (method == "" || r.Method == method) && strings.Contains(r.URL.Path, part)
	}
}

// Not selects what match does not.
func Not(match func(*http.Request) bool) func(*http.Request) bool {
	return func(r *http.Request) bool { return !match(r) }
}

// active is a fault that is set, with how often it was met.
type active struct {
	Fault
	met, done int
}

// happens counts a request and reports whether the fault happens to it.
func (a *active) happens(r *http.Request) bool {
	if a.Times > 0 && a.done >= a.Times || a.Match != nil && !a.Match(r) {
		return false
	}
	a.met++
	if a.Every > 1 && a.met%a.Every != 0 {
		return false
	}
	a.done++
	return true
}
