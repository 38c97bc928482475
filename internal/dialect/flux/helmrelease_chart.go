package flux

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// chartSource is where the chart of a HelmRelease comes from: what it refers to,
// or the HelmChart that is kept for it.
func chartSource(spec helmReleaseSpec, namespace, name string) app.SourceID {
	switch {
	case spec.ChartRef != nil:
		return app.SourceID{Kind: spec.ChartRef.Kind, Namespace: orElse(spec.ChartRef.Namespace, namespace), Name: spec.ChartRef.Name}
	case spec.Chart == nil:
		return app.SourceID{}
	}
	return app.SourceID{Kind: KindHelmChart, Namespace: orElse(spec.Chart.Spec.SourceRef.Namespace, namespace), Name: helmChartName(namespace, name)}
}

// valuesFiles adds what old versions name alone: it is merged before the others.
func valuesFiles(files []string, file string) []string {
	if file == "" || slices.Contains(files, file) {
		return files
	}
	return append([]string{file}, files...)
}

func checkChartKinds(spec helmReleaseSpec) *app.Failure {
	if spec.ChartRef != nil {
		switch spec.ChartRef.Kind {
		case KindOCIRepository, KindHelmChart, KindExternalArtifact:
			return nil
		}
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.chartRef.kind: there is no chart in a %q", spec.ChartRef.Kind).
			WithHint("set it to OCIRepository, HelmChart or ExternalArtifact")
	}
	switch spec.Chart.Spec.SourceRef.Kind {
	case KindHelmRepository, KindGitRepository, KindBucket:
		return nil
	}
	return app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.chart.spec.sourceRef.kind: there is no chart in a %q", spec.Chart.Spec.SourceRef.Kind).
		WithHint("set it to HelmRepository, GitRepository or Bucket")
}

func helmChartName(namespace, name string) string { return namespace + "-" + name }

// HelmChartOf is the HelmChart that a HelmRelease asks for, to be applied; nil
// if it asks for none, or cannot be understood.
func HelmChartOf(u *unstructured.Unstructured) *unstructured.Unstructured {
	var spec helmReleaseSpec
	if convert(section(u.Object, "spec"), &spec) != nil || spec.Chart == nil || checkChartKinds(spec) != nil {
		return nil
	}
	c, namespace := spec.Chart.Spec, u.GetNamespace()
	interval := c.Interval
	if interval == nil {
		interval = spec.Interval
	}
	chart := map[string]any{
		"chart":             c.Chart,
		"version":           orElse(c.Version, "*"),
		"reconcileStrategy": orElse(c.ReconcileStrategy, "ChartVersion"),
		"sourceRef":         map[string]any{"kind": c.SourceRef.Kind, "name": c.SourceRef.Name},
		"interval":          defaultInterval.String(),
	}
	if interval != nil {
		chart["interval"] = interval.Duration.String()
	}
	if files := valuesFiles(c.ValuesFiles, c.ValuesFile); len(files) > 0 {
		var list []any
		for _, f := range files {
			list = append(list, f)
		}
		chart["valuesFiles"] = list
	}
	if c.IgnoreMissingValuesFiles {
		chart["ignoreMissingValuesFiles"] = true
	}
	if v := c.Verify; v != nil {
		verify := map[string]any{"provider": orElse(v.Provider, "cosign")}
		if v.SecretRef != nil {
			verify["secretRef"] = map[string]any{"name": v.SecretRef.Name}
		}
		chart["verify"] = verify
	}
	out := &unstructured.Unstructured{Object: map[string]any{"spec": chart}}
	out.SetAPIVersion(SourceGroup + "/v1")
	out.SetKind(KindHelmChart)
	out.SetNamespace(orElse(c.SourceRef.Namespace, namespace))
	out.SetName(helmChartName(namespace, u.GetName()))
	labels := map[string]string{}
	for k, v := range spec.Chart.Metadata.Labels {
		labels[k] = v
	}
	labels[helmOwnerName], labels[helmOwnerNamespace] = u.GetName(), namespace
	out.SetLabels(labels)
	if len(spec.Chart.Metadata.Annotations) > 0 {
		out.SetAnnotations(spec.Chart.Metadata.Annotations)
	}
	return out
}

// HelmChartOwner is the HelmRelease that a HelmChart is kept for, by its labels
// and its name.
func HelmChartOwner(chart *unstructured.Unstructured) (namespace, name string, ok bool) {
	labels := chart.GetLabels()
	namespace, name = labels[helmOwnerNamespace], labels[helmOwnerName]
	return namespace, name, name != "" && chart.GetName() == helmChartName(namespace, name)
}

// SameHelmChart reports whether a HelmChart is as it is wanted. What others set
// beside that, such as suspend, is theirs.
func SameHelmChart(want, live *unstructured.Unstructured) bool {
	if live == nil {
		return false
	}
	return chartForm(section(want.Object, "spec")) == chartForm(section(live.Object, "spec")) && contains(live.GetLabels(), want.GetLabels()) && contains(live.GetAnnotations(), want.GetAnnotations())
}

// ShapedHelmChart is a HelmChart as it is, but with the spec that is wanted.
func ShapedHelmChart(want, live *unstructured.Unstructured) *unstructured.Unstructured {
	out := live.DeepCopy()
	spec, wanted := section(out.Object, "spec"), section(want.Object, "spec")
	for _, field := range chartFields() {
		delete(spec, field)
		if value, ok := wanted[field]; ok {
			spec[field] = value
		}
	}
	return out
}

// chartFields are the fields of a HelmChart that its HelmRelease decides about.
func chartFields() []string {
	return []string{"chart", "version", "sourceRef", "interval", "reconcileStrategy", "valuesFiles", "ignoreMissingValuesFiles", "verify"}
}

// chartForm identifies what a HelmChart asks for; suspending it changes nothing
// about that.
func chartForm(spec map[string]any) string {
	form := map[string]any{}
	for _, field := range chartFields() {
		if value, ok := spec[field]; ok {
			form[field] = value
		}
	}
	return digestOf(form)
}

func contains(all, some map[string]string) bool {
	for k, v := range some {
		if all[k] != v {
			return false
		}
	}
	return true
}
