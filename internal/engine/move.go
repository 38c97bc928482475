package engine

import (
	"slices"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// arrive settles a change of the app's cluster: what was delivered to the one
// before is left there and remembered as such, and what an earlier move left
// in the new one is the app's own again. Whether an object of the name in the
// new cluster is the app's is for its mark to say. The caller holds a.mu.
func (a *state) arrive() {
	from, to := a.spec.RecordedAt, a.spec.Target.Cluster
	if from == to {
		return
	}
	behind := union(a.spec.Recorded, slices.Collect(a.records.all())) // what an unfinished run wrote, too
	var left []app.Left
	var mine []app.Record
	for _, l := range a.spec.Left {
		switch l.Cluster {
		case to:
			mine = append(mine, l.Records...)
		case from:
			behind = union(behind, l.Records)
		default:
			left = append(left, l)
		}
	}
	if len(behind) > 0 {
		left = append(left, app.Left{Cluster: from, Records: behind})
	}
	a.remember(mine)
	a.spec.RecordedAt, a.spec.Left = to, left
	a.applied, a.last, a.read = app.Revision{}, nil, inputs{}
	clear(a.health)
	clear(a.reported)
}

// union is a with what of b it lacks.
func union(a, b []app.Record) []app.Record {
	out := slices.Clone(a)
	known := make(map[object.Ref]bool, len(a))
	for _, r := range a {
		known[r.Ref] = true
	}
	for _, r := range b {
		if !known[r.Ref] {
			out = append(out, r)
		}
	}
	return out
}

// waitsForCluster reports whether the app goes to a cluster that is known not
// to answer.
func (a *state) waitsForCluster() bool {
	a.mu.Lock()
	d := a.dest
	a.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down != nil
}
