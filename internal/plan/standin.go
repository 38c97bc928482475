package plan

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Idles reports whether u is a workload that Plumb does the work of, and that
// is therefore delivered with no replicas. A nil StandIn covers nothing.
func Idles(s *app.StandIn, u *unstructured.Unstructured) bool {
	return u.GetKind() == "Deployment" && u.GroupVersionKind().Group == "apps" && s.IsIdle(u.GetName(), u.GetLabels())
}

// foreignDefinition reports whether u would put someone else's definition in
// the place of one that Plumb brings.
func foreignDefinition(s *app.StandIn, u *unstructured.Unstructured) bool {
	return s != nil && u.GetKind() == crdKind && s.Definitions[u.GetName()] && u.GetLabels()[s.OwnLabel] != s.OwnValue
}

// standIn settles what of an app's objects would undo that Plumb does another
// tool's work, and collects what is to be said about it.
type standIn struct {
	of          *app.StandIn
	idle        []string
	definitions []string
}

// settle changes o, or tells that it is not to be delivered.
func (s *standIn) settle(o object.Object, u *unstructured.Unstructured) (deliver bool) {
	switch {
	case foreignDefinition(s.of, u):
		s.definitions = append(s.definitions, fmt.Sprintf("%s (%s)", u.GetName(), o.Origin))
		return false
	case Idles(s.of, u):
		if n, found, err := unstructured.NestedInt64(u.Object, "spec", "replicas"); err != nil || !found || n != 0 {
			s.idle = append(s.idle, fmt.Sprintf("%s (%s)", o.Ref(), o.Origin))
		}
		// What is not a map here is refused by the API server, not by this.
		_ = unstructured.SetNestedField(u.Object, int64(0), "spec", "replicas")
	}
	return true
}

func (s *standIn) warnings() []app.Warning {
	var out []app.Warning
	warn := func(items []string, what string) {
		if len(items) > 0 {
			out = append(out, app.Warning{Message: fmt.Sprintf("%s%s: %s", items[0], more(items), what)})
		}
	}
	warn(s.idle, "delivered with 0 replicas, because Plumb does the work of it; remove it from Git")
	warn(s.definitions, "not delivered, because Plumb brings its own definition; remove it from Git")
	return out
}

func more(items []string) string {
	if len(items) == 1 {
		return ""
	}
	return fmt.Sprintf(" and %d more", len(items)-1)
}
