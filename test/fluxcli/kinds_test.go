package fluxcli

import (
	"slices"

	helmv2 "github.com/fluxcd/helm-controller/api/v2"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	fluxmeta "github.com/fluxcd/pkg/apis/meta"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/api"
)

// object is what all types of the command have.
type object interface {
	metav1.Object
	GetConditions() []metav1.Condition
}

// kind is a kind of resources that the command knows, with the types that it is
// compiled with. Which of them there are follows from the definitions that Plumb
// brings.
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
	// static tells of what nobody reconciles, and what it is said to be; nil for
	// a kind of which that is never so.
	static func(object) (message string, is bool)
	// passive is a kind that the command only shows: its controller is someone
	// else's, and it has neither suspend nor requests.
	passive bool
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

func statusOf(a *fluxmeta.Artifact, observed int64, handled string) sourceStatus {
	s := sourceStatus{observed: observed, handled: handled}
	if a != nil {
		s.revision = a.Revision
		if a.Size != nil {
			s.size = *a.Size
		}
	}
	return s
}

func gitRepository() kind {
	return source("GitRepository", "source git", "gitrepositories", func(o *sourcev1.GitRepository) (bool, sourceStatus) {
		return o.Spec.Suspend, statusOf(o.Status.Artifact, o.Status.ObservedGeneration, o.Status.LastHandledReconcileAt)
	})
}

func ociRepository() kind {
	return source("OCIRepository", "source oci", "ocirepositories", func(o *sourcev1.OCIRepository) (bool, sourceStatus) {
		return o.Spec.Suspend, statusOf(o.Status.Artifact, o.Status.ObservedGeneration, o.Status.LastHandledReconcileAt)
	})
}

func bucket() kind {
	return source("Bucket", "source bucket", "buckets", func(o *sourcev1.Bucket) (bool, sourceStatus) {
		return o.Spec.Suspend, statusOf(o.Status.Artifact, o.Status.ObservedGeneration, o.Status.LastHandledReconcileAt)
	})
}

func externalArtifact() kind {
	k := source("ExternalArtifact", "source external", "externalartifacts", func(o *sourcev1.ExternalArtifact) (bool, sourceStatus) {
		return false, statusOf(o.Status.Artifact, o.Generation, "")
	})
	k.passive = true
	return k
}

func helmRepository() kind {
	k := source("HelmRepository", "source helm", "helmrepositories", func(o *sourcev1.HelmRepository) (bool, sourceStatus) {
		return o.Spec.Suspend, statusOf(o.Status.Artifact, o.Status.ObservedGeneration, o.Status.LastHandledReconcileAt)
	})
	k.static = func(o object) (string, bool) {
		return "Helm repository is Ready", o.(*sourcev1.HelmRepository).Spec.Type == sourcev1.HelmRepositoryTypeOCI
	}
	return k
}

func helmChart() kind {
	k := source("HelmChart", "source chart", "helmcharts", func(o *sourcev1.HelmChart) (bool, sourceStatus) {
		return o.Spec.Suspend, statusOf(o.Status.Artifact, o.Status.ObservedGeneration, o.Status.LastHandledReconcileAt)
	})
	k.sourceOf = func(o object) (kind, string, string) {
		ref := o.(*sourcev1.HelmChart).Spec.SourceRef
		return sourceKind(ref.Kind), o.GetNamespace(), ref.Name
	}
	return k
}

func helmRelease() kind {
	hr := func(o object) *helmv2.HelmRelease { return o.(*helmv2.HelmRelease) }
	revision := func(o object) string {
		if latest := hr(o).Status.History.Latest(); latest != nil {
			return latest.ChartVersion
		}
		return hr(o).Status.LastAttemptedRevision
	}
	return kind{
		name: "HelmRelease", human: "helmrelease",
		resource:  schema.GroupVersionResource{Group: helmv2.GroupVersion.Group, Version: "v2", Resource: "helmreleases"},
		typed:     func() object { return &helmv2.HelmRelease{} },
		columns:   []string{"REVISION"},
		cells:     func(o object) []string { return []string{short(revision(o))} },
		suspended: func(o object) bool { return hr(o).Spec.Suspend },
		observed:  func(o object) int64 { return hr(o).Status.ObservedGeneration },
		handled:   func(o object) string { return hr(o).Status.LastHandledReconcileAt },
		success:   func(o object) string { return "applied revision " + revision(o) },
		sourceOf: func(o object) (kind, string, string) {
			if ref := hr(o).Spec.ChartRef; ref != nil {
				return sourceKind(ref.Kind), ref.Namespace, ref.Name
			}
			return helmChart(), hr(o).Spec.Chart.Spec.SourceRef.Namespace, o.GetNamespace() + "-" + o.GetName()
		},
	}
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
			return sourceKind(ref.Kind), ref.Namespace, ref.Name
		},
	}
}

func sourceKind(name string) kind {
	for _, k := range []kind{gitRepository(), ociRepository(), bucket(), helmRepository(), helmChart(), externalArtifact()} {
		if k.name == name {
			return k
		}
	}
	panic("no source is of kind " + name)
}

// kinds are those that Plumb serves, in the order of the command.
func kinds() []kind {
	served := api.Names()
	return slices.DeleteFunc([]kind{
		gitRepository(), ociRepository(), helmRepository(), helmChart(), bucket(), externalArtifact(), kustomization(), helmRelease(),
	}, func(k kind) bool { return !slices.Contains(served, k.resource.GroupResource().String()) })
}

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
