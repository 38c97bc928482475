package release

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"k8s.io/client-go/discovery"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
)

// Render renders a tree: render.Render, or the same in a confined process.
type Render = func(ctx context.Context, tree fs.FS, spec app.Render) (render.Result, error)

// prerender has the templates of a chart rendered elsewhere, where they can cost
// no more than they may. In the chart that Helm is then given, each template
// stands for the text that it was rendered to; they are put back before the
// chart is stored.
func (s *session) prerender(c *chart.Chart, values map[string]any, revision int, upgrade bool) error {
	if s.client.render == nil {
		return nil
	}
	capabilities, err := s.capabilities()
	if err != nil {
		return err
	}
	in := render.Chart{
		Version: s.q.Chart.Version, Defaults: s.defaults, Values: values,
		Name: s.r.Name, Namespace: s.r.Namespace, Revision: revision, Upgrade: upgrade,
		KubeVersion: capabilities.KubeVersion.Version, Major: capabilities.KubeVersion.Major, Minor: capabilities.KubeVersion.Minor,
		APIVersions: capabilities.APIVersions,
	}
	for _, f := range s.q.Chart.files {
		in.Files = append(in.Files, render.ChartFile{Name: f.Name, Data: f.Data})
	}
	block, err := in.Encode()
	if err != nil {
		return app.Fail(app.StageRender, app.ReasonValues, "the values are no JSON: %w", err)
	}
	result, err := s.client.render(s.ctx, s.tree(block),
		app.Render{Mode: app.RenderChart, Name: s.r.Name, Owner: "release/" + s.r.Namespace + "/" + s.r.Name})
	if err != nil {
		return err
	}
	return s.stand(c, result)
}

// stand puts what was rendered in the place of the templates.
func (s *session) stand(c *chart.Chart, result render.Result) error {
	texts := map[string]string{}
	var stand []*common.File
	for _, o := range result.Objects {
		name := o.Origin.Path
		within, ok := strings.CutPrefix(name, c.Name()+"/")
		text, isText := o.Unstructured().Object["text"].(string)
		if !ok || !isText {
			return fmt.Errorf("what was rendered, %q, is no file of the chart", name)
		}
		texts[name] = text
		stand = append(stand, &common.File{Name: within, Data: []byte(`{{ rendered ` + strconv.Quote(name) + ` }}`)})
	}
	s.config.CustomTemplateFuncs = map[string]any{"rendered": func(name string) string { return texts[name] }}
	own := map[*chart.Chart][]*common.File{}
	each(c, func(one *chart.Chart) { own[one], one.Templates = one.Templates, nil })
	c.Templates = stand
	s.book.before = func() {
		for one, templates := range own {
			one.Templates = templates
		}
	}
	return nil
}

func each(c *chart.Chart, do func(*chart.Chart)) {
	do(c)
	for _, sub := range c.Dependencies() {
		each(sub, do)
	}
}

// capabilities are what templates may ask of the cluster, for this action.
func (s *session) capabilities() (*common.Capabilities, error) {
	served := s.conn.catalog.discovery
	served.Invalidate()
	version, err := served.ServerVersion()
	if err != nil {
		return nil, err
	}
	apis, err := action.GetVersionSet(served)
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, err
	}
	s.config.Capabilities = &common.Capabilities{
		APIVersions: apis, HelmVersion: common.DefaultCapabilities.HelmVersion,
		KubeVersion: common.KubeVersion{Version: version.GitVersion, Major: version.Major, Minor: version.Minor},
	}
	return s.config.Capabilities, nil
}
