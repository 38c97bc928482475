package cluster

import "testing"

// An apply under the manager of another dialect takes an object over; a change
// by anyone else, or of what is the other's alone, does not.
func TestTakenFrom(t *testing.T) {
	for _, c := range []struct {
		name        string
		before, now []uint64 // what ours, and the other, own
		want        bool
	}{
		{"taken over", []uint64{1, 0}, []uint64{0, 2}, true},
		{"in part", []uint64{1, 2}, []uint64{3, 4}, true},
		{"by hand", []uint64{1, 2}, []uint64{3, 2}, false},
		{"of the other's alone", []uint64{1, 2}, []uint64{1, 3}, false},
		{"both lost something", []uint64{1, 2}, []uint64{3, 0}, false},
	} {
		e := Event{managers: managers, before: &record{owned: c.before}, now: &record{owned: c.now}}
		if got := e.TakenFrom(managers[0]); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
