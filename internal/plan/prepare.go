package plan

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/diff"
	"plumb.dev/plumb/internal/object"
)

const crdKind = "CustomResourceDefinition"

// Prepare makes rendered objects deliverable: their final namespaces, what
// server-side apply would refuse settled, ignored fields taken out, what
// spec.StandIn covers made harmless, the app's mark put on. kinds tells of the kinds that the cluster serves; those that
// come with the objects themselves are read off their definitions. The result
// shares nothing with objects. A later object replaces an earlier one of the
// same identity, with a warning.
func Prepare(objects []object.Object, spec app.Spec, kinds map[schema.GroupKind]Kind) ([]object.Object, []app.Warning, *app.Failure) {
	var warnings []app.Warning
	coming := definedKinds(objects)
	at := map[object.Ref]int{}
	out := make([]object.Object, 0, len(objects))
	taken := standIn{of: spec.StandIn}
	for _, o := range objects {
		if encrypted(o) {
			return nil, nil, app.Fail(app.StageRender, app.ReasonEncrypted, "%s (%s) is SOPS encrypted, configuring decryption is required for this secret to be reconciled", o, o.Origin).
				WithHint("set decryption on the app if its kind of resource has it; otherwise remove the object from the app's path")
		}
		o, notes := object.Normalize(o)
		for _, n := range notes {
			warnings = append(warnings, app.Warning{Message: n})
		}
		u := o.Unstructured()
		kind, known := kinds[o.Ref().GroupKind()]
		if !known || !kind.Served {
			kind, known = coming[o.Ref().GroupKind()]
		}
		if known {
			if failure := place(o, u, kind, spec.Target.Namespace); failure != nil {
				return nil, nil, failure
			}
		}
		ref := o.Ref()
		if spec.Permits != nil && known { // an unknown kind is refused as such
			if failure := spec.Permits(ref, kind.Namespaced); failure != nil {
				return nil, nil, failure
			}
		}
		diff.Strip(u.Object, ref, spec.Policy.Ignore)
		if !taken.settle(o, u) {
			continue
		}
		stamp(u, spec.Mark, ref)
		if i, twice := at[ref]; twice {
			warnings = append(warnings, app.Warning{Message: fmt.Sprintf(
				"%s is defined twice: %s is used, %s is not", ref, o.Origin, out[i].Origin)})
			out[i] = o
			continue
		}
		at[ref] = len(out)
		out = append(out, o)
	}
	return out, append(warnings, taken.warnings()...), nil
}

// place gives o the namespace that it will have in the cluster.
func place(o object.Object, u *unstructured.Unstructured, kind Kind, fallback string) *app.Failure {
	switch {
	case !kind.Namespaced:
		unstructured.RemoveNestedField(u.Object, "metadata", "namespace")
	case u.GetNamespace() == "" && fallback == "":
		return app.Fail(app.StageApply, app.ReasonInvalidObject, "%s (%s): namespace not specified", o, o.Origin).
			WithHint("set metadata.namespace in the manifest, or a target namespace on the app")
	case u.GetNamespace() == "":
		u.SetNamespace(fallback)
	}
	return nil
}

func stamp(u *unstructured.Unstructured, mark app.Mark, ref object.Ref) {
	labels, annotations := mark.Stamp(ref)
	if len(labels) > 0 {
		u.SetLabels(merged(u.GetLabels(), labels))
	}
	if len(annotations) > 0 {
		u.SetAnnotations(merged(u.GetAnnotations(), annotations))
	}
}

func merged(base, over map[string]string) map[string]string {
	out := make(map[string]string, len(base)+len(over))
	for k, v := range base {
		out[k] = v
	}
	for k, v := range over {
		out[k] = v
	}
	return out
}

// encrypted reports whether o still carries the metadata that SOPS writes into
// what it encrypts. Objects of kinds that are not the core's may be made for
// that: an operator in the cluster decrypts them.
func encrypted(o object.Object) bool {
	if o.Ref().Group != "" {
		return false
	}
	meta, ok := o.Unstructured().Object["sops"].(map[string]any)
	return ok && (meta["mac"] != nil || meta["lastmodified"] != nil)
}

// definedKinds reads the kinds that CustomResourceDefinitions among objects
// will bring.
func definedKinds(objects []object.Object) map[schema.GroupKind]Kind {
	out := map[schema.GroupKind]Kind{}
	for _, o := range objects {
		if o.Ref().Kind != crdKind {
			continue
		}
		content := o.Unstructured().Object
		group, _, _ := unstructured.NestedString(content, "spec", "group")
		kind, _, _ := unstructured.NestedString(content, "spec", "names", "kind")
		scope, _, _ := unstructured.NestedString(content, "spec", "scope")
		if kind != "" {
			out[schema.GroupKind{Group: group, Kind: kind}] = Kind{Namespaced: scope == "Namespaced", Owned: true}
		}
	}
	return out
}

// GVKs lists the types that objects and records need, each once.
func GVKs(objects []object.Object, records []app.Record) []schema.GroupVersionKind {
	seen := map[schema.GroupVersionKind]bool{}
	for _, o := range objects {
		seen[o.GVK()] = true
	}
	for _, r := range records {
		seen[schema.GroupVersionKind{Group: r.Ref.Group, Version: r.Version, Kind: r.Ref.Kind}] = true
	}
	out := make([]schema.GroupVersionKind, 0, len(seen))
	for gvk := range seen {
		out = append(out, gvk)
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int {
		return compareStrings(a.Group, b.Group, a.Kind, b.Kind, a.Version, b.Version)
	})
	return out
}
