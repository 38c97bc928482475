package engine

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Records say what a map of them would, whatever is written and deleted.
func TestRecords(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var list []app.Record
		want := map[object.Ref]app.Record{}
		for range random.IntN(20) {
			rec := app.Record{Ref: object.Ref{Kind: "ConfigMap", Name: strconv.Itoa(random.IntN(1000))}, Desired: "first"}
			if _, there := want[rec.Ref]; !there {
				list, want[rec.Ref] = append(list, rec), rec
			}
		}
		given := slices.Clone(list)
		got := newRecords(list)
		for range random.IntN(20) {
			rec := app.Record{Ref: object.Ref{Kind: "ConfigMap", Name: strconv.Itoa(random.IntN(1000))}, Desired: "second"}
			if len(list) > 0 && random.IntN(2) == 0 {
				rec.Ref = list[random.IntN(len(list))].Ref
			}
			if random.IntN(3) == 0 {
				got.drop(rec.Ref)
				delete(want, rec.Ref)
			} else {
				got.put(rec)
				want[rec.Ref] = rec
			}
		}
		all := map[object.Ref]app.Record{}
		for rec := range got.all() {
			all[rec.Ref] = rec
		}
		if !maps.Equal(all, want) {
			t.Fatalf("there are %v, want %v", all, want)
		}
		for i := range 1000 {
			ref := object.Ref{Kind: "ConfigMap", Name: strconv.Itoa(i)}
			rec, there := got.get(ref)
			if wanted, known := want[ref]; there != known || rec != wanted {
				t.Fatalf("%s is %v, want %v", ref, rec, wanted)
			}
		}
		if !slices.Equal(list, given) {
			t.Fatal("the list of the spec was changed")
		}
	}
}
