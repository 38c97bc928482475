package render

import (
	"maps"
	"slices"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// override lays what the app asks for over its kustomization, as `kustomize
// edit` would.
func override(k *types.Kustomization, o app.Kustomize, file string) error {
	for _, field := range []struct {
		to   *string
		from string
	}{{&k.Namespace, o.Namespace}, {&k.NamePrefix, o.NamePrefix}, {&k.NameSuffix, o.NameSuffix}} {
		if field.from != "" {
			*field.to = field.from
		}
	}
	if err := overrideLabels(k, o, file); err != nil {
		return err
	}
	if err := lay(&k.CommonAnnotations, o.CommonAnnotations, o.ForceCommonAnnotations, "commonAnnotations", file); err != nil {
		return err
	}
	for _, image := range o.Images {
		overrideImage(k, image)
	}
	for _, replica := range o.Replicas {
		wanted := types.Replica{Name: replica.Name, Count: replica.Count}
		if i := slices.IndexFunc(k.Replicas, func(r types.Replica) bool { return r.Name == replica.Name }); i >= 0 {
			k.Replicas[i] = wanted
		} else {
			k.Replicas = append(k.Replicas, wanted)
		}
	}
	for _, patch := range o.Patches {
		k.Patches = append(k.Patches, types.Patch{Path: patch.Path, Patch: patch.Patch, Target: selector(patch.Target), Options: patchOptions(patch.Options)})
	}
	for _, metadata := range []struct {
		name string
		on   bool
	}{{types.OriginAnnotations, o.Origins}, {types.TransformerAnnotations, o.Transformers}} {
		if metadata.on && !slices.Contains(k.BuildMetadata, metadata.name) {
			k.BuildMetadata = append(k.BuildMetadata, metadata.name)
		}
	}
	for _, component := range o.Components {
		if !slices.Contains(k.Components, component) {
			k.Components = append(k.Components, component)
		}
	}
	return nil
}

// overrideLabels adds the common labels, to selectors as well unless the app
// says otherwise.
func overrideLabels(k *types.Kustomization, o app.Kustomize, file string) error {
	if len(o.CommonLabels) == 0 {
		return nil
	}
	if !o.LabelWithoutSelector {
		//lint:ignore SA1019 users still write it
		return lay(&k.CommonLabels, o.CommonLabels, o.ForceCommonLabels, "commonLabels", file)
	}
	i := slices.IndexFunc(k.Labels, func(l types.Label) bool {
		return !l.IncludeSelectors && l.IncludeTemplates == o.LabelIncludeTemplates && len(l.FieldSpecs) == 0
	})
	if i < 0 {
		k.Labels = append(k.Labels, types.Label{IncludeTemplates: o.LabelIncludeTemplates})
		i = len(k.Labels) - 1
	}
	return lay(&k.Labels[i].Pairs, o.CommonLabels, o.ForceCommonLabels, "labels", file)
}

// lay adds pairs to a field of the kustomization. A key that the file sets to
// another value is an error unless forced.
func lay(to *map[string]string, pairs map[string]string, force bool, field, file string) error {
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		if before, set := (*to)[key]; set && before != pairs[key] && !force {
			return failure(app.ReasonBuild, "%s: %s sets %q, which the app sets to something else", file, field, key).
				WithHint("remove it from one of the two, or let the app force its value")
		}
		if *to == nil {
			*to = map[string]string{}
		}
		(*to)[key] = pairs[key]
	}
	return nil
}

// overrideImage merges with an entry of the same name: a new name stands for
// itself, tag and digest are one unit.
func overrideImage(k *types.Kustomization, image app.Image) {
	i := slices.IndexFunc(k.Images, func(e types.Image) bool { return e.Name == image.Name })
	if i < 0 {
		k.Images = append(k.Images, types.Image{Name: image.Name})
		i = len(k.Images) - 1
	}
	entry := &k.Images[i]
	if image.NewName != "" {
		entry.NewName = image.NewName
	}
	if image.NewTag != "" || image.Digest != "" {
		entry.NewTag, entry.Digest = image.NewTag, image.Digest
	}
}

func selector(s *app.Selector) *types.Selector {
	if s == nil {
		return nil
	}
	return &types.Selector{
		ResId: resid.ResId{
			Gvk:       resid.Gvk{Group: s.Group, Version: s.Version, Kind: s.Kind},
			Name:      s.Name,
			Namespace: s.Namespace,
		},
		LabelSelector:      s.LabelSelector,
		AnnotationSelector: s.AnnotationSelector,
	}
}

func patchOptions(options map[string]bool) *types.PatchArgs {
	if len(options) == 0 {
		return nil
	}
	return &types.PatchArgs{AllowNameChange: options["allowNameChange"], AllowKindChange: options["allowKindChange"]}
}

// setMetadata sets labels and annotations on every object, over what it has;
// pod templates and selectors stay as they are.
func setMetadata(objects []object.Object, o app.Kustomize) {
	for _, built := range objects {
		u := built.Unstructured()
		if len(o.Labels) > 0 {
			u.SetLabels(over(u.GetLabels(), o.Labels))
		}
		if len(o.Annotations) > 0 {
			u.SetAnnotations(over(u.GetAnnotations(), o.Annotations))
		}
	}
}

func over(base, pairs map[string]string) map[string]string {
	if base == nil {
		base = map[string]string{}
	}
	maps.Copy(base, pairs)
	return base
}
