package engine

import (
	"iter"
	"slices"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// records are what is delivered of one app. Most apps write nothing most of
// the time: what the last finished run recorded takes no more than the list
// that the app's spec holds in any case, and a map holds what was written since.
type records struct {
	sorted []app.Record
	since  map[object.Ref]*app.Record // nil for what was deleted
}

func newRecords(list []app.Record) records {
	byRef := func(a, b app.Record) int { return a.Ref.Compare(b.Ref) }
	if !slices.IsSortedFunc(list, byRef) {
		list = slices.SortedFunc(slices.Values(list), byRef)
	}
	return records{sorted: list}
}

func (r *records) get(ref object.Ref) (app.Record, bool) {
	if rec, changed := r.since[ref]; changed {
		if rec == nil {
			return app.Record{}, false
		}
		return *rec, true
	}
	i, there := slices.BinarySearchFunc(r.sorted, ref, func(rec app.Record, ref object.Ref) int { return rec.Ref.Compare(ref) })
	if !there {
		return app.Record{}, false
	}
	return r.sorted[i], true
}

func (r *records) put(rec app.Record) { r.change(rec.Ref, &rec) }

func (r *records) drop(ref object.Ref) { r.change(ref, nil) }

func (r *records) change(ref object.Ref, rec *app.Record) {
	if r.since == nil {
		r.since = map[object.Ref]*app.Record{}
	}
	r.since[ref] = rec
}

// all passes over them in no order. It must not be changed meanwhile.
func (r *records) all() iter.Seq[app.Record] {
	return func(yield func(app.Record) bool) {
		for _, rec := range r.sorted {
			if _, changed := r.since[rec.Ref]; !changed && !yield(rec) {
				return
			}
		}
		for _, rec := range r.since {
			if rec != nil && !yield(*rec) {
				return
			}
		}
	}
}
