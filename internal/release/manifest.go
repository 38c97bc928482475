package release

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	helm "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// By these Helm knows what belongs to a release. It sets them when it writes, so
// that they are not in what it stores.
const (
	labelManagedBy             = "app.kubernetes.io/managed-by"
	annotationReleaseName      = "meta.helm.sh/release-name"
	annotationReleaseNamespace = "meta.helm.sh/release-namespace"
)

// Manifest gives the objects that the revision delivers: no hooks, no CRDs of
// the chart's crds directory. They have the labels and annotations by which
// Helm marks what is its own, and no namespace where the chart gave none. The
// error is an app.Failure.
func (s *Stored) Manifest() ([]object.Object, error) {
	objects, err := objectsOf(s.release)
	if err != nil {
		return nil, err
	}
	for _, o := range objects {
		u := o.Unstructured()
		labels, annotations := maps.Clone(u.GetLabels()), maps.Clone(u.GetAnnotations())
		if labels == nil {
			labels = map[string]string{}
		}
		if annotations == nil {
			annotations = map[string]string{}
		}
		labels[labelManagedBy] = "Helm"
		annotations[annotationReleaseName], annotations[annotationReleaseNamespace] = s.release.Name, s.release.Namespace
		u.SetLabels(labels)
		u.SetAnnotations(annotations)
	}
	return objects, nil
}

func objectsOf(rel *helm.Release) ([]object.Object, error) {
	name := fmt.Sprintf("release %s/%s.v%d", rel.Namespace, rel.Name, rel.Version)
	objects, err := object.Decode(name, []byte(rel.Manifest))
	if err != nil {
		return nil, app.Fail(app.StagePlan, app.ReasonBuild, "the manifest of %s cannot be read: %w", name, err)
	}
	return slices.DeleteFunc(objects, func(o object.Object) bool {
		_, hook := o.Unstructured().GetAnnotations()[helm.HookAnnotation]
		return hook
	}), nil
}

// inventory is what the release that was written holds: its objects and the
// chart's definitions. Those are unscoped whose kind the API server does not
// tell about.
func (s *session) inventory() (records []app.Record, unscoped []object.Ref) {
	objects, err := objectsOf(s.written)
	if err != nil {
		s.config.Logger().Warn("the inventory is not known", "error", err)
		return nil, nil
	}
	records = []app.Record{}
	for _, o := range objects {
		ref, gvk := o.Ref(), o.GVK()
		if ref.Namespace == "" {
			mapping, err := s.conn.catalog.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
			switch {
			case err != nil:
				unscoped = append(unscoped, ref)
			case mapping.Scope.Name() == meta.RESTScopeNameNamespace:
				ref.Namespace = s.r.Namespace
			}
		}
		records = append(records, app.Record{Ref: ref, Version: gvk.Version})
	}
	if s.written.Chart != nil {
		records = append(records, definitions(s.written.Chart)...)
	}
	slices.SortFunc(records, func(a, b app.Record) int { return cmp.Or(a.Ref.Compare(b.Ref), cmp.Compare(a.Version, b.Version)) })
	return slices.Compact(records), unscoped
}

// definitions are the objects in a chart's crds directories.
func definitions(c *chart.Chart) (records []app.Record) {
	for _, file := range c.CRDObjects() {
		objects, err := object.Decode(file.Filename, file.File.Data)
		if err != nil {
			continue // applyCRDs refused them before
		}
		for _, o := range objects {
			records = append(records, app.Record{Ref: o.Ref(), Version: o.GVK().Version})
		}
	}
	return records
}
