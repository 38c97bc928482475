package engine

import (
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
)

// An app that another process delivers holds those that depend on it back as
// its status says.
func TestDependencyElsewhere(t *testing.T) {
	one, other := app.SourceID{Name: "one"}, app.SourceID{Name: "other"}
	for _, c := range []struct {
		name string
		dep  *app.Spec
		want string
	}{
		{"unknown", nil, "not found"},
		{"not ready", &app.Spec{Source: other}, "is not ready"},
		{"ready", &app.Spec{Source: other, Ready: true}, ""},
		{"of the same source, behind", &app.Spec{Source: one, Ready: true, LastSync: &app.Attempt{Revision: "old", Succeeded: true}}, "not up to date"},
		{"of the same source", &app.Spec{Source: one, Ready: true, LastSync: &app.Attempt{Revision: "new", Succeeded: true}}, ""},
		{"of the same source, failed", &app.Spec{Source: one, Ready: true, LastSync: &app.Attempt{Revision: "new"}}, "not up to date"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := New(Options{})
			e.sources[one] = &sourceLoop{e: e, looked: true, revision: app.Revision{Commit: "new"}}
			if c.dep != nil {
				c.dep.ID = id("dep")
				e.SetElsewhere(*c.dep)
			}
			waiting, failure := e.dependencies(t.Context(), app.Spec{ID: id("a"), Source: one, DependsOn: []app.ID{id("dep")}})
			switch {
			case waiting:
				t.Error("it waits for a run that is never made here")
			case c.want == "" && failure != nil:
				t.Error(failure)
			case c.want != "" && (failure == nil || !strings.Contains(failure.Error(), c.want)):
				t.Errorf("got %v, want %q", failure, c.want)
			}
		})
	}
}

// A circle is found wherever its apps are delivered.
func TestCycleElsewhere(t *testing.T) {
	e := known([]string{"a", "b"})
	e.SetElsewhere(app.Spec{ID: id("b"), DependsOn: []app.ID{id("a")}})
	if got := e.cycle(e.apps[id("a")].spec); len(got) != 3 {
		t.Errorf("got %q", got)
	}
}

// When an app elsewhere becomes ready, or has delivered another revision, those
// that it holds back run.
func TestElsewhereTriggers(t *testing.T) {
	e := known([]string{"a", "dep"})
	e.apps[id("a")].last = &app.Report{Failure: app.Fail(app.StageDepends, app.ReasonDependency, "dep is not ready")}
	triggered := func(spec app.Spec) bool {
		spec.ID = id("dep")
		e.SetElsewhere(spec)
		next, _, ok := e.home.queue.take()
		if ok {
			e.home.queue.done(next)
		}
		return ok
	}
	delivered := func(rev string) *app.Attempt { return &app.Attempt{Revision: rev, Succeeded: true} }
	for i, c := range []struct {
		spec app.Spec
		want bool
	}{
		{app.Spec{}, false},
		{app.Spec{Ready: true}, true},
		{app.Spec{Ready: true, Generation: 2}, false},
		{app.Spec{Ready: true, LastSync: delivered("x")}, true},
		{app.Spec{LastSync: delivered("x")}, false},
	} {
		if got := triggered(c.spec); got != c.want {
			t.Errorf("change %d: triggered is %v", i, got)
		}
	}
}

// What is idle runs no more, wherever it ran.
func TestIdle(t *testing.T) {
	var u underWay
	is := func(idle <-chan struct{}) bool {
		select {
		case <-idle:
			return true
		default:
			return false
		}
	}
	if !is(u.idle(id("a"))) {
		t.Error("what was never there runs")
	}
	u.begin(id("a"))
	one := u.idle(id("a"))
	u.begin(id("a")) // at another cluster
	u.end(id("a"))
	two := u.idle(id("a"))
	if is(one) || is(two) {
		t.Error("what runs is idle")
	}
	u.end(id("a"))
	if !is(one) || !is(two) || !is(u.idle(id("a"))) {
		t.Error("what has run is not idle")
	}
}

// A source that was given up and comes back is looked at anew: a listing of its
// repository from before is not good enough.
func TestSourceComesBackAfterRelook(t *testing.T) {
	e := New(Options{})
	src := app.Source{ID: app.SourceID{Name: "one"}}
	e.SetSource(src)
	if since := e.sources[src.ID].since; !since.IsZero() {
		t.Errorf("at the start a listing of any age is shared: since %s", since)
	}
	e.RemoveSource(src.ID)
	before := time.Now()
	e.Relook()
	e.SetSource(src)
	if since := e.sources[src.ID].since; since.Before(before) {
		t.Errorf("a listing since %s is good enough, and it was given up at %s", since, before)
	}
}
