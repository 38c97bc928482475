package argo

import (
	"path"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	"plumb.dev/plumb/internal/app"
)

// source decides on the one source of the application and how it is rendered.
func (d *decoder) source(name string, res resource) app.Source {
	field, one := "spec.source", res.Spec.Source
	if res.Spec.SourceHydrator != nil {
		d.unsupported("spec.sourceHydrator")
		return app.Source{}
	}
	sources := res.Spec.Sources
	if op := res.Operation; op != nil && op.Sync != nil && (op.Sync.Source != nil || len(op.Sync.Sources) > 0) {
		// A rollback carries the source of its history entry.
		field, one, sources = "operation.sync.source", op.Sync.Source, op.Sync.Sources
	}
	switch {
	case len(sources) > 1:
		d.unsupported(field + "s with more than one entry")
		return app.Source{}
	case len(sources) == 1:
		field, one = field+"s[0]", &sources[0]
	case one == nil:
		one = &sourceSpec{}
	}

	d.unsupportedSource(field, *one)
	if one.RepoURL == "" || one.Path == "" {
		d.invalid(app.ReasonInvalidSpec, "%s.repoURL and %s.path are required", field, field)
		return app.Source{}
	}
	if path.IsAbs(one.Path) || escapes(one.Path) {
		d.invalid(app.ReasonInvalidSpec, "%s.path: %q is not a path inside the repository", field, one.Path)
	}
	if d.spec.Invalid != nil {
		return app.Source{}
	}

	d.spec.Render = d.render(field, *one)
	d.spec.Render.Name = name
	src := app.Source{
		ID:        sourceID(one.RepoURL, one.TargetRevision),
		URL:       one.RepoURL,
		Ref:       app.GitRef{Any: revisionOrHead(one.TargetRevision)},
		Interval:  d.opt.pollInterval(),
		UseIgnore: false,
	}
	d.spec.Source = src.ID
	return src
}

// sourceID is equal for equal repositories and revisions. It is a digest, as
// a URL can hold a password. Credentials are chosen by URL alone, so that they
// need not be part of it.
func sourceID(url, revision string) app.SourceID {
	return app.SourceID{Name: "git-" + token([]string{url, revisionOrHead(revision)})}
}

func revisionOrHead(revision string) string {
	if revision == "" {
		return "HEAD"
	}
	return revision
}

// escapes reports whether a relative path leaves its root.
func escapes(p string) bool {
	p = path.Clean(p)
	return p == ".." || strings.HasPrefix(p, "../")
}

func (d *decoder) unsupportedSource(field string, s sourceSpec) {
	for _, c := range []struct {
		set   bool
		field string
	}{
		{s.Chart != "", "chart"},
		{len(s.Helm) > 0, "helm"},
		{len(s.Plugin) > 0, "plugin"},
		{s.Ref != "", "ref"},
		{s.TagPrefix != "", "tagPrefix"},
		{s.Directory != nil && len(s.Directory.Jsonnet) > 0, "directory.jsonnet"},
		{s.Directory != nil && s.Directory.DisableExtensionFilter, "directory.disableExtensionFilter"},
		{s.Kustomize != nil && s.Kustomize.CommonAnnotationsEnvsubst, "kustomize.commonAnnotationsEnvsubst"},
		{strings.HasPrefix(s.RepoURL, "oci://"), "repoURL with oci://"},
	} {
		if c.set {
			d.unsupported(field + "." + c.field)
		}
	}
}

// render follows Argo CD's choice: an explicit section decides, more than one
// is an error, and an empty one counts as absent.
func (d *decoder) render(field string, s sourceSpec) app.Render {
	out := app.Render{Path: s.Path, Directory: app.Directory{Lenient: true, SkipMarker: skipMarker}}
	if dir := s.Directory; dir != nil {
		out.Directory.Recurse, out.Directory.Include, out.Directory.Exclude = dir.Recurse, dir.Include, dir.Exclude
	}
	if s.Kustomize != nil {
		out.Kustomize = d.kustomize(field+".kustomize", *s.Kustomize)
	}
	explicitDirectory := s.Directory != nil && (s.Directory.Recurse || s.Directory.Include != "" || s.Directory.Exclude != "")
	explicitKustomize := s.Kustomize != nil && !s.Kustomize.isZero()
	switch {
	case explicitDirectory && explicitKustomize:
		d.invalid(app.ReasonInvalidSpec, "%s: multiple application sources defined: Kustomize,Directory", field)
	case explicitDirectory:
		out.Mode = app.RenderDirectory
	case explicitKustomize:
		out.Mode = app.RenderKustomize
	}
	return out
}

func (k kustomizeSpec) isZero() bool {
	return k.NamePrefix == "" && k.NameSuffix == "" && k.Namespace == "" && k.Version == "" && k.KubeVersion == "" &&
		len(k.Images) == 0 && len(k.Replicas) == 0 && len(k.CommonLabels) == 0 && len(k.CommonAnnotations) == 0 &&
		len(k.Patches) == 0 && len(k.Components) == 0 && len(k.APIVersions) == 0
}

func (d *decoder) kustomize(field string, k kustomizeSpec) app.Kustomize {
	out := app.Kustomize{
		Namespace:              k.Namespace,
		NamePrefix:             k.NamePrefix,
		NameSuffix:             k.NameSuffix,
		CommonLabels:           k.CommonLabels,
		LabelWithoutSelector:   k.LabelWithoutSelector,
		LabelIncludeTemplates:  k.LabelIncludeTemplates,
		ForceCommonLabels:      k.ForceCommonLabels,
		CommonAnnotations:      k.CommonAnnotations,
		ForceCommonAnnotations: k.ForceCommonAnnotations,
		Components:             k.Components,
	}
	for i, text := range k.Images {
		image, ok := parseImage(text)
		if !ok {
			d.invalid(app.ReasonInvalidSpec, "%s.images[%d]: %q: want [old=]name[:tag|@digest] that changes something", field, i, text)
		}
		out.Images = append(out.Images, image)
	}
	for i, r := range k.Replicas {
		count, err := replicaCount(r.Count)
		if err != nil || r.Name == "" || count < 0 {
			d.invalid(app.ReasonInvalidSpec, "%s.replicas[%d]: want a name and a count of 0 or more", field, i)
		}
		out.Replicas = append(out.Replicas, app.Replica{Name: r.Name, Count: count})
	}
	for i, p := range k.Patches {
		if (p.Patch == "") == (p.Path == "") {
			d.invalid(app.ReasonInvalidSpec, "%s.patches[%d]: exactly one of patch and path is required", field, i)
		}
		patch := app.Patch{Patch: p.Patch, Path: p.Path, Options: p.Options}
		if t := p.Target; t != nil {
			patch.Target = &app.Selector{
				Group: t.Group, Version: t.Version, Kind: t.Kind, Name: t.Name, Namespace: t.Namespace,
				LabelSelector: t.LabelSelector, AnnotationSelector: t.AnnotationSelector,
			}
		}
		out.Patches = append(out.Patches, patch)
	}
	if k.IgnoreMissingComponents {
		d.warn(field+".ignoreMissingComponents", "not supported by this version of Plumb: a missing component is an error")
	}
	if k.Version != "" {
		d.warn(field+".version", "has no effect: Kustomize is built in")
	}
	if k.KubeVersion != "" || len(k.APIVersions) > 0 {
		d.warn(field, "kubeVersion and apiVersions have no effect: they matter to Helm only, which this version of Plumb does not support")
	}
	return out
}

func replicaCount(v intstr.IntOrString) (int64, error) {
	if v.Type == intstr.Int {
		return int64(v.IntVal), nil
	}
	return strconv.ParseInt(v.StrVal, 10, 32)
}

// parseImage reads [old=]name[:tag|@digest], as `kustomize edit set image`
// does: an asterisk in place of a part keeps that part. It reports whether the
// text is an image that changes something.
func parseImage(text string) (app.Image, bool) {
	old, target, renames := strings.Cut(text, "=")
	if !renames {
		target = old
	}
	name, digest, _ := strings.Cut(target, "@")
	tag := ""
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name, tag = name[:i], name[i+1:]
		if tag == "" {
			return app.Image{}, false
		}
	}
	keep := func(s string) string {
		if s == "*" {
			return ""
		}
		return s
	}
	image := app.Image{Name: name, NewTag: keep(tag), Digest: keep(digest)}
	if renames {
		image.Name, image.NewName = old, keep(name)
	}
	if strings.HasSuffix(target, "@") || image.Name == "" || image.Name == "*" || name == "" || strings.ContainsAny(text, " \t\n") {
		return app.Image{}, false
	}
	return image, image.NewName != "" || image.NewTag != "" || image.Digest != ""
}
