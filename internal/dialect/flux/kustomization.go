package flux

import (
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
)

// minTimeout is the least time a Kustomization is given, even if it asks for
// less; timeoutMargin is what the default leaves of the interval.
const (
	minTimeout    = 30 * time.Second
	timeoutMargin = 30 * time.Second
)

// DecodeKustomization reads a Kustomization of any version. It always gives a
// spec that can be reported on; Invalid is set if it cannot be run, and
// Warnings tell what is ignored.
func DecodeKustomization(u *unstructured.Unstructured) app.Spec {
	namespace, name := u.GetNamespace(), u.GetName()
	out := appSpec(u, KindKustomization)
	out.FieldManager, out.AdoptFrom, out.Strip = FieldManager, adoptFrom(), strip()
	out.Mark = app.Mark{Labels: map[string]string{ownerName: name, ownerNamespace: namespace}}

	fields := section(u.Object, "spec")
	var spec kustomizationSpec
	out.Warnings = append(out.Warnings, unknownFields("spec", fields, reflect.TypeFor[kustomizationSpec]())...)
	if f := convert(fields, &spec); f != nil {
		out.Invalid = f
		if deleting(u) {
			out.Deletion = &app.Deletion{} // what is not understood deletes nothing
		}
		return out
	}
	out.Warnings = append(out.Warnings, kustomizationWarnings(spec)...)
	out.Source = app.SourceID{
		Kind:      spec.SourceRef.Kind,
		Namespace: orElse(spec.SourceRef.Namespace, namespace),
		Name:      spec.SourceRef.Name,
	}
	out.Target.Namespace = spec.TargetNamespace
	if spec.ServiceAccountName != "" {
		out.Target.ServiceAccount = namespace + "/" + spec.ServiceAccountName
	}
	out.Policy = policy(spec)
	out.Suspend = spec.Suspend
	for _, d := range spec.DependsOn {
		id := app.ID{Kind: KindKustomization, Namespace: orElse(d.Namespace, namespace), Name: d.Name}
		out.DependsOn = append(out.DependsOn, id)
		if d.ReadyExpr != "" {
			out.ReadyExprs = append(out.ReadyExprs, app.ReadyExpr{On: id, Dep: reference(id), Self: reference(out.ID), Text: d.ReadyExpr})
		}
	}
	var invalid *app.Failure
	out.Render, invalid = renderOf(spec, name)
	if invalid == nil {
		out.Render.Substitute, invalid = substitution(spec.PostBuild, namespace)
	}
	if invalid == nil {
		out.Policy.Ignore, invalid = ignoreRules("spec.ignore", spec.Ignore)
	}
	if invalid == nil {
		out.Policy.HealthExprs, invalid = expressions(spec.HealthCheckExprs, spec.DependsOn)
	}
	out.Render.Decrypt = decryption(spec.Decryption, namespace)
	if invalid == nil {
		invalid = kustomizationFailure(spec)
	}
	out.Invalid = invalid
	if deleting(u) {
		out.Deletion, out.Invalid = deletion(spec), nil
	}
	return out
}

func deleting(u *unstructured.Unstructured) bool {
	return text(u.Object, "metadata", "deletionTimestamp") != ""
}

// deletion: a suspended Kustomization leaves its objects, whatever its policy
// says. So does one whose kubeConfig is refused: it is not known where they are.
func deletion(spec kustomizationSpec) *app.Deletion {
	d := &app.Deletion{Propagation: app.Background}
	if spec.Suspend || spec.KubeConfig.failure() != nil {
		return d
	}
	switch spec.DeletionPolicy {
	case "Delete":
		d.Prune = true
	case "WaitForTermination":
		d.Prune, d.Wait = true, true
	case "Orphan":
	default: // MirrorPrune
		d.Prune = spec.Prune
	}
	return d
}

func policy(spec kustomizationSpec) app.Policy {
	p := app.Policy{
		Mode:        app.ModeEnforce,
		Prune:       spec.Prune,
		AllowEmpty:  true,
		Forget:      true,
		HealthRules: app.HealthKstatus,
		Wait:        spec.Wait || len(spec.HealthChecks) > 0,
		Interval:    defaultInterval,
		RetryLimit:  -1,
		Order:       order(),
		Propagation: app.Background,
		Force:       spec.Force,
		Switches:    switches(),
	}
	if spec.Interval != nil {
		p.Interval = spec.Interval.Duration
	}
	p.RetryInterval = p.Interval
	if spec.RetryInterval != nil {
		p.RetryInterval = spec.RetryInterval.Duration
	}
	p.Timeout = p.Interval - timeoutMargin
	if spec.Timeout != nil {
		p.Timeout = spec.Timeout.Duration
	}
	p.Timeout = max(p.Timeout, minTimeout)
	if !spec.Wait { // wait looks at everything, and at healthChecks no more
		for _, c := range spec.HealthChecks {
			gv, err := schema.ParseGroupVersion(orElse(c.APIVersion, "apps/v1"))
			if err != nil {
				continue // kustomizationFailure tells
			}
			p.HealthChecks = append(p.HealthChecks, app.HealthCheck{
				Group: gv.Group, Version: gv.Version, Kind: c.Kind, Namespace: c.Namespace, Name: c.Name,
			})
		}
	}
	return p
}

func renderOf(spec kustomizationSpec, name string) (app.Render, *app.Failure) {
	k := app.Kustomize{
		Namespace:  spec.TargetNamespace,
		NamePrefix: spec.NamePrefix,
		NameSuffix: spec.NameSuffix,
		Components: spec.Components,
	}
	for i, c := range spec.Components {
		if strings.Contains(c, "://") || strings.HasPrefix(c, "/") {
			return app.Render{}, app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.components[%d]: %q is no relative path; only directories of the source can be named", i, c)
		}
	}
	k.IgnoreMissing = spec.IgnoreMissingComponents
	for i, m := range spec.BuildMetadata {
		switch m {
		case "originAnnotations":
			k.Origins = true
		case "transformerAnnotations":
			k.Transformers = true
		default:
			return app.Render{}, app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.buildMetadata[%d]: %q is neither originAnnotations nor transformerAnnotations", i, m)
		}
	}
	if m := spec.CommonMetadata; m != nil {
		k.Labels, k.Annotations = m.Labels, m.Annotations
	}
	for _, i := range spec.Images {
		k.Images = append(k.Images, app.Image{Name: i.Name, NewName: i.NewName, NewTag: i.NewTag, Digest: i.Digest})
	}
	for _, p := range spec.Patches {
		k.Patches = append(k.Patches, app.Patch{Patch: p.Patch, Target: p.Target.app(), Options: p.Options})
	}
	// The patch fields of old versions hold YAML as such, not as text.
	for i, p := range spec.PatchesStrategicMerge {
		text, f := inlinePatch(p, "patchesStrategicMerge", i)
		if f != nil {
			return app.Render{}, f
		}
		k.Patches = append(k.Patches, app.Patch{Patch: text})
	}
	for i, p := range spec.PatchesJSON6902 {
		text, f := inlinePatch(p.Patch, "patchesJson6902", i)
		if f != nil {
			return app.Render{}, f
		}
		k.Patches = append(k.Patches, app.Patch{Patch: text, Target: p.Target.app()})
	}
	return app.Render{Path: clamped(spec.Path), Mode: app.RenderGenerated, Kustomize: k, Name: name}, nil
}

// clamped is a path that does not leave the source: as in Flux, what is above
// its root is the root.
func clamped(p string) string {
	if inside := path.Clean("./" + strings.TrimLeft(p, "/")); inside != ".." && !strings.HasPrefix(inside, "../") {
		return p
	}
	return "." + path.Clean("/"+p)
}

func inlinePatch(value any, field string, i int) (string, *app.Failure) {
	data, err := json.Marshal(value)
	if err != nil {
		return "", app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.%s[%d]: %w", field, i, err)
	}
	return string(data), nil
}

func (s *selector) app() *app.Selector {
	if s == nil {
		return nil
	}
	return &app.Selector{
		Group: s.Group, Version: s.Version, Kind: s.Kind, Name: s.Name, Namespace: s.Namespace,
		LabelSelector: s.LabelSelector, AnnotationSelector: s.AnnotationSelector,
	}
}

func kustomizationWarnings(spec kustomizationSpec) []app.Warning {
	var out []app.Warning
	warn := func(when bool, field, message string) {
		if when {
			out = append(out, app.Warning{Field: "spec." + field, Message: message})
		}
	}
	warn(spec.SelfHeal != nil, "selfHeal", "is not a field of Flux and has no effect: drift correction is always on")
	warn(spec.Validation != "", "validation", "has no effect, the API server validates")
	warn(spec.Wait && len(spec.HealthChecks) > 0, "healthChecks", "has no effect with wait: true, which checks everything")
	if d := spec.Decryption; d != nil && d.SecretRef != nil {
		warn(d.ServiceAccountName != "", "decryption.serviceAccountName", "is not supported: only the keys of decryption.secretRef are used")
	}
	return out
}

// kustomizationFailure refuses what would deliver something else than asked,
// or to somewhere else.
func kustomizationFailure(spec kustomizationSpec) *app.Failure {
	invalid := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, format, args...)
	}
	unsupported := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonUnsupported, format, args...)
	}
	ref := spec.SourceRef
	switch {
	case slices.Contains(deliverable(), ref.Kind):
	case ref.Kind == "":
		return invalid("spec.sourceRef.kind is missing").WithHint("set it to GitRepository")
	default:
		return invalid("spec.sourceRef.kind: there is no source of kind %q", ref.Kind).WithHint("set it to GitRepository")
	}
	if ref.Name == "" {
		return invalid("spec.sourceRef.name is missing").WithHint("name a GitRepository")
	}
	if negative(spec) {
		return invalid("spec.interval, spec.retryInterval and spec.timeout must not be negative")
	}
	for i, c := range spec.HealthChecks {
		if _, err := schema.ParseGroupVersion(c.APIVersion); err != nil {
			return invalid("spec.healthChecks[%d].apiVersion: %w", i, err)
		}
	}
	for i, d := range spec.DependsOn {
		if d.Name == "" {
			return invalid("spec.dependsOn[%d].name is missing", i)
		}
	}
	if f := spec.KubeConfig.failure(); f != nil {
		return f
	}
	switch {
	case spec.Decryption != nil && spec.Decryption.Provider != "sops":
		return invalid("spec.decryption.provider: %q is not a provider", spec.Decryption.Provider).WithHint("set it to sops")
	case spec.Decryption != nil && spec.Decryption.SecretRef != nil && spec.Decryption.SecretRef.Name == "":
		return invalid("spec.decryption.secretRef.name is missing")
	case spec.Decryption != nil && spec.Decryption.SecretRef == nil && spec.Decryption.ServiceAccountName != "":
		return unsupported("spec.decryption.serviceAccountName is not supported: keys in a cloud's key service cannot be used").
			WithHint("encrypt for an age or PGP key as well, and name its Secret in spec.decryption.secretRef")
	}
	return nil
}

func negative(spec kustomizationSpec) bool {
	return spec.Interval != nil && spec.Interval.Duration < 0 ||
		spec.RetryInterval != nil && spec.RetryInterval.Duration < 0 ||
		spec.Timeout != nil && spec.Timeout.Duration < 0
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
