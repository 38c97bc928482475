package flux

import (
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// helmChartSpec has every field of every version.
type helmChartSpec struct {
	Chart     string `json:"chart"`
	Version   string `json:"version"`
	SourceRef struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Name       string `json:"name"`
	} `json:"sourceRef"`
	Interval          *metav1.Duration `json:"interval"`
	ReconcileStrategy string           `json:"reconcileStrategy"`
	ValuesFiles       []string         `json:"valuesFiles"`
	IgnoreMissing     bool             `json:"ignoreMissingValuesFiles"`
	Verify            *verifySpec      `json:"verify"`
	Suspend           bool             `json:"suspend"`

	ValuesFile string `json:"valuesFile"` // until v1beta2
	AccessFrom any    `json:"accessFrom"` // until v1beta2
}

// DecodeHelmChart is SourceKind.Decode.
func DecodeHelmChart(u *unstructured.Unstructured) (app.Source, []app.Warning, *app.Failure) {
	source := sourceOf(u, KindHelmChart)
	source.HelmChart, source.Recorded = &app.HelmChart{}, recordedChart(section(u.Object, "status"))
	fields := section(u.Object, "spec")
	source.Form = chartForm(fields)
	var spec helmChartSpec
	warnings := unknownFields("spec", fields, reflect.TypeFor[helmChartSpec]())
	if f := convert(fields, &spec); f != nil {
		return source, warnings, f
	}
	source.Suspend = spec.Suspend
	if spec.Interval != nil {
		source.Interval = spec.Interval.Duration
	}
	source.Uses = []app.SourceID{{Kind: spec.SourceRef.Kind, Namespace: u.GetNamespace(), Name: spec.SourceRef.Name}}
	published := spec.SourceRef.Kind == KindHelmRepository
	chart := app.HelmChart{Chart: spec.Chart, ValuesFiles: valuesFiles(spec.ValuesFiles, spec.ValuesFile), IgnoreMissing: spec.IgnoreMissing}
	if published {
		chart.Version = spec.Version
	} else {
		chart.ByRevision = spec.ReconcileStrategy == "Revision"
	}
	if !published || chart.Packs() {
		chart.Generation = source.Generation
	}
	if spec.Verify != nil {
		chart.Verify = ociVerification(spec.Verify)
	}
	*source.HelmChart = chart
	warn := func(when bool, field, message string) {
		if when {
			warnings = append(warnings, app.Warning{Field: "spec." + field, Message: message})
		}
	}
	warn(spec.AccessFrom != nil, "accessFrom", "has no effect, as in Flux")
	warn(!published && spec.Version != "" && spec.Version != "*", "version", "has no effect with a "+spec.SourceRef.Kind+": the chart that is there is taken")
	for _, w := range ociVerifyWarnings(spec.Verify) {
		warn(true, w.Field, w.Message)
	}
	warn(published && spec.ReconcileStrategy == "Revision", "reconcileStrategy", "has no effect with a HelmRepository")
	failure := helmChartFailure(spec)
	if failure != nil && spec.Verify == nil {
		source.Uses = nil // what is wrong comes before what is missing
	}
	return source, warnings, failure
}

func helmChartFailure(spec helmChartSpec) *app.Failure {
	ref := spec.SourceRef
	invalid := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, format, args...)
	}
	switch {
	case spec.Interval != nil && spec.Interval.Duration < 0:
		return invalid("spec.interval must not be negative")
	case spec.Chart == "":
		return invalid("spec.chart is missing")
	case ref.Name == "":
		return invalid("spec.sourceRef.name is missing")
	case ref.Kind != KindHelmRepository && ref.Kind != KindGitRepository && ref.Kind != KindBucket:
		return invalid("spec.sourceRef.kind is %q", ref.Kind).WithHint("set it to HelmRepository, GitRepository or Bucket")
	case ref.APIVersion != "" && !strings.HasPrefix(ref.APIVersion, SourceGroup+"/"):
		return invalid("spec.sourceRef.apiVersion is %q", ref.APIVersion).WithHint("leave it out")
	case spec.ReconcileStrategy != "" && spec.ReconcileStrategy != "ChartVersion" && spec.ReconcileStrategy != "Revision":
		return invalid("spec.reconcileStrategy is %q", spec.ReconcileStrategy).WithHint("set it to ChartVersion or Revision")
	}
	return ociVerifyFailure(spec.Verify)
}

// recordedChart reads the revision back that a status tells of.
func recordedChart(status map[string]any) app.Revision {
	_, digest, ok := strings.Cut(contentOf(status), "sha256:")
	if !ok || len(digest) != 64 || !isHex(digest) {
		return app.Revision{} // of another controller
	}
	chart := &app.ChartRevision{
		Name:   text(status, "observedChartName"),
		Source: ParseRevision(text(status, "observedSourceArtifactRevision")),
	}
	for _, file := range list(status, "observedValuesFiles") {
		if name, ok := file.(string); ok {
			chart.ValuesFiles = append(chart.ValuesFiles, name)
		}
	}
	return app.Revision{Commit: digest, Ref: text(status, "artifact", "revision"), Chart: chart}
}

func helmChartSecrets(u *unstructured.Unstructured) []SecretUse {
	return verifySecrets(u, func(src *app.Source) **app.OCIVerification {
		if src.HelmChart == nil {
			return nil
		}
		return &src.HelmChart.Verify
	})
}

// EncodeHelmChart is SourceKind.Encode.
func EncodeHelmChart(r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any {
	status := encodeSource(helmChartWords(r), r, warnings, old)
	chart := r.Revision.Chart
	if r.Failure != nil || chart == nil {
		return status
	}
	observe := func(field string, given bool, value any) {
		delete(status, field)
		if given {
			status[field] = value
		}
	}
	var files []any
	for _, name := range chart.ValuesFiles {
		files = append(files, name)
	}
	observe("observedChartName", true, chart.Name)
	// A newer revision of the source with the same chart in it is no news.
	found := FormatRevision(chart.Source)
	asked := r.Handled != text(old, "lastHandledReconcileAt")
	if before := text(old, "observedSourceArtifactRevision"); before != "" && found != "" && !asked &&
		contentOf(old) == contentOf(status) && text(old, "artifact", "revision") == text(status, "artifact", "revision") {
		found = before
	}
	observe("observedSourceArtifactRevision", found != "", found)
	observe("observedValuesFiles", len(files) > 0, files)
	return status
}

// HelmChartEvents is SourceKind.Events.
func HelmChartEvents(r app.SourceReport, warnings []app.Warning, old map[string]any) []app.Event {
	return sourceEvents(helmChartWords(r), r, warnings, old)
}

func helmChartWords(r app.SourceReport) sourceWords {
	ready, verb := "ChartPullSucceeded", "pulled"
	if c := r.Revision.Chart; c != nil && c.Packed {
		ready, verb = "ChartPackageSucceeded", "packaged"
	}
	built := func(rev app.Revision) string {
		if rev.Chart == nil {
			return ""
		}
		text := verb + " '" + rev.Chart.Name + "' chart with version '" + rev.Ref + "'"
		if len(rev.Chart.ValuesFiles) > 0 {
			text += " and merged values files [" + strings.Join(rev.Chart.ValuesFiles, " ") + "]"
		}
		return text
	}
	return sourceWords{
		revision:   func(rev app.Revision) string { return rev.Ref },
		digest:     func(rev app.Revision) string { return FormatRevision(app.Revision{Commit: rev.Commit}) },
		stored:     built,
		news:       built,
		ready:      ready,
		latest:     true,
		newsReason: ready,
		reasons:    helmChartReasons(),
		conditions: map[app.Reason]string{
			app.ReasonBuild: condBuildFailed, app.ReasonDependency: condBuildFailed, app.ReasonPathNotFound: condBuildFailed,
			app.ReasonUnverified: condBuildFailed,
		},
		summaries: map[string]string{
			"InvalidChartReference": "invalid chart reference", "ChartPullError": "chart pull error",
			"ValuesFilesError": "values files merge error", "DependencyBuildError": "dependency build error",
			"ChartPackageError": "chart package error", "ChartVerificationError": "chart verification error", "SourceUnavailable": "failed to get source",
		},
	}
}

// helmChartReasons is the table for HelmCharts. A version that does not exist
// yet is looked for again all the same, whenever the source moves.
func helmChartReasons() []translation {
	return []translation{
		{app.StageFetch, app.ReasonInvalidSpec, outcome{"InvalidChartReference", true}},
		{"", app.ReasonInvalidSpec, outcome{"InvalidSpec", true}},
		{"", app.ReasonUnsupported, outcome{"Unsupported", true}},
		{"", app.ReasonRefNotFound, outcome{"InvalidChartReference", true}},
		{"", app.ReasonPathNotFound, outcome{"ValuesFilesError", true}},
		{"", app.ReasonSourceNotFound, outcome{"SourceUnavailable", false}},
		{"", app.ReasonSourceNotReady, outcome{"NoSourceArtifact", false}},
		{"", app.ReasonDependency, outcome{"DependencyBuildError", false}},
		{"", app.ReasonBuild, outcome{"ChartPackageError", false}},
		{"", app.ReasonUnverified, outcome{"ChartVerificationError", false}},
		{"", app.ReasonAuthentication, outcome{"AuthenticationFailed", false}},
		{"", "", outcome{"ChartPullError", false}},
	}
}

// ViewHelmChart reads what a person is shown of a HelmChart.
func ViewHelmChart(u *unstructured.Unstructured) app.SourceView {
	v := ViewSource(u)
	spec, status := section(u.Object, "spec"), section(u.Object, "status")
	v.URL = text(spec, "chart") + " of " + text(spec, "sourceRef", "kind") + "/" + text(spec, "sourceRef", "name")
	v.Ref = text(spec, "version")
	v.Revision = recordedChart(status)
	return v
}

// ViewHelmRepository reads what a person is shown of a HelmRepository.
func ViewHelmRepository(u *unstructured.Unstructured) app.SourceView {
	v := ViewSource(u)
	if !HasIndex(u) && !v.Deleting {
		v.State, v.Reason, v.Message = app.StateReady, "", "an address only: there is no index to look at"
	}
	return v
}

// HasIndex reports whether a HelmRepository is more than an address, namely an
// index that is looked at.
func HasIndex(u *unstructured.Unstructured) bool { return text(u.Object, "spec", "type") != "oci" }
