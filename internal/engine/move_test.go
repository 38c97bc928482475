package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

func recordsNamed(names ...string) (out []app.Record) {
	for _, n := range names {
		out = append(out, app.Record{Ref: object.Ref{Kind: "ConfigMap", Namespace: "ns", Name: n}})
	}
	return out
}

func namesOf(records []app.Record) (out []string) {
	for _, r := range records {
		out = append(out, r.Ref.Name)
	}
	slices.Sort(out)
	return out
}

// TestArrive: what was delivered elsewhere is left there and remembered; what
// was left here before is the app's own again.
func TestArrive(t *testing.T) {
	type left map[string][]string
	for _, c := range []struct {
		name     string
		from, to string
		recorded []string
		written  []string // besides, by a run that did not finish
		left     left
		mine     []string
		want     left
	}{
		{"no move", "a", "a", []string{"x"}, nil, left{"b": {"y"}}, []string{"x"}, left{"b": {"y"}}},
		{"a first move", "a", "b", []string{"x"}, []string{"x", "z"}, nil, nil, left{"a": {"x", "z"}}},
		{"from the local cluster", "", "b", []string{"x"}, nil, nil, nil, left{"": {"x"}}},
		{"back", "b", "a", []string{"y"}, nil, left{"a": {"x"}}, []string{"x"}, left{"b": {"y"}}},
		{"on", "b", "c", []string{"y"}, nil, left{"a": {"x"}}, nil, left{"a": {"x"}, "b": {"y"}}},
		{"back and away again", "a", "b", []string{"x"}, nil, left{"a": {"old"}}, nil, left{"a": {"old", "x"}}},
		{"nothing was delivered", "a", "b", nil, nil, nil, nil, left{}},
	} {
		a := &state{health: map[object.Ref]seenHealth{}}
		a.spec.Target.Cluster = c.to
		a.remember(recordsNamed(c.recorded...))
		a.spec.RecordedAt = c.from
		for _, r := range recordsNamed(c.written...) {
			a.records.put(r)
		}
		for cluster, names := range c.left {
			a.spec.Left = append(a.spec.Left, app.Left{Cluster: cluster, Records: recordsNamed(names...)})
		}
		a.arrive()
		if got := namesOf(a.spec.Recorded); !slices.Equal(got, c.mine) || len(slices.Collect(a.records.all())) != len(c.mine) || a.spec.RecordedAt != c.to {
			t.Errorf("%s: its own are %v at %q, want %v", c.name, got, a.spec.RecordedAt, c.mine)
		}
		if len(a.spec.Left) != len(c.want) {
			t.Errorf("%s: left %v, want %v", c.name, a.spec.Left, c.want)
		}
		for _, l := range a.spec.Left {
			if got := namesOf(l.Records); !slices.Equal(got, c.want[l.Cluster]) {
				t.Errorf("%s: in %q are left %v, want %v", c.name, l.Cluster, got, c.want[l.Cluster])
			}
		}
	}
}

// TestLeftIsBounded: an app that goes from one cluster to the next remembers the
// names of what it left last, and how much else there is; what it comes back to
// is its own as far as it has a name.
func TestLeftIsBounded(t *testing.T) {
	many := func(prefix string, n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprint(prefix, i))
		}
		return out
	}
	a := &state{health: map[object.Ref]seenHealth{}}
	move := func(to string, delivers int) {
		a.spec.Target.Cluster = to
		a.arrive()
		a.remember(recordsNamed(many(to, delivers)...))
	}
	total := func() (names, more int) {
		for _, l := range a.spec.Left {
			names, more = names+len(l.Records), more+l.More
		}
		return names, more
	}
	a.spec.RecordedAt = "a"
	move("a", 700)
	move("b", 600)
	if names, more := total(); names != 700 || more != 0 {
		t.Errorf("after one move %d names and %d more", names, more)
	}
	move("c", 10)
	if names, more := total(); names != maxLeft || more != 300 || len(a.spec.Left[0].Records) != 400 || len(a.spec.Left[1].Records) != 600 {
		t.Errorf("after two moves %d names and %d more: %d and %d", names, more, len(a.spec.Left[0].Records), len(a.spec.Left[1].Records))
	}
	a.spec.Target.Cluster = "a"
	a.arrive()
	if names, more := total(); len(a.spec.Recorded) != 400 || names != 610 || more != 300 {
		t.Errorf("back: %d are its own, %d names and %d more", len(a.spec.Recorded), names, more)
	}
	move("c", 10)
	if names, more := total(); names != maxLeft || more != 300 {
		t.Errorf("away again: %d names and %d more", names, more)
	}
	for i := range 2 * maxLeftClusters {
		move(fmt.Sprint("x", i), 50)
	}
	if names, _ := total(); names != maxLeft || len(a.spec.Left) != maxLeftClusters {
		t.Errorf("after many moves %d names of %d clusters", names, len(a.spec.Left))
	}
	if last := a.spec.Left[maxLeftClusters-1]; len(last.Records) != 50 || last.More != 0 {
		t.Errorf("of the last one %d names and %d more", len(last.Records), last.More)
	}
}

// An app that moves waits in the queue of its new cluster, runs there only when
// what ran at the old one has ended, and the old one forgets it.
func TestAnAppMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil)), ClusterGrace: time.Minute})
		spec := app.Spec{ID: id("a"), Tenant: "t", Recorded: recordsNamed("x")}
		e.SetApp(spec)
		a := e.apps[spec.ID]
		if got, _ := take(t, e.home.queue); got != a.id {
			t.Fatal("it is not due")
		}
		r := begin(t, e, a)

		spec.Target.Cluster = "far"
		e.SetApp(spec)
		far := e.destinations["far"]
		if a.dest != far || len(e.home.apps) != 0 || len(far.apps) != 1 || len(e.home.owners) != 0 {
			t.Errorf("it is at %q; here are %d apps and %d owners", a.dest.id, len(e.home.apps), len(e.home.owners))
		}
		if r.between.Err() == nil {
			t.Error("what runs at the old cluster is not stopped")
		}
		if got, cause := take(t, far.queue); got != a.id || cause != app.CauseSpec {
			t.Errorf("%s is due for %s", got, cause)
		}
		early := &run{e: e, a: a, dest: far}
		if a.begin(early) {
			t.Error("it runs at two clusters at a time")
		}
		far.queue.done(a.id)
		e.home.queue.done(a.id)
		if len(e.home.queue.items) != 0 {
			t.Error("the old queue keeps it")
		}
		a.mu.Lock()
		a.run = nil
		a.mu.Unlock()
		late := &run{e: e, a: a, dest: far}
		late.between, late.stopBetween = context.WithCancelCause(t.Context())
		if !a.begin(late) || late.spec.RecordedAt != "far" || len(late.spec.Left) != 1 || len(late.spec.Recorded) != 0 {
			t.Errorf("at the new cluster it begins with %+v", late.spec)
		}
		if a.begin(&run{e: e, a: a, dest: e.home}) {
			t.Error("it still runs at the old cluster")
		}
		e.RemoveApp(a.id)
		if e.destinations["far"] != nil {
			t.Error("a cluster that nobody has told of is kept for no app")
		}
	})
}

// An app of a cluster that nobody has told of yet waits; as soon as it is told,
// the app is due.
func TestAnAppWaitsForItsCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		spec := app.Spec{ID: id("a"), Target: app.Target{Cluster: "far"}}
		e.SetApp(spec)
		far := e.destinations["far"]
		take(t, far.queue)
		far.queue.done(spec.ID)
		if _, _, waiting, failure := far.access(spec.Target); !waiting || failure != nil {
			t.Errorf("waits is %t, %v", waiting, failure)
		}
		missing := app.Fail(app.StageObserve, app.ReasonClusterUnknown, "the Secret does not exist")
		e.SetCluster(app.Cluster{ID: "far", Err: missing})
		if _, cause, ok := far.queue.take(); !ok || cause != app.CauseDepends {
			t.Errorf("due is %t, for %s", ok, cause)
		}
		far.queue.done(spec.ID)
		if far.unreachable() != missing {
			t.Errorf("it is unreachable because of %v", far.unreachable())
		}
		e.SetCluster(app.Cluster{ID: "far", Err: app.Fail(app.StageObserve, app.ReasonClusterUnknown, "the Secret does not exist")})
		if _, _, ok := far.queue.take(); ok {
			t.Error("the same told again makes it due")
		}
		e.SetCluster(app.Cluster{ID: "far", Access: app.Access{Server: "https://far"}})
		if _, _, ok := far.queue.take(); !ok || far.unreachable() != nil {
			t.Error("another way to the cluster does not make it due")
		}
	})
}
