package cluster

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// An apply under the manager of another dialect takes an object over; a change
// by anyone else, or of what is the other's alone, does not.
func TestTakenFrom(t *testing.T) {
	wrote := func(manager string, op metav1.ManagedFieldsOperationType, second int) metav1.ManagedFieldsEntry {
		at := metav1.NewTime(time.Unix(int64(second), 0))
		return metav1.ManagedFieldsEntry{Manager: manager, Operation: op, Time: &at}
	}
	ours := func(second int) metav1.ManagedFieldsEntry {
		return wrote(managers[0], metav1.ManagedFieldsOperationApply, second)
	}
	other := func(second int) metav1.ManagedFieldsEntry {
		return wrote(managers[1], metav1.ManagedFieldsOperationApply, second)
	}
	edited := func(second int) metav1.ManagedFieldsEntry {
		return wrote("kubectl-edit", metav1.ManagedFieldsOperationUpdate, second)
	}
	status := wrote("kubelet", metav1.ManagedFieldsOperationUpdate, 9)
	status.Subresource = "status"
	for _, c := range []struct {
		name        string
		before, now []uint64 // what ours, and the other, own
		fields      []metav1.ManagedFieldsEntry
		want        bool
	}{
		{"taken over", []uint64{1, 0}, []uint64{0, 2}, []metav1.ManagedFieldsEntry{other(2)}, true},
		{"in part", []uint64{1, 2}, []uint64{3, 4}, []metav1.ManagedFieldsEntry{ours(1), other(2)}, true},
		{"in the second of our own write", []uint64{1, 0}, []uint64{3, 4}, []metav1.ManagedFieldsEntry{ours(2), other(2), status}, true},
		{"by hand", []uint64{1, 2}, []uint64{3, 2}, []metav1.ManagedFieldsEntry{ours(1), other(1), edited(2)}, false},
		{"by hand, of what both own", []uint64{1, 2}, []uint64{3, 4}, []metav1.ManagedFieldsEntry{ours(1), other(1), edited(2)}, false},
		{"by hand, within the second", []uint64{1, 2}, []uint64{3, 4}, []metav1.ManagedFieldsEntry{ours(1), edited(2), other(2)}, false},
		{"by an update under the other's name", []uint64{1, 2}, []uint64{3, 4},
			[]metav1.ManagedFieldsEntry{ours(1), other(1), wrote(managers[1], metav1.ManagedFieldsOperationUpdate, 2)}, false},
		{"of the other's alone", []uint64{1, 2}, []uint64{1, 3}, []metav1.ManagedFieldsEntry{ours(1), other(2)}, false},
		{"from a list, which does not tell who wrote", []uint64{1, 2}, []uint64{3, 4}, nil, false},
	} {
		meta := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{ManagedFields: c.fields}}
		e := Event{managers: managers, before: &record{owned: c.before}, now: &record{owned: c.now}, Meta: meta}
		if got := e.TakenFrom(managers[0]); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
