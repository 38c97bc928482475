package engine

import (
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
)

// outage is a cluster that does not answer.
type outage struct {
	since time.Time
	never bool // it has not answered before, either
	err   error
	was   cluster.State
	over  bool // it answers again, and is looked at; guarded by destination.mu
}

// failure is what an app says that goes to a cluster that does not answer. It
// is the same text for the whole outage.
func (o *outage) failure(id string) *app.Failure {
	since := "since " + o.since.UTC().Format(time.RFC3339)
	if o.never {
		since += ", and never did before"
	}
	return app.Fail(app.StageObserve, app.ReasonClusterDown, "cluster %s does not answer %s: %w", id, since, o.err).
		WithHint("what was delivered there is left as it is, and looked at again as soon as the cluster answers")
}

// unreachable is why nothing can be done at the destination now, nil if
// something may.
func (d *destination) unreachable() *app.Failure {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.down != nil:
		return d.down.failure(d.id)
	case d.conn == nil && d.told:
		return d.way.Err
	}
	return nil
}

// explain words a failure that the cluster's silence brought about as all its
// apps do: whichever request found it out, one outage is one piece of news.
func (d *destination) explain(f *app.Failure) *app.Failure {
	if f == nil || f.Reason != app.ReasonClusterDown || d.id == local {
		return f
	}
	d.contact() // the request may be faster than the news
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down == nil {
		return f
	}
	out := d.down.failure(d.id)
	out.Stage = f.Stage
	return out
}

// contact takes the news that the cluster has stopped answering, or answers
// again. Only then do its apps say so, or try again: while it is away nothing
// but the connection asks for it.
func (d *destination) contact() {
	d.mu.Lock()
	if d.conn == nil || d.id == local {
		d.mu.Unlock()
		return
	}
	conn, now, was := d.conn, d.conn.Condition(), d.down
	switch {
	case now.Down && was == nil:
		down := &outage{since: now.Since, never: now.Contact.IsZero() && d.heard.IsZero(), err: now.Err, was: conn.State()}
		d.down = down
		d.mu.Unlock()
		d.e.log.Warn("cluster does not answer", "cluster", d.id, "since", down.since.UTC().Format(time.RFC3339), "error", down.err)
		d.interrupt(down.failure(d.id))
		d.triggerAll(bookkeepingEvery)
	case !now.Down && was != nil && !was.over:
		was.over = true
		d.mu.Unlock()
		go d.back(conn, was)
	default:
		d.mu.Unlock()
	}
}

// back ends an outage. What is remembered of the cluster counts only if it is
// still the same cluster, and no earlier state of it.
func (d *destination) back(conn *cluster.Cluster, was *outage) {
	rewound, err := conn.Rewound(d.e.delivering, was.was)
	d.mu.Lock()
	if d.conn != conn || d.down != was {
		d.mu.Unlock()
		return
	}
	was.over = false
	if err != nil && conn.Condition().Down {
		d.mu.Unlock() // it is away again, and will be told of again
		return
	}
	d.down = nil
	if rewound || err != nil {
		d.dropLocked()
	}
	d.mu.Unlock()
	if rewound {
		d.forgetHealth()
	}
	d.e.log.Info("cluster answers again", "cluster", d.id, "rewound", rewound)
	d.triggerAll(0)
}

// forgetHealth drops what the apps of the destination know of the health of
// versions of objects: another cluster gives them other meanings.
func (d *destination) forgetHealth() {
	for _, id := range d.ids() {
		if a := d.e.app(id); a != nil {
			a.mu.Lock()
			clear(a.health)
			a.mu.Unlock()
		}
	}
}

// triggerAll makes all apps of the destination due, one after the other with
// some time between them.
func (d *destination) triggerAll(apart time.Duration) {
	after := time.Duration(0)
	for _, id := range d.ids() {
		d.e.trigger(id, app.CauseDepends, after)
		after += apart
	}
}

// interrupt ends what waits here, and what writes as soon as it may.
func (d *destination) interrupt(why *app.Failure) {
	for _, id := range d.ids() {
		a := d.e.app(id)
		if a == nil {
			continue
		}
		a.mu.Lock()
		if a.run != nil && a.run.dest == d {
			a.run.stopBetween(why)
		}
		a.mu.Unlock()
	}
}
