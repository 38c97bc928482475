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
//
// What is not remembered by name is never deleted: coming back, the app knows
// of it only what Git still has. That is told as long as it is there.
func (a *state) arrive() {
	from, to := a.spec.RecordedAt, a.spec.Target.Cluster
	if from == to {
		return
	}
	behind := union(a.spec.Recorded, slices.Collect(a.records.all())) // what an unfinished run wrote, too
	var left []app.Left
	var mine []app.Record
	more := 0
	for _, l := range a.spec.Left {
		switch l.Cluster {
		case to:
			mine = append(mine, l.Records...)
			if l.More > 0 {
				left = append(left, app.Left{Cluster: to, More: l.More})
			}
		case from:
			behind = union(behind, l.Records)
			more += l.More
		default:
			left = append(left, l)
		}
	}
	if len(behind)+more > 0 {
		left = append(left, app.Left{Cluster: from, Records: behind, More: more})
	}
	a.remember(mine)
	a.spec.RecordedAt, a.spec.Left = to, bounded(left)
	a.applied, a.last, a.read = app.Revision{}, nil, inputs{}
	clear(a.health)
	clear(a.reported)
}

// What an app remembers of what it left: it is part of a status, of which etcd
// takes a megabyte and a half at most, and which no app may outgrow by moving.
const (
	maxLeft         = 1000 // records, of all clusters together; they are about 100 bytes each
	maxLeftClusters = 100
)

// bounded forgets the names of what was left first.
func bounded(left []app.Left) []app.Left {
	left = slices.Clone(left[max(len(left)-maxLeftClusters, 0):])
	room := maxLeft
	for i := range slices.Backward(left) {
		l := &left[i]
		if over := len(l.Records) - room; over > 0 {
			l.Records, l.More = slices.Clone(l.Records[:room]), l.More+over
		}
		room -= len(l.Records)
	}
	return left
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
