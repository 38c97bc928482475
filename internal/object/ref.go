package object

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Ref is the identity of a Kubernetes object inside one cluster. The API
// version is not part of it: the same object is served in several versions.
type Ref struct {
	Group, Kind, Namespace, Name string
}

// GroupKind returns the type of the object.
func (r Ref) GroupKind() schema.GroupKind { return schema.GroupKind{Group: r.Group, Kind: r.Kind} }

// String is the form that people read: Kind/namespace/name, or Kind/name for
// a cluster-scoped object.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + "/" + r.Name
	}
	return r.Kind + "/" + r.Namespace + "/" + r.Name
}

// Compare orders references by group, kind, namespace, name.
func (r Ref) Compare(o Ref) int {
	for _, c := range [...]int{
		strings.Compare(r.Group, o.Group),
		strings.Compare(r.Kind, o.Kind),
		strings.Compare(r.Namespace, o.Namespace),
		strings.Compare(r.Name, o.Name),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}
