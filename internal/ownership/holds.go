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
	parts := make([]any, 0, len(path))
	for _, p := range path {
		parts = append(parts, p)
	}
	at, err := fieldpath.MakePath(parts...)
	return err == nil && fieldSet(entry).Has(at)
}
