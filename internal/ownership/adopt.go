package ownership

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Adopt hands what the managers named by from own, by apply or by update, to
// the Apply entry of manager to. After that, a field that to does not apply
// vanishes with its next apply, just as if it had applied the field itself.
// Writes through subresources (status, scale) stay with who made them.
//
// The result is fit to be written back as metadata.managedFields; fields is
// not modified. changed is false if there was nothing to take. The Apply
// entries of a manager carry one API version: that of to's entry if there is
// one, otherwise that of the latest entry taken; the API server ignores paths
// that this version does not know.
func Adopt(fields []metav1.ManagedFieldsEntry, from []string, to string) (entries []metav1.ManagedFieldsEntry, changed bool, err error) {
	var target *metav1.ManagedFieldsEntry
	if own := applied(fields, to); own != nil {
		target = own.DeepCopy()
	}
	union := fieldSet(target)
	for i := range fields {
		e := &fields[i]
		if !adoptable(e, from, to) {
			if e.Manager != to || e.Operation != metav1.ManagedFieldsOperationApply || e.Subresource != "" {
				entries = append(entries, *e.DeepCopy())
			}
			continue
		}
		changed = true
		union = union.Union(fieldSet(e))
		if target == nil {
			target = e.DeepCopy()
			target.Manager, target.Operation = to, metav1.ManagedFieldsOperationApply
		} else if applied(fields, to) == nil && unix(e) > unix(target) {
			target.APIVersion = e.APIVersion
		}
		if unix(e) > unix(target) {
			target.Time = e.Time.DeepCopy()
		}
	}
	if !changed {
		return fields, false, nil
	}
	raw, err := union.ToJSON()
	if err != nil {
		return nil, false, fmt.Errorf("encoding the fields to adopt for %s: %w", to, err)
	}
	target.FieldsV1 = &metav1.FieldsV1{}
	target.FieldsV1.SetRawBytes(raw)
	return slices.Insert(entries, 0, *target), true, nil
}

// Adoptable reports whether Adopt would change fields.
func Adoptable(fields []metav1.ManagedFieldsEntry, from []string, to string) bool {
	return slices.ContainsFunc(fields, func(e metav1.ManagedFieldsEntry) bool { return adoptable(&e, from, to) })
}

func adoptable(e *metav1.ManagedFieldsEntry, from []string, to string) bool {
	if e.Subresource != "" || !Match(from, e.Manager) {
		return false
	}
	return e.Manager != to || e.Operation != metav1.ManagedFieldsOperationApply
}
