package fluxcli

import (
	"fmt"
	"slices"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// object is what all types of the command have.
type object interface {
	metav1.Object
	GetConditions() []metav1.Condition
}

// kind is a kind of resources that the command knows, with the types that it is
// compiled with. A kind that Plumb comes to serve is one more entry in kinds.
type kind struct {
	name     string // "Kustomization"
	human    string // "kustomization", as messages call it
	resource schema.GroupVersionResource
	typed    func() object
	source   bool // `flux get sources …`
	// columns are the headings between the name and SUSPENDED, and cells what
	// stands there.
	columns []string
	cells   func(object) []string
	// suspended, observed and handled are fields of the object.
	suspended func(object) bool
	observed  func(object) int64
	handled   func(object) string
	success   func(object) string // what reconcile and resume end with
	// sourceOf is what --with-source reconciles before.
	sourceOf func(object) (k kind, namespace, name string)
	stored   func(object) int64 // bytes, for `flux stats`
}

// source makes the entry of a kind of sources.
func source[T any, P interface {
	*T
	object
}](name, human, plural string, fields func(P) (suspend bool, s sourceStatus)) kind {
	status := func(o object) sourceStatus { _, s := fields(o.(P)); return s }
	return kind{
		name: name, human: human, source: true,
		resource:  schema.GroupVersionResource{Group: sourcev1.GroupVersion.Group, Version: sourcev1.GroupVersion.Version, Resource: plural},
		typed:     func() object { return P(new(T)) },
		columns:   []string{"REVISION"},
		cells:     func(o object) []string { return []string{short(status(o).revision)} },
		suspended: func(o object) bool { s, _ := fields(o.(P)); return s },
		observed:  func(o object) int64 { return status(o).observed },
		handled:   func(o object) string { return status(o).handled },
		success:   func(o object) string { return "fetched revision " + status(o).revision },
		stored:    func(o object) int64 { return status(o).size },
	}
}

// sourceStatus is what the command reads of a source's status.
type sourceStatus struct {
	revision string
	size     int64
	observed int64
	handled  string
}

func gitRepository() kind {
	return source("GitRepository", "source git", "gitrepositories", func(o *sourcev1.GitRepository) (bool, sourceStatus) {
		s := sourceStatus{observed: o.Status.ObservedGeneration, handled: o.Status.LastHandledReconcileAt}
		if a := o.Status.Artifact; a != nil {
			s.revision = a.Revision
			if a.Size != nil {
				s.size = *a.Size
			}
		}
		return o.Spec.Suspend, s
	})
}

func kustomization() kind {
	ks := func(o object) *kustomizev1.Kustomization { return o.(*kustomizev1.Kustomization) }
	return kind{
		name: "Kustomization", human: "kustomization",
		resource:  schema.GroupVersionResource{Group: kustomizev1.GroupVersion.Group, Version: "v1", Resource: "kustomizations"},
		typed:     func() object { return &kustomizev1.Kustomization{} },
		columns:   []string{"REVISION"},
		cells:     func(o object) []string { return []string{short(ks(o).Status.LastAppliedRevision)} },
		suspended: func(o object) bool { return ks(o).Spec.Suspend },
		observed:  func(o object) int64 { return ks(o).Status.ObservedGeneration },
		handled:   func(o object) string { return ks(o).Status.LastHandledReconcileAt },
		success:   func(o object) string { return "applied revision " + ks(o).Status.LastAppliedRevision },
		sourceOf: func(o object) (kind, string, string) {
			ref := ks(o).Spec.SourceRef
			for _, k := range kinds() {
				if k.source && k.name == ref.Kind {
					return k, ref.Namespace, ref.Name
				}
			}
			panic(fmt.Sprintf("source of kind %s", ref.Kind))
		},
	}
}

// kinds are those that Plumb serves and works on.
func kinds() []kind { return []kind{gitRepository(), kustomization()} }

// known are the resources that the command is compiled with.
func known() []schema.GroupVersionResource {
	var out []schema.GroupVersionResource
	group := func(group, version string, resources ...string) {
		for _, r := range resources {
			out = append(out, schema.GroupVersionResource{Group: group + ".toolkit.fluxcd.io", Version: version, Resource: r})
		}
	}
	group("source", "v1", "gitrepositories", "ocirepositories", "helmrepositories", "helmcharts", "buckets", "externalartifacts")
	group("kustomize", "v1", "kustomizations")
	group("helm", "v2", "helmreleases")
	group("notification", "v1beta3", "alerts", "providers")
	group("notification", "v1", "receivers")
	group("image", "v1", "imageupdateautomations", "imagepolicies", "imagerepositories")
	return out
}

// absent are those that Plumb does not serve yet.
func absent() []schema.GroupVersionResource {
	return slices.DeleteFunc(known(), func(r schema.GroupVersionResource) bool {
		return slices.ContainsFunc(kinds(), func(k kind) bool { return k.resource == r })
	})
}
