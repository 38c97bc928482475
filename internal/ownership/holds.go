package ownership

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Holds reports whether manager owns the field at a path by server-side apply.
func Holds(fields []metav1.ManagedFieldsEntry, manager string, path ...string) bool {
	entry := applied(fields, manager)
	if entry == nil {
		return false
	}
	at, err := pathOf(path)
	return err == nil && fieldSet(entry).Has(at)
}

// Alone reports whether manager holds a field by its Apply entry, and nobody
// holds it besides: its next apply removes the field unless it names it.
func Alone(fields []metav1.ManagedFieldsEntry, manager string, path ...string) bool {
	at, err := pathOf(path)
	if err != nil || !Holds(fields, manager, path...) {
		return false
	}
	for i := range fields {
		e := &fields[i]
		own := e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
		if !own && fieldSet(e).Has(at) {
			return false
		}
	}
	return true
}

func pathOf(path []string) (fieldpath.Path, error) {
	parts := make([]any, 0, len(path))
	for _, p := range path {
		parts = append(parts, p)
	}
	return fieldpath.MakePath(parts...)
}
