package plan_test

import (
	"slices"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// A deletion that is taken up again waits for what is on its way already, and
// is not over before that is gone.
func TestDeletionWaitsForWhatIsOnItsWay(t *testing.T) {
	ref := object.Ref{Kind: "ConfigMap", Namespace: "ns", Name: "held"}
	for _, wait := range []bool{true, false} {
		spec := app.Spec{Deletion: &app.Deletion{Prune: true, Wait: wait}, Recorded: []app.Record{{Ref: ref, Version: "v1"}}}
		facts := plan.Facts{Live: map[object.Ref]plan.Live{ref: {Exists: true, Marked: true, Deleting: true}}}
		p := plan.BuildDeletion(spec, facts)
		var leaving []object.Ref
		for _, g := range p.Groups {
			leaving = append(leaving, g.Leaving...)
		}
		if want := []object.Ref{ref}; wait != slices.Equal(leaving, want) || p.Writes() != 0 {
			t.Errorf("wait %t: waits for %v and writes %d", wait, leaving, p.Writes())
		}
		if p := plan.BuildDeletion(spec, plan.Facts{Live: map[object.Ref]plan.Live{}}); len(p.Groups) != 0 {
			t.Errorf("it is gone, and planned is %+v", p.Groups)
		}
	}
}
