// Package meter measures what a controller costs: requests to the API server,
// CPU and memory of processes, and the time until nothing happens any more. It
// is what the commands in bench share. It must not know what is measured.
package meter

import (
	"context"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Requests counts requests to the API server, by "VERB resource/subresource",
// with " (dry run)" for those that wrote nothing. Verbs are those of the API
// server's metrics: a server-side apply is APPLY.
type Requests map[string]float64

// Keys are the keys in order.
func (r Requests) Keys() []string { return slices.Sorted(maps.Keys(r)) }

// Since is what has come since before; what did not change is left out.
func (r Requests) Since(before Requests) Requests {
	out := Requests{}
	for k, n := range r {
		if d := n - before[k]; d != 0 {
			out[k] = d
		}
	}
	return out
}

// Plus is r with more of them added.
func (r Requests) Plus(more Requests) Requests {
	out := maps.Clone(r)
	for k, n := range more {
		out[k] += n
	}
	return out
}

// Times is r with each count multiplied.
func (r Requests) Times(f float64) Requests {
	out := make(Requests, len(r))
	for k, n := range r {
		out[k] = n * f
	}
	return out
}

// Total is their sum.
func (r Requests) Total() float64 {
	sum := 0.0
	for _, n := range r {
		sum += n
	}
	return sum
}

// ByVerb adds up resources.
func (r Requests) ByVerb() Requests {
	out := Requests{}
	for k, n := range r {
		verb, rest, _ := strings.Cut(k, " ")
		if strings.HasSuffix(rest, dryRun) {
			verb += dryRun
		}
		out[verb] += n
	}
	return out
}

// Writes is how many were to change something, events left out.
func (r Requests) Writes() float64 {
	sum := 0.0
	for k, n := range r {
		verb, resource, _ := strings.Cut(k, " ")
		if slices.Contains(writing, verb) && resource != "events" && !strings.HasSuffix(k, dryRun) && !isReview(resource) {
			sum += n
		}
	}
	return sum
}

const dryRun = " (dry run)"

var writing = []string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}

// isReview: creating one asks a question.
func isReview(resource string) bool {
	return strings.HasSuffix(resource, "reviews") || strings.HasSuffix(resource, "/token")
}

// Server counts the requests that an API server is sent by others than the
// clients whose configuration went through Own.
type Server struct {
	core *kubernetes.Clientset

	mu  sync.Mutex
	own Requests
}

// NewServer connects to an API server, and leaves out of its count what is
// sent by way of the configuration that it returns.
func NewServer(config *rest.Config) (*Server, *rest.Config, error) {
	s := &Server{own: Requests{}}
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.DisableCompression = true // what is read often would cost the server as much again
	config.UserAgent = "plumb-bench"
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return counting{s, next} })
	var err error
	s.core, err = kubernetes.NewForConfig(config)
	return s, config, err
}

// Read gives the requests of others, from the API server's own metrics.
// Watches are left out: they are counted when they end. So are leases, and
// what is asked about no resource, as discovery and probes do: whichever
// control plane there is does so for ever.
func (s *Server) Read(ctx context.Context) (Requests, error) {
	data, err := s.core.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	out := Requests{}
	for line := range strings.Lines(string(data)) {
		labels, ok := strings.CutPrefix(line, "apiserver_request_total{")
		if !ok {
			continue
		}
		labels, count, _ := strings.Cut(strings.TrimSpace(labels), "} ")
		var n float64
		if _, err := fmt.Sscan(count, &n); err != nil {
			return nil, fmt.Errorf("metrics of the API server: %w", err)
		}
		k := key(label(labels, "verb"), label(labels, "resource"), label(labels, "subresource"), label(labels, "dry_run") != "")
		if counts(k) {
			out[k] += n
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, n := range s.own {
		if out[k] -= n; out[k] == 0 {
			delete(out, k)
		}
	}
	return out, nil
}

func key(verb, resource, subresource string, dry bool) string {
	k := verb + " " + resource
	if subresource != "" {
		k += "/" + subresource
	}
	if dry {
		k += dryRun
	}
	return k
}

func counts(key string) bool {
	verb, resource, _ := strings.Cut(key, " ")
	return verb != "WATCH" && resource != "" && resource != "leases" && !strings.HasPrefix(resource, "/")
}

func label(labels, name string) string {
	_, rest, _ := strings.Cut(","+labels, ","+name+`="`)
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

// Quiet waits until for calm others have made no request and the processes
// have used less than a quarter of a core, and tells when that began, to a
// quarter of a second. It gives up after patience.
func (s *Server) Quiet(ctx context.Context, calm, patience time.Duration, pids ...int) (since time.Time, err error) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var before Requests
	var used time.Duration
	var moved []string
	began := time.Now()
	since = began
	for at := began; at.Sub(began) < patience; {
		now, err := s.Read(ctx)
		if err != nil {
			return since, err
		}
		usage, err := Read(pids...)
		if err != nil {
			return since, err
		}
		last := at
		at = time.Now()
		if before != nil {
			if changed := now.Since(before).Keys(); len(changed) > 0 {
				moved, since = append(moved, changed...), at
			}
			if usage.CPU-used > at.Sub(last)/4 {
				moved, since = append(moved, "CPU"), at
			}
		}
		before, used = now, usage.CPU
		if at.Sub(since) >= calm {
			return since, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return since, ctx.Err()
		}
	}
	return since, fmt.Errorf("it did not become quiet in %s: last there was %s", patience, strings.Join(moved[max(0, len(moved)-5):], ", "))
}

// counting counts the requests of the measuring client itself.
type counting struct {
	server *Server
	next   http.RoundTripper
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	k := ownKey(r)
	resp, err := c.next.RoundTrip(r)
	if err != nil || !counts(k) {
		return resp, err
	}
	// The API server counts a request when its answer is written.
	done := func() {
		c.server.mu.Lock()
		c.server.own[k]++
		c.server.mu.Unlock()
	}
	resp.Body = &body{ReadCloser: resp.Body, done: sync.OnceFunc(done)}
	return resp, nil
}

type body struct {
	io.ReadCloser
	done func()
}

func (b *body) Close() error {
	b.done()
	return b.ReadCloser.Close()
}

// ownKey tells what the API server's metrics will call a request.
func ownKey(r *http.Request) string {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		parts = parts[3:]
	default:
		return r.Method + " /"
	}
	if len(parts) >= 3 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	resource, subresource, named := parts[0], "", len(parts) > 1
	if len(parts) > 2 {
		subresource = parts[2]
	}
	query := r.URL.Query()
	verb := r.Method
	switch verb {
	case http.MethodGet:
		if !named {
			verb = "LIST"
		}
		if w := query.Get("watch"); w == "true" || w == "1" {
			verb = "WATCH"
		}
	case http.MethodPatch:
		if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/apply-patch+yaml" {
			verb = "APPLY"
		}
	case http.MethodDelete:
		if !named {
			verb = "DELETECOLLECTION"
		}
	}
	return key(verb, resource, subresource, query.Has("dryRun"))
}
