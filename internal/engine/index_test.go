package engine

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// TestIndex files, changes, runs and drops apps at random, and compares what
// the index finds with what looking at every app finds. Nothing may be left in
// the end.
func TestIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	x := newIndex()
	type truth struct {
		spec   app.Spec
		reason app.Reason
	}
	apps := map[*state]truth{}
	names := []string{"a", "b", "c", "d"}
	one := func() string { return names[rnd.IntN(len(names))] }
	reasons := []app.Reason{"", app.ReasonKindUnknown, app.ReasonNamespaceMissing}
	some := func() *state {
		for a := range apps {
			return a
		}
		return nil
	}
	list := func(match func(truth) bool) (ids []string) {
		for a, t := range apps {
			if match(t) {
				ids = append(ids, a.id.Name)
			}
		}
		slices.Sort(ids)
		return ids
	}
	idsOf := func(found []*state) (ids []string) {
		for _, a := range found {
			ids = append(ids, a.id.Name)
		}
		slices.Sort(ids)
		return ids
	}
	for i := range 2000 {
		a := some()
		switch n := rnd.IntN(5); {
		case n < 2 || a == nil:
			if n == 0 || a == nil {
				a = &state{id: id(strings.Repeat("x", i%7) + one())}
			}
			spec := app.Spec{Source: app.SourceID{Name: one()}}
			for _, on := range slices.Compact(slices.Sorted(slices.Values([]string{one(), one()}))) {
				spec.DependsOn = append(spec.DependsOn, id(on))
			}
			x.file(a, spec)
			apps[a] = truth{spec, apps[a].reason}
		case n == 2:
			x.drop(a)
			delete(apps, a)
		default:
			now := apps[a]
			now.reason = reasons[rnd.IntN(len(reasons))]
			var read *source.Closure
			if now.reason == "" {
				read = &source.Closure{}
			}
			x.ran(a, now.reason, now.spec.Source, read)
			apps[a] = now
		}
		for _, n := range names {
			if got, want := idsOf(x.readersOf(app.SourceID{Name: n})), list(func(t truth) bool { return t.spec.Source.Name == n }); !slices.Equal(got, want) {
				t.Fatalf("step %d: readers of %s: %v, want %v", i, n, got, want)
			}
			if got, want := idsOf(x.dependentsOf(id(n))), list(func(t truth) bool { return slices.Contains(t.spec.DependsOn, id(n)) }); !slices.Equal(got, want) {
				t.Fatalf("step %d: dependents of %s: %v, want %v", i, n, got, want)
			}
		}
		for _, r := range reasons[1:] {
			if got, want := idsOf(x.blockedBy(r)), list(func(t truth) bool { return t.reason == r }); !slices.Equal(got, want) {
				t.Fatalf("step %d: blocked by %s: %v, want %v", i, r, got, want)
			}
		}
	}
	gone := some()
	for a := range apps {
		x.drop(a)
	}
	x.ran(gone, app.ReasonKindUnknown, app.SourceID{Name: "a"}, &source.Closure{}) // a run that ended too late
	if len(x.apps)+len(x.readers)+len(x.dependents)+len(x.blocked) > 0 {
		t.Errorf("left: %+v", x)
	}
}

// TestDependentsAreDueToo: whoever depends on an app that a commit touches
// waits for it, however far away; another source's readers do not.
func TestDependentsAreDueToo(t *testing.T) {
	e := known([]string{"a"}, []string{"b", "a"}, []string{"c", "b"}, []string{"d"}, []string{"other", "c"}, []string{"round", "c", "round"})
	other := e.apps[id("other")]
	other.spec.Source = app.SourceID{Name: "elsewhere"}
	e.index.file(other, other.spec)
	due := map[*state]struct{}{e.apps[id("a")]: {}}
	e.spread(app.SourceID{}, due)
	var got []string
	for a := range due {
		got = append(got, a.id.Name)
	}
	if slices.Sort(got); !slices.Equal(got, []string{"a", "b", "c", "round"}) {
		t.Errorf("due are %v", got)
	}
}
