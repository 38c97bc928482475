package engine

import (
	"slices"
	"testing"
	"testing/synctest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
)

// known makes an engine that knows these apps and does not run them. What an
// app depends on comes after its name.
func known(apps ...[]string) *Engine {
	e := New(Options{})
	for _, names := range apps {
		spec := app.Spec{ID: id(names[0])}
		for _, on := range names[1:] {
			spec.DependsOn = append(spec.DependsOn, id(on))
		}
		e.apps[spec.ID] = &state{id: spec.ID, dest: e.home, spec: spec}
		e.index.file(e.apps[spec.ID], spec)
	}
	return e
}

// Who did not find what it depends on is tried again when that appears, and
// not only at the next interval.
func TestAnAppThatAppearsIsHeardOf(t *testing.T) {
	e := known([]string{"a", "b"})
	a := e.apps[id("a")]
	a.last = &app.Report{Failure: app.Fail(app.StageDepends, app.ReasonDependency, "not found")}
	e.opts.Cluster = &cluster.Cluster{}
	e.SetApp(app.Spec{ID: id("b")})
	if it := e.home.queue.items[a.id]; it == nil || it.cause != app.CauseDepends {
		t.Errorf("in the queue it is %+v", it)
	}
}

func TestCycle(t *testing.T) {
	for _, c := range []struct {
		name string
		apps [][]string
		want []string // as seen from a
	}{
		{"none", [][]string{{"a", "b", "c"}, {"b", "c"}, {"c"}}, nil},
		{"itself", [][]string{{"a", "a"}}, []string{"a", "a"}},
		{"two", [][]string{{"a", "b"}, {"b", "a"}}, []string{"a", "b", "a"}},
		{"a long way", [][]string{{"a", "x", "b"}, {"b", "c"}, {"c", "d", "a"}, {"d"}}, []string{"a", "b", "c", "a"}},
		{"one that it only leads to", [][]string{{"a", "b"}, {"b", "c"}, {"c", "b"}}, nil},
		{"through what does not exist", [][]string{{"a", "gone"}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := known(c.apps...)
			var want []string
			for _, n := range c.want {
				want = append(want, id(n).String())
			}
			if got := e.cycle(e.apps[id("a")].spec); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestDependentsAreTriggered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := &app.Report{Failure: app.Fail(app.StageDepends, app.ReasonDependency, "b is not ready")}
		broken := &app.Report{Failure: app.Fail(app.StageRender, app.ReasonBuild, "broken")}
		for _, c := range []struct {
			name string
			last *app.Report
			well bool
			want bool
		}{
			{"it waits, and what it waits for is well", waits, true, true},
			{"it waits, and what it waits for is not", waits, false, false},
			{"it has said nothing, what it waits for is not well", nil, false, true},
			{"it is broken in itself", broken, true, false},
			{"it is well", &app.Report{}, true, false},
		} {
			e := known([]string{"a", "b"}, []string{"b"})
			e.apps[id("a")].last = c.last
			e.triggerDependents(id("b"), c.well)
			if got := e.home.queue.items[id("a")] != nil; got != c.want {
				t.Errorf("%s: triggered is %t", c.name, got)
			}
		}
	})
}

// Apps in a circle all fail; each is the dependent of another. One that fails
// must not make the next run, or they never stop.
func TestACircleComesToRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := known([]string{"a", "b"}, []string{"b", "c"}, []string{"c", "a"})
		for n := range e.apps {
			e.trigger(n, app.CauseStart, 0)
		}
		for runs := 0; ; runs++ {
			next, _, ok := e.home.queue.take()
			if !ok {
				break
			}
			if runs > 20 {
				t.Fatal("still running")
			}
			a := e.apps[next]
			_, failure := e.dependencies(t.Context(), a.spec)
			if failure == nil || failure.Reason != app.ReasonCycle {
				t.Fatalf("%s: %v", next, failure)
			}
			a.last = &app.Report{Failure: failure}
			e.home.queue.done(next)
			e.triggerDependents(next, false)
		}
	})
}
