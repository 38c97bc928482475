package ownership

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Holding tells who held a field.
type Holding struct {
	Path        string // .spec.replicas, .spec.containers[name="web"].image
	By          string // field manager; "" if nobody held it: it was removed
	Subresource string // through which the holder wrote; "" for none
	At          int64  // Unix seconds of the holder's entry; 0 if unknown
}

// Regained lists the fields that manager owns by server-side apply in after
// and did not own in before, each with its holder in before. Of several
// holders it names the one that wrote last.
//
// A field that nobody held was removed. The API server does not record who
// removes; if exactly one other manager wrote the object after manager did
// (status writes aside), it is named as the likely one.
func Regained(before, after []metav1.ManagedFieldsEntry, manager string) []Holding {
	now := fieldSet(applied(after, manager))
	then := applied(before, manager)
	taken := now.Difference(fieldSet(then))
	if taken.Empty() {
		return nil
	}
	others := holders(before, then)
	culprit := likely(others, then)
	var list []Holding
	taken.Leaves().Iterate(func(path fieldpath.Path) {
		if impliedByKey(taken, path) {
			return
		}
		holding := Holding{Path: pathText(path)}
		holder := holderOf(others, path)
		if holder == nil {
			holder = culprit
		}
		if holder != nil {
			holding.By, holding.Subresource, holding.At = holder.entry.Manager, holder.entry.Subresource, unix(holder.entry)
		}
		list = append(list, holding)
	})
	slices.SortFunc(list, func(a, b Holding) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// holder is an entry with its parsed fields.
type holder struct {
	entry *metav1.ManagedFieldsEntry
	set   *fieldpath.Set
}

// holders parses every entry but own, the latest first.
func holders(fields []metav1.ManagedFieldsEntry, own *metav1.ManagedFieldsEntry) []holder {
	var list []holder
	for i := range fields {
		if e := &fields[i]; e != own {
			list = append(list, holder{e, fieldSet(e)})
		}
	}
	slices.SortStableFunc(list, func(a, b holder) int { return int(unix(b.entry) - unix(a.entry)) })
	return list
}

// holderOf finds who has path, or an ancestor of it as one atomic value.
func holderOf(list []holder, path fieldpath.Path) *holder {
	for i := range list {
		if list[i].set.Has(path) {
			return &list[i]
		}
	}
	for i := range list {
		leaves := list[i].set.Leaves()
		for end := len(path) - 1; end > 0; end-- {
			if leaves.Has(path[:end]) {
				return &list[i]
			}
		}
	}
	return nil
}

// likely names who may have removed a field: the one manager that wrote the
// object, other than its status, after own did.
func likely(list []holder, own *metav1.ManagedFieldsEntry) *holder {
	if own == nil {
		return nil
	}
	var found *holder
	for i := range list {
		if e := list[i].entry; e.Subresource == "status" || unix(e) <= unix(own) {
			continue
		}
		if found != nil {
			return nil
		}
		found = &list[i]
	}
	return found
}

// impliedByKey reports whether path is a field that its list item is keyed by
// (name in [name="web"]) and other fields of that item are in the set too, so
// that naming the key once more says nothing.
func impliedByKey(set *fieldpath.Set, path fieldpath.Path) bool {
	last := len(path) - 1
	if last < 1 || path[last].FieldName == nil || path[last-1].Key == nil {
		return false
	}
	var keyed bool
	for _, field := range *path[last-1].Key {
		keyed = keyed || field.Name == *path[last].FieldName
	}
	if !keyed {
		return false
	}
	item := set
	for _, element := range path[:last] {
		item = item.WithPrefix(element)
	}
	return item.Leaves().Size() > len(*path[last-1].Key)
}

// fieldSet parses the fields of an entry; an entry that cannot be parsed, or
// nil, has none.
func fieldSet(e *metav1.ManagedFieldsEntry) *fieldpath.Set {
	set := &fieldpath.Set{}
	if e == nil || e.FieldsV1 == nil {
		return set
	}
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return &fieldpath.Set{}
	}
	return set
}
