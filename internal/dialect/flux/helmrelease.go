package flux

import (
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// HelmFieldManager writes what Helm delivers, and what corrects drift of it.
const HelmFieldManager = "helm-controller"

const (
	// ForceAt asks for one install or upgrade whatever the state, ResetAt for
	// the failures to be forgotten. Each counts if its value is that of
	// RequestedAt.
	ForceAt = "reconcile.fluxcd.io/forceAt"
	ResetAt = "reconcile.fluxcd.io/resetAt"

	helmOwnerName      = HelmGroup + "/name"
	helmOwnerNamespace = HelmGroup + "/namespace"
	helmDriftKey       = HelmGroup + "/driftDetection"

	// defaultReleaseTimeout is of each action of Helm.
	defaultReleaseTimeout = 5 * time.Minute
	// defaultMaxHistory is how many revisions Helm keeps.
	defaultMaxHistory = 5
)

// helmSwitches are the annotations, or labels, on objects of a release.
func helmSwitches() []app.Switch {
	return []app.Switch{{Key: helmDriftKey, Value: "disabled", Label: true, Effect: app.EffectIgnore}}
}

// releaseRetry is the wait after failures, where no strategy has one of its own.
var releaseRetry = app.Backoff{Initial: time.Second, Factor: 2, Max: 15 * time.Minute}

// DecodeHelmRelease reads a HelmRelease of any version. It always gives a spec
// that can be reported on; Invalid is set if it cannot be run, and Warnings
// tell what is ignored.
func DecodeHelmRelease(u *unstructured.Unstructured) app.Spec {
	namespace, name := u.GetNamespace(), u.GetName()
	out := appSpec(u, KindHelmRelease)
	out.FieldManager = HelmFieldManager
	out.Mark = app.Mark{Labels: map[string]string{helmOwnerName: name, helmOwnerNamespace: namespace}}
	out.Target.Namespace = namespace
	status := section(u.Object, "status")

	fields := section(u.Object, "spec")
	var spec helmReleaseSpec
	out.Warnings = append(out.Warnings, unknownFields("spec", fields, reflect.TypeFor[helmReleaseSpec]())...)
	out.Release = &app.Release{Name: name, Namespace: namespace, StorageNamespace: namespace}
	out.Release.Memory = decodeMemory(status)
	if f := convert(fields, &spec); f != nil {
		out.Invalid = f
		if deleting(u) {
			out.Deletion = &app.Deletion{} // what is not understood deletes nothing
		}
		return out
	}
	out.Warnings = append(out.Warnings, helmReleaseWarnings(spec)...)
	out.Suspend = spec.Suspend
	out.Target.Namespace = orElse(spec.TargetNamespace, namespace)
	if spec.ServiceAccountName != "" {
		out.Target.ServiceAccount = namespace + "/" + spec.ServiceAccountName
	}
	for _, d := range spec.DependsOn {
		id := app.ID{Kind: KindHelmRelease, Namespace: orElse(d.Namespace, namespace), Name: d.Name}
		out.DependsOn = append(out.DependsOn, id)
		if d.ReadyExpr != "" {
			out.ReadyExprs = append(out.ReadyExprs, app.ReadyExpr{On: id, Dep: helmReference(id), Self: helmReference(out.ID), Text: d.ReadyExpr})
		}
	}
	out.Source = chartSource(spec, namespace, name)
	if chart := HelmChartOf(u); chart != nil {
		out.SourceAs = chartForm(section(chart.Object, "spec"))
	}
	out.Policy = releasePolicy(spec)
	invalid := helmReleaseFailure(spec)
	if invalid == nil {
		out.Policy.HealthExprs, invalid = expressions(spec.HealthCheckExprs, spec.DependsOn)
	}
	if invalid == nil {
		invalid = release(spec, out.Release, namespace, name)
	}
	notes := u.GetAnnotations()
	token := notes[RequestedAt]
	if asked := notes[ForceAt]; asked != "" && asked == token && asked != text(status, "lastHandledForceAt") {
		out.Release.Force = asked
	}
	if asked := notes[ResetAt]; asked != "" && asked == token && asked != text(status, "lastHandledResetAt") {
		out.Release.Reset = asked
	}
	out.Invalid = invalid
	if deleting(u) {
		// A release that is suspended stays. So does one whose kubeConfig is
		// refused: it is not known where it is.
		out.Deletion = &app.Deletion{Prune: !spec.Suspend && spec.KubeConfig.failure() == nil}
		out.Invalid = nil
	}
	return out
}

// release fills in what is to be released, and how.
func release(spec helmReleaseSpec, r *app.Release, namespace, name string) *app.Failure {
	r.Name = spec.ReleaseName
	if r.Name == "" {
		r.Name = name
		if spec.TargetNamespace != "" {
			r.Name = spec.TargetNamespace + "-" + name
		}
		r.Name = app.ReleaseName(r.Name)
	}
	r.Namespace = orElse(spec.TargetNamespace, namespace)
	r.StorageNamespace = orElse(spec.StorageNamespace, namespace)
	r.MaxHistory = defaultMaxHistory
	if spec.MaxHistory != nil {
		r.MaxHistory = *spec.MaxHistory
	}
	r.Timeout = defaultReleaseTimeout
	if spec.Timeout != nil {
		r.Timeout = spec.Timeout.Duration
	}
	r.Volatile = spec.PersistentClient != nil && !*spec.PersistentClient
	r.Origin = map[string]string{helmOwnerName: name, helmOwnerNamespace: namespace}
	if m := spec.CommonMetadata; m != nil {
		r.Labels, r.Annotations = m.Labels, m.Annotations
		r.MetadataDigest = metadataDigest(m.Labels, m.Annotations)
	}
	if spec.WaitStrategy != nil && spec.WaitStrategy.Name == "legacy" {
		r.Wait = app.WaitLegacy
	}
	if spec.Values != nil {
		values, ok := spec.Values.(map[string]any)
		if !ok {
			return app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.values has the wrong type: it must be a map")
		}
		r.Values = values
	}
	for _, from := range spec.ValuesFrom {
		r.ValuesFrom = append(r.ValuesFrom, app.ReleaseValues{
			Ref: object.Ref{Kind: from.Kind, Namespace: namespace, Name: from.Name},
			Key: orElse(from.ValuesKey, "values.yaml"), TargetPath: from.TargetPath, Optional: from.Optional, Literal: from.Literal,
		})
	}
	r.Install, r.Upgrade = installPolicy(spec), upgradePolicy(spec)
	r.Test, r.Rollback, r.Uninstall = testPolicy(spec.Test), rollbackPolicy(spec.Rollback), uninstallPolicy(spec.Uninstall)
	var invalid *app.Failure
	if r.PostRenderers, invalid = postRenderers(spec.PostRenderers); invalid != nil {
		return invalid
	}
	r.PostRenderersDigest = postRenderersDigest(r.PostRenderers)
	switch spec.PostRenderStrategy {
	case "separate":
		r.PostRenderStrategy = app.PostRenderSeparate
	case "nohooks":
		r.PostRenderStrategy = app.PostRenderNoHooks
	}
	if d := spec.DriftDetection; d != nil {
		switch d.Mode {
		case "enabled":
			r.Drift.Mode = app.DriftCorrect
		case "warn":
			r.Drift.Mode = app.DriftWarn
		}
		r.Drift.Ignore, invalid = ignoreRules("spec.driftDetection.ignore", d.Ignore)
	}
	return invalid
}

func helmReference(id app.ID) object.Ref {
	return object.Ref{Group: HelmGroup, Kind: id.Kind, Namespace: id.Namespace, Name: id.Name}
}

// releasePolicy is what of the policies is not Helm's.
func releasePolicy(spec helmReleaseSpec) app.Policy {
	p := app.Policy{
		Mode:        app.ModeEnforce,
		AllowEmpty:  true,
		HealthRules: app.HealthKstatus,
		Interval:    defaultInterval,
		Retry:       releaseRetry,
		RetryLimit:  -1,
		Order:       order(),
		Switches:    helmSwitches(),
		Timeout:     defaultReleaseTimeout,
	}
	if spec.Interval != nil {
		p.Interval = spec.Interval.Duration
	}
	if spec.Timeout != nil {
		p.Timeout = spec.Timeout.Duration
	}
	if d := spec.DriftDetection; d != nil {
		p.Ignore, _ = ignoreRules("", d.Ignore) // release tells what is wrong with it
	}
	return p
}

func helmReleaseWarnings(spec helmReleaseSpec) []app.Warning {
	var out []app.Warning
	warn := func(when bool, field, message string) {
		if when {
			out = append(out, app.Warning{Field: "spec." + field, Message: message})
		}
	}
	warn(spec.Rollback != nil && spec.Rollback.Recreate, "rollback.recreate", "has no effect: Helm no longer restarts Pods")
	warn(spec.Install != nil && spec.Install.SkipCRDs && spec.Install.CRDs != "", "install.skipCRDs", "has no effect with crds")
	if c := spec.Chart; c != nil {
		inTree := c.Spec.SourceRef.Kind != KindHelmRepository
		warn(inTree && c.Spec.Version != "" && c.Spec.Version != "*", "chart.spec.version", "has no effect: a "+c.Spec.SourceRef.Kind+" has one version of the chart")
		warn(inTree && c.Spec.Verify != nil, "chart.spec.verify", "has no effect: only charts of OCI repositories are signed by themselves")
		warn(c.Spec.ValuesFile != "", "chart.spec.valuesFile", "is of an old version; use valuesFiles")
	}
	return out
}

// helmReleaseFailure refuses what would deliver something else than asked, or
// to somewhere else.
func helmReleaseFailure(spec helmReleaseSpec) *app.Failure {
	invalid := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, format, args...)
	}
	switch {
	case (spec.Chart == nil) == (spec.ChartRef == nil):
		return invalid("either spec.chart or spec.chartRef must be set")
	case spec.Chart != nil && spec.Chart.Spec.Chart == "":
		return invalid("spec.chart.spec.chart is missing")
	case spec.Chart != nil && spec.Chart.Spec.SourceRef.Name == "":
		return invalid("spec.chart.spec.sourceRef.name is missing")
	case spec.ChartRef != nil && spec.ChartRef.Name == "":
		return invalid("spec.chartRef.name is missing")
	case len(spec.ReleaseName) > 53:
		return invalid("spec.releaseName: %q is longer than the 53 characters that Helm permits", spec.ReleaseName)
	}
	if f := spec.KubeConfig.failure(); f != nil {
		return f
	}
	for i, d := range spec.DependsOn {
		if d.Name == "" {
			return invalid("spec.dependsOn[%d].name is missing", i)
		}
	}
	for i, from := range spec.ValuesFrom {
		switch {
		case from.Kind != "ConfigMap" && from.Kind != "Secret":
			return invalid("spec.valuesFrom[%d].kind: %q is neither ConfigMap nor Secret", i, from.Kind)
		case from.Name == "":
			return invalid("spec.valuesFrom[%d].name is missing", i)
		}
	}
	return checkChartKinds(spec)
}
