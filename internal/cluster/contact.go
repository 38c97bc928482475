package cluster

import (
	"cmp"
	"context"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/object"
)

// Contact is when the API server last answered anything, zero if never, and
// why it does not answer since; nil if it does. A live watch is no answer: an
// idle cluster may be in good health and have answered long ago.
func (c *Cluster) Contact() (time.Time, error) { return c.gate.breaker.contact() }

// Condition is how a cluster fares, for a status and for metrics.
type Condition struct {
	Contact time.Time // last answer; zero if there was none
	// Down: the API server does not answer, a probe says so as well, and
	// requests fail at once. Err says why, Since is when that began.
	Down  bool
	Since time.Time
	Err   error
	// Stale is since when what is remembered may be out of date: the cluster is
	// down, or the watch of a kind is. Zero if everything is watched.
	Stale time.Time
	// Limit is how many requests may be in flight at present.
	Limit int
	// Watches are the kinds that are watched, by name.
	Watches []WatchCondition
}

// WatchCondition is how the watch of a kind fares.
type WatchCondition struct {
	Kind    schema.GroupKind
	Live    bool      // what is remembered is as late as can be: it is watched, or there is nothing to watch
	Since   time.Time // when the watch last began or ended
	Err     error     // why it is not live; nil if the watch is just being opened
	Objects int       // remembered
}

// Condition tells how the cluster fares. It makes no request.
func (c *Cluster) Condition() Condition {
	out := c.gate.breaker.condition()
	out.Limit = c.gate.limit.now()
	if out.Down {
		out.Stale = out.Since
	}
	c.mu.Lock()
	kinds := make(map[schema.GroupKind]*kindWatch, len(c.kinds))
	for gk, k := range c.kinds {
		kinds[gk] = k
	}
	c.mu.Unlock()
	for gk, k := range kinds {
		w := k.condition()
		w.Kind = gk
		if !w.Live && (out.Stale.IsZero() || w.Since.Before(out.Stale)) {
			out.Stale = w.Since
		}
		out.Watches = append(out.Watches, w)
	}
	slices.SortFunc(out.Watches, func(a, b WatchCondition) int { return cmp.Compare(a.Kind.String(), b.Kind.String()) })
	return out
}

// contactChanged lets watches that wait for another try have it at once, and
// passes the news on.
func (c *Cluster) contactChanged(up bool) {
	if up {
		c.mu.Lock()
		for _, k := range c.kinds {
			k.again()
		}
		c.mu.Unlock()
	}
	if c.opts.OnContact != nil {
		c.opts.OnContact(up)
	}
}

// reachable fails at once if the API server is known to be away: what is
// remembered may be old then, and must not be taken for the truth. If a request
// has just failed, it waits until it is known.
func (c *Cluster) reachable(ctx context.Context) error {
	if err := c.gate.breaker.admit(ctx, false); err != nil {
		return Classify("observation", object.Ref{}, object.Origin{}, err)
	}
	return nil
}
