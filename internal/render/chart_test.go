package render

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"plumb.dev/plumb/internal/app"
)

func chartOf(template string) Chart {
	return Chart{
		Files: []ChartFile{
			{Name: "Chart.yaml", Data: []byte("apiVersion: v2\nname: web\nversion: 1.0.0\n")},
			{Name: "values.yaml", Data: []byte("a: chart\nb: chart\n")},
			{Name: "templates/a.yaml", Data: []byte(template)},
			{Name: "templates/_part.tpl", Data: []byte(`{{ define "part" }}part{{ end }}`)},
			{Name: "charts/sub/Chart.yaml", Data: []byte("apiVersion: v2\nname: sub\nversion: 1.0.0\n")},
			{Name: "charts/sub/templates/b.yaml", Data: []byte("sub: {{ .Values.x }}")},
		},
		Version: "1.0.0+abc", Name: "release", Namespace: "apps", Revision: 4, Upgrade: true,
		Values:      map[string]any{"b": "mine", "sub": map[string]any{"x": int64(1000000)}, "f": 1000000.0},
		KubeVersion: "v1.36.3", Major: "1", Minor: "36", APIVersions: []string{"v1", "apps/v1"},
	}
}

func renderChart(t *testing.T, c Chart, files fstest.MapFS) (map[string]string, error) {
	t.Helper()
	block, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if files == nil {
		files = fstest.MapFS{}
	}
	files[ChartPath] = &fstest.MapFile{Data: block}
	result, err := Render(t.Context(), files, app.Render{Mode: app.RenderChart})
	texts := map[string]string{}
	for _, o := range result.Objects {
		texts[o.Origin.Path], _ = o.Unstructured().Object["text"].(string)
	}
	return texts, err
}

func TestChart(t *testing.T) {
	got, err := renderChart(t, chartOf(strings.Join([]string{
		`{{ .Values.a }} {{ .Values.b }} {{ .Values.f }} {{ include "part" . }}`,
		`{{ .Release.Name }}/{{ .Release.Namespace }}.{{ .Release.Revision }} {{ .Release.IsUpgrade }} {{ .Release.IsInstall }} {{ .Chart.Version }}`,
		`{{ .Capabilities.KubeVersion.Minor }} {{ .Capabilities.APIVersions.Has "apps/v1" }} {{ getHostByName "localhost" }}`,
		`{{ (lookup "v1" "ConfigMap" "apps" "there").data.n }} {{ lookup "v1" "ConfigMap" "apps" "absent" | len }}`,
	}, "\n")), fstest.MapFS{LookupPath("v1", "ConfigMap", "apps", "there"): &fstest.MapFile{Data: []byte(`{"data":{"n":1000000}}`)}})
	want := map[string]string{
		"web/templates/a.yaml":            "chart mine 1e+06 part\nrelease/apps.4 true false 1.0.0+abc\n36 true \n1000000 0",
		"web/charts/sub/templates/b.yaml": "sub: 1000000",
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q (%v)", got, want, err)
	}
	c := chartOf("{{ .Values.a }}")
	c.Defaults = map[string]any{"a": "others"}
	if got, err := renderChart(t, c, nil); err != nil || got["web/templates/a.yaml"] != "others" {
		t.Errorf("with other defaults: %q (%v)", got, err)
	}
	for template, want := range map[string]string{
		"\n{{ fail \"no\" }}":         "web/templates/a.yaml:2:3",
		"{{":                          "web/templates/a.yaml:1",
		`{{ env "HOME" }}`:            `function "env" not defined`,
		`{{ include "nothing" . }}`:   `no template "nothing"`,
		`{{ .Files.Get "../x" | fail`: "web/templates/a.yaml:1",
	} {
		if _, err := renderChart(t, chartOf(template), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", template, err, want)
		}
	}
	_, err = Render(t.Context(), fstest.MapFS{ChartPath: &fstest.MapFile{Data: []byte("a: b")}}, app.Render{Mode: app.RenderChart})
	if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonBuild {
		t.Errorf("of no chart: %v", err)
	}
}
