package engine

import (
	"context"
	"io"
	"log/slog"
	"testing"

	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/object"
)

// A namespace that appears between the refusal of a write and the end of the
// run is not missed: nothing else would make the app due before its interval.
func TestANamespaceThatComesWhileARunFails(t *testing.T) {
	for _, came := range []bool{true, false} {
		e := known([]string{"a"})
		e.log = slog.New(slog.NewTextHandler(io.Discard, nil))
		e.opts.Publish = func(context.Context, app.Report) error { return nil }
		a := e.apps[id("a")]
		a.spec.Policy.RetryLimit = 0
		r := begin(t, e, a)
		r.came = e.home.arrivals()
		e.home.observed(cluster.Event{Ref: object.Ref{Kind: "Namespace", Name: "before"}, Deleted: !came})
		if it := e.home.queue.items[a.id]; it != nil && it.waiting() {
			t.Fatal("nobody knew yet that it waits")
		}
		rep := app.Report{App: a.id, Failure: app.Fail(app.StageApply, app.ReasonNamespaceMissing, "namespaces \"before\" not found")}
		rep.Failure.Retry.Never = true
		e.finish(t.Context(), a, r, rep)
		if it := e.home.queue.items[a.id]; (it != nil && it.waiting()) != came {
			t.Errorf("a namespace came: %t; in the queue it is %+v", came, it)
		}
	}
}

// That what an app waited for has come about is not forgotten because it is due
// for a cause that is more urgent, and waits for its time.
func TestFreedWhateverItRunsFor(t *testing.T) {
	e := known([]string{"a"})
	a := e.apps[id("a")]
	e.trigger(a.id, app.CauseDrift, 0)
	e.trigger(a.id, app.CauseDepends, 0)
	_, cause, _ := e.home.queue.take()
	r := begin(t, e, a)
	if cause != app.CauseDrift || !r.freed {
		t.Errorf("it runs for %s, freed %t", cause, r.freed)
	}
	a.run = nil
	if begin(t, e, a).freed {
		t.Error("one that came about counts for one run")
	}
}

// A connection that was given up tells nothing any more: in another cluster
// behind the same address all objects are gone.
func TestADroppedConnectionTellsNothing(t *testing.T) {
	e := known([]string{"a"})
	var heard Watcher
	e.opts.Connect = func(_ app.Access, w Watcher) (*cluster.Cluster, error) {
		heard = w
		return cluster.Connect(&rest.Config{Host: "https://127.0.0.1:1"}, cluster.Options{Managers: []string{"m"}})
	}
	e.SetCluster(app.Cluster{ID: "far"})
	d, a := e.destinations["far"], e.apps[id("a")]
	if _, failure := d.connect(); failure != nil {
		t.Fatal(failure)
	}
	ref := object.Ref{Kind: "ConfigMap", Namespace: "ns", Name: "x"}
	a.dest, a.records = d, newRecords([]app.Record{{Ref: ref, Owned: "1"}})
	d.own(a.id, []app.Record{{Ref: ref}})
	gone := cluster.Event{Ref: ref, Deleted: true}

	before := heard
	d.mu.Lock()
	d.dropLocked()
	d.mu.Unlock()
	if _, failure := d.connect(); failure != nil {
		t.Fatal(failure)
	}
	before.Event(gone)
	if it := d.queue.items[a.id]; it != nil && it.waiting() {
		t.Errorf("the end of an object in another cluster makes the app due: %+v", it)
	}
	heard.Event(gone)
	if it := d.queue.items[a.id]; it == nil || it.cause != app.CauseDrift {
		t.Errorf("the end of an object in its own cluster does not: %+v", it)
	}
}
