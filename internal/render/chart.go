package render

import (
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"path"
	"slices"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/util/json"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Chart is all that the templates of a Helm chart are rendered from, but for
// what they look up in the cluster.
type Chart struct {
	Files    []ChartFile
	Version  string         // instead of that in Chart.yaml
	Defaults map[string]any // instead of those in values.yaml; nil: the chart's
	Values   map[string]any

	Name, Namespace string
	Revision        int
	Upgrade         bool // otherwise it is installed

	KubeVersion, Major, Minor string
	APIVersions               []string
}

// ChartFile is one file of a chart, named from its root.
type ChartFile struct {
	Name string
	Data []byte
}

// ChartPath is where RenderChart finds an encoded Chart in its tree.
const ChartPath = "chart"

// LookupPath is where it finds what templates look up: the JSON of an object, of
// a list where name is "", or {} if there is none.
func LookupPath(apiVersion, kind, namespace, name string) string {
	at := "lookup"
	for _, part := range []string{apiVersion, kind, namespace, name} {
		at = path.Join(at, "="+url.QueryEscape(part))
	}
	return at
}

// Encode gives the content of ChartPath. Values keep their types.
func (c Chart) Encode() ([]byte, error) {
	var files, apis []any
	for _, f := range c.Files {
		files = append(files, map[string]any{"name": f.Name, "data": string(f.Data)})
	}
	for _, a := range c.APIVersions {
		apis = append(apis, a)
	}
	content := map[string]any{
		"files": files, "version": c.Version, "values": c.Values, "name": c.Name, "namespace": c.Namespace,
		"revision": int64(c.Revision), "upgrade": c.Upgrade, "kube": c.KubeVersion, "major": c.Major, "minor": c.Minor, "apis": apis,
	}
	if c.Defaults != nil {
		content["defaults"] = c.Defaults
	}
	return Encode(Result{Objects: []object.Object{object.New(content, object.Origin{})}})
}

func decodeChart(block []byte) (Chart, error) {
	result, err := Decode(block)
	if err != nil || len(result.Objects) != 1 {
		return Chart{}, errors.Join(errors.New("what is to be rendered is no chart"), err)
	}
	content := result.Objects[0].Unstructured().Object
	text := func(key string) string { s, _ := content[key].(string); return s }
	c := Chart{Version: text("version"), Name: text("name"), Namespace: text("namespace"),
		KubeVersion: text("kube"), Major: text("major"), Minor: text("minor")}
	c.Values, _ = content["values"].(map[string]any)
	c.Defaults, _ = content["defaults"].(map[string]any)
	revision, _ := content["revision"].(int64)
	c.Revision = int(revision)
	c.Upgrade, _ = content["upgrade"].(bool)
	files, _ := content["files"].([]any)
	for _, f := range files {
		m, _ := f.(map[string]any)
		name, _ := m["name"].(string)
		data, _ := m["data"].(string)
		c.Files = append(c.Files, ChartFile{Name: name, Data: []byte(data)})
	}
	apis, _ := content["apis"].([]any)
	for _, a := range apis {
		s, _ := a.(string)
		c.APIVersions = append(c.APIVersions, s)
	}
	return c, nil
}

// chart renders the templates of a chart as Helm does. Each object of the result
// is one of its files: the name is the path of its origin, and its field text is
// what it was rendered to.
func (r *rendering) chart() ([]object.Object, error) {
	block, err := r.files.content(ChartPath)
	if err != nil {
		return nil, err
	}
	in, err := decodeChart(block)
	if err != nil {
		return nil, err
	}
	var files []*archive.BufferedFile
	for _, f := range in.Files {
		files = append(files, &archive.BufferedFile{Name: f.Name, Data: f.Data})
	}
	chart, err := loader.LoadFiles(files)
	if err != nil {
		return nil, err
	}
	chart.Metadata.Version = in.Version
	if in.Defaults != nil {
		chart.Values = in.Defaults
	}
	if err := chartutil.ProcessDependencies(chart, in.Values); err != nil {
		return nil, err
	}
	values, err := util.ToRenderValuesWithSchemaValidation(chart, in.Values,
		common.ReleaseOptions{Name: in.Name, Namespace: in.Namespace, Revision: in.Revision, IsUpgrade: in.Upgrade, IsInstall: !in.Upgrade},
		&common.Capabilities{
			KubeVersion: common.KubeVersion{Version: in.KubeVersion, Major: in.Major, Minor: in.Minor},
			APIVersions: in.APIVersions, HelmVersion: common.DefaultCapabilities.HelmVersion,
		}, true)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Engine{CustomTemplateFuncs: map[string]any{"lookup": r.lookup}}.Render(chart, values)
	if err != nil {
		return nil, err
	}
	var objects []object.Object
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		objects = append(objects, object.New(map[string]any{"text": rendered[name]}, object.Origin{Path: name}))
	}
	r.mode = app.RenderChart
	return objects, nil
}

// lookup is what templates call.
func (r *rendering) lookup(apiVersion, kind, namespace, name string) (map[string]any, error) {
	found := map[string]any{}
	data, err := r.files.content(LookupPath(apiVersion, kind, namespace, name))
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &found)
	}
	return found, err
}
