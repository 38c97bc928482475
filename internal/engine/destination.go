package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/object"
)

// local is the ID of the cluster that Plumb serves.
const local = ""

// destination is one cluster that apps go to, with all that is there for its
// sake alone: a queue, worker slots, a connection with its watches and limits,
// and what is known of whether it answers. Nothing here is shared with another
// cluster, so that one that hangs takes nothing that another needs.
type destination struct {
	e     *Engine
	id    string
	queue *queue
	slots chan struct{}
	// actions has room for the actions of Helm that run at a time: each holds
	// a chart and what it renders to.
	actions chan struct{}
	stop    context.CancelFunc

	apps map[app.ID]struct{} // guarded by Engine.mu

	mu      sync.Mutex
	told    bool // for the local one, from the beginning
	way     app.Cluster
	conn    *cluster.Cluster // nil until the first app needs it
	leaving *time.Timer      // closes conn when no app is left
	owners  map[object.Ref]app.ID
	// releases are the Secrets in which Helm keeps, or would keep, revisions.
	releases map[object.Ref]app.ID
	came     map[app.Reason]int // how often something came for want of which apps fail
	heard    time.Time          // when a connection before this one last had an answer
	down     *outage            // nil while it answers; of others than the local one
	away     *absence           // of the local one
}

// destinationLocked gives the destination of an ID, new if need be.
func (e *Engine) destinationLocked(id string) *destination {
	if d := e.destinations[id]; d != nil {
		return d
	}
	d := &destination{e: e, id: id, queue: newQueue(), apps: map[app.ID]struct{}{}, slots: make(chan struct{}, e.opts.Workers),
		actions: make(chan struct{}, 2*e.opts.Workers), owners: map[object.Ref]app.ID{}, releases: map[object.Ref]app.ID{}, came: map[app.Reason]int{}}
	e.destinations[id] = d
	if e.delivering != nil && !e.ended {
		e.serveLocked(d)
	}
	return d
}

// serveLocked lets a destination work.
func (e *Engine) serveLocked(d *destination) {
	ctx, stop := context.WithCancel(e.delivering)
	d.stop = stop
	e.running.Go(func() { d.deliver(ctx) })
}

// retireLocked forgets a destination that has neither apps nor a way to it.
func (e *Engine) retireLocked(d *destination) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.apps) > 0 || d.told || d.id == local {
		return
	}
	delete(e.destinations, d.id)
	if d.stop != nil {
		d.stop()
	}
	d.dropLocked()
}

// SetCluster tells of a cluster that is new, or reached in another way than
// before. A connection is made when the first app needs it.
func (e *Engine) SetCluster(c app.Cluster) {
	e.mu.Lock()
	d := e.destinationLocked(c.ID)
	e.mu.Unlock()
	d.mu.Lock()
	if d.told && d.way.Same(c) {
		news := !slices.Equal(d.way.Warnings, c.Warnings)
		d.way.Warnings = c.Warnings
		d.mu.Unlock()
		if news {
			d.triggerAll(0)
		}
		return
	}
	d.told, d.way = true, c
	d.dropLocked()
	d.mu.Unlock()
	d.interrupt(superseded(errors.New("the cluster is reached in another way")))
	d.triggerAll(0)
}

// warnings are about what says how the cluster is reached.
func (d *destination) warnings() []app.Warning {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.way.Warnings
}

// RemoveCluster forgets the way to a cluster. Apps that still go there wait.
func (e *Engine) RemoveCluster(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.destinations[id]
	if d == nil || id == local {
		return
	}
	d.mu.Lock()
	d.told, d.way = false, app.Cluster{}
	d.dropLocked()
	d.mu.Unlock()
	e.retireLocked(d)
}

// dropLocked ends the connection. Who is just using it fails, or ends, by
// itself. The caller holds d.mu.
func (d *destination) dropLocked() {
	if d.leaving != nil {
		d.leaving.Stop()
		d.leaving = nil
	}
	d.down = nil
	if d.conn == nil || d.id == local {
		return
	}
	if at, _ := d.conn.Contact(); at.After(d.heard) {
		d.heard = at
	}
	go d.conn.Close() // it waits for requests that may hang
	d.conn = nil
}

// enterLocked and leaveLocked count the apps of a destination. A connection
// that no app needs is kept for a while: apps are replaced more often than
// clusters. The caller holds Engine.mu.
func (d *destination) enterLocked(id app.ID, tenant string) {
	d.apps[id] = struct{}{}
	d.queue.enrol(id, tenant)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.leaving != nil {
		d.leaving.Stop()
		d.leaving = nil
	}
}

func (d *destination) leaveLocked(id app.ID) {
	d.queue.forget(id)
	delete(d.apps, id)
	if len(d.apps) > 0 {
		return
	}
	d.mu.Lock()
	if d.conn != nil && d.id != local {
		d.leaving = time.AfterFunc(d.e.opts.ClusterGrace, d.closeUnused)
	}
	d.mu.Unlock()
	d.e.retireLocked(d)
}

func (d *destination) closeUnused() {
	d.e.mu.Lock()
	defer d.e.mu.Unlock()
	if len(d.apps) > 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropLocked()
}

// deliver lets the apps of the destination run until ctx ends. A slot is taken
// before it is decided who gets it: what is most urgent then.
func (d *destination) deliver(ctx context.Context) {
	for d.queue.due(ctx) == nil {
		select {
		case <-ctx.Done():
			return
		case d.slots <- struct{}{}:
		}
		id, cause, ok := d.queue.take()
		if !ok {
			<-d.slots
			continue
		}
		d.e.running.Go(func() {
			defer func() { <-d.slots }()
			defer d.queue.done(id)
			d.e.underWay.begin(id)
			defer d.e.underWay.end(id)
			d.e.work(d.e.delivering, d, id, cause)
		})
	}
}

// connect gives the connection; nil without a failure if the way to the
// cluster is not known yet.
func (d *destination) connect() (*cluster.Cluster, *app.Failure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.conn != nil && d.down != nil:
		return nil, d.down.failure(d.id)
	case d.conn != nil:
		return d.conn, nil
	case !d.told:
		return nil, nil
	case d.way.Err != nil:
		return nil, d.way.Err
	case d.e.opts.Connect == nil:
		return nil, app.Fail(app.StageSpec, app.ReasonClusterUnknown, "cluster %q is not registered", d.id)
	}
	var conn *cluster.Cluster // guarded by d.mu
	conn, err := d.e.opts.Connect(d.way.Access, Watcher{Contact: func(bool) { d.contact() }, Event: func(ev cluster.Event) {
		d.mu.Lock()
		dropped := d.conn != conn
		d.mu.Unlock()
		if !dropped { // or it would tell of the end of everything that the cluster before this one held
			d.observed(ev)
		}
	}})
	if err != nil {
		return nil, app.Fail(app.StageSpec, app.ReasonClusterUnknown, "cluster %s: %w", d.id, err)
	}
	d.conn = conn
	return conn, nil
}

// current is the connection there is; nil if there is none.
func (d *destination) current() *cluster.Cluster {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conn
}

// access gives the connection for an app, under its identity. waiting tells
// that the way to the cluster is not known yet.
func (d *destination) access(t app.Target) (_ *cluster.Cluster, _ *cluster.Writer, waiting bool, _ *app.Failure) {
	conn, failure := d.connect()
	if conn == nil {
		return nil, nil, failure == nil, failure
	}
	if t.ServiceAccount == "" {
		return conn, conn.Self(), false, nil
	}
	w, err := conn.As(t.ServiceAccount)
	if err != nil {
		return nil, nil, false, app.AsFailure(err, app.StageSpec)
	}
	return conn, w, false, nil
}

// ids are the apps of the destination.
func (d *destination) ids() []app.ID {
	d.e.mu.RLock()
	defer d.e.mu.RUnlock()
	return keys(d.apps)
}

// own notes that an app delivers objects here.
func (d *destination) own(id app.ID, records []app.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range records {
		d.owners[r.Ref] = id
	}
}

// owner is the app that delivered an object last.
func (d *destination) owner(ref object.Ref) (app.ID, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.owners[ref]
	return id, ok
}

// disown ends id's hold on refs, and the remembering of those that it held.
func (d *destination) disown(id app.ID, refs []object.Ref) {
	if len(refs) == 0 {
		return
	}
	held := d.letGo(id, refs)
	if conn := d.current(); conn != nil {
		conn.Forget(held...)
	}
}

// letGo ends id's hold on refs, and gives those that it held.
func (d *destination) letGo(id app.ID, refs []object.Ref) (held []object.Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ref := range refs {
		if d.owners[ref] == id {
			delete(d.owners, ref)
			held = append(held, ref)
		}
	}
	return held
}

// Watcher hears of a cluster, as cluster.Options.OnEvent and OnContact do.
type Watcher struct {
	Event   func(cluster.Event)
	Contact func(up bool)
}

// ClusterState is how a destination stands.
type ClusterState struct {
	ID          string // "" is the cluster that Plumb serves
	Apps        int
	Due         int // apps that wait for a worker
	Connected   bool
	LastContact time.Time // the last answer; zero if it never answered
	Stale       time.Time // since when what is known of it may be old; zero if it is not
	Up          bool      // false if it does not answer, or its credentials cannot be used
}

// Clusters tells how the destinations stand, in no order.
func (e *Engine) Clusters() []ClusterState {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []ClusterState
	for _, d := range e.destinations {
		s := ClusterState{ID: d.id, Apps: len(d.apps), Due: d.queue.size()}
		d.mu.Lock()
		s.Connected, s.LastContact = d.conn != nil, d.heard
		s.Up = d.down == nil && d.way.Err == nil
		if d.conn != nil {
			now := d.conn.Condition()
			s.Up, s.Stale = s.Up && !now.Down, now.Stale
			if now.Contact.After(s.LastContact) {
				s.LastContact = now.Contact
			}
		}
		d.mu.Unlock()
		out = append(out, s)
	}
	return out
}
