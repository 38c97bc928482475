package source

import (
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/chartserver"
	"plumb.dev/plumb/internal/sandbox/ociserver"
)

// writeChart writes a small chart and returns its directory.
func writeChart(t *testing.T, name, version string, more map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	files := map[string]string{
		"Chart.yaml":        "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n",
		"values.yaml":       "who: world\nreplicas: 1\n",
		"values-prod.yaml":  "replicas: 3\n",
		"templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
	}
	for name, text := range more {
		files[name] = text
	}
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func newCharts(t *testing.T, opt chartserver.Options) *chartserver.Server {
	t.Helper()
	opt.Dir = t.TempDir()
	server, err := chartserver.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return server
}

func publish(t *testing.T, server *chartserver.Server, dir, version string) string {
	t.Helper()
	name, err := server.Publish(dir, version)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func helmRepository(url string) app.Source {
	return app.Source{ID: app.SourceID{Kind: "HelmRepository", Namespace: "a", Name: "r"}, URL: url, HelmRepository: &app.HelmRepository{}}
}

func helmChart(chart app.HelmChart) app.Source {
	return app.Source{ID: app.SourceID{Kind: "HelmChart", Namespace: "a", Name: "c"}, HelmChart: &chart,
		Uses: []app.SourceID{{Kind: "HelmRepository", Namespace: "a", Name: "r"}}}
}

// asPart resolves what a chart is made of.
func asPart(t *testing.T, s *Store, src app.Source) Part {
	t.Helper()
	rev, repo, err := s.Resolve(t.Context(), src, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tree, err := repo.Tree(rev.ID())
	if err != nil {
		t.Fatal(err)
	}
	return Part{Source: src, Revision: rev, Files: tree}
}

func contents(t *testing.T, repo *Repo, rev app.Revision) map[string]string {
	t.Helper()
	tree, err := repo.Tree(rev.ID())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		out[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestHelmChart(t *testing.T) {
	server := newCharts(t, chartserver.Options{})
	dir := writeChart(t, "web", "1.0.0", nil)
	publish(t, server, dir, "")
	publish(t, server, dir, "1.1.0")
	publish(t, server, dir, "2.0.0-rc.1")
	cache := t.TempDir()
	s := Open(Options{Dir: cache})
	repository := helmRepository(server.URL)
	index := asPart(t, s, repository)

	chart := helmChart(app.HelmChart{Chart: "web", Version: "1.x"})
	rev, repo, err := s.Resolve(t.Context(), chart, time.Now(), index)
	if err != nil {
		t.Fatal(err)
	}
	if rev.Ref != "1.1.0" || len(rev.Commit) != 64 || rev.Chart.Name != "web" || rev.Chart.Packed || rev.Chart.Source.Commit != index.Revision.Commit {
		t.Errorf("found %+v", rev)
	}
	got := contents(t, repo, rev)
	if !strings.Contains(got["Chart.yaml"], "version: 1.1.0") || got["values.yaml"] != "who: world\nreplicas: 1\n" || got["templates/cm.yaml"] == "" {
		t.Errorf("files %q", got)
	}

	// Nothing is asked for twice.
	if _, _, err := s.Resolve(t.Context(), chart, time.Now(), index); err != nil {
		t.Fatal(err)
	}
	asPart(t, s, repository)
	if asked, sent := server.Requests("/index.yaml"); asked != 2 || sent != 1 {
		t.Errorf("the index was asked for %d times and sent %d times", asked, sent)
	}
	if asked, _ := server.Requests("/web-1.1.0.tgz"); asked != 1 {
		t.Errorf("the archive was asked for %d times", asked)
	}

	// A new version comes with the next index, and the old one stays readable.
	publish(t, server, dir, "1.2.0")
	moved := asPart(t, s, repository)
	if moved.Revision.Commit == index.Revision.Commit {
		t.Error("the index did not change")
	}
	next, repo, err := s.Resolve(t.Context(), chart, time.Now(), moved)
	if err != nil || next.Ref != "1.2.0" {
		t.Fatalf("%+v, %v", next, err)
	}
	if old := contents(t, repo, rev); !strings.Contains(old["Chart.yaml"], "version: 1.1.0") {
		t.Errorf("files %q", old)
	}

	// A process that starts while the server is away goes on with what it had.
	server.Close()
	s = Open(Options{Dir: cache})
	if _, _, err := s.Resolve(t.Context(), repository, time.Now()); app.AsFailure(err, "").Reason != app.ReasonUnreachable {
		t.Errorf("got %v", err)
	}
	pinned := repository
	pinned.Ref.Commit = moved.Revision.Commit
	again := asPart(t, s, pinned)
	pinned = chart
	pinned.Ref.Commit = next.Commit
	known, repo, err := s.Resolve(t.Context(), pinned, time.Time{}, again)
	if err != nil || known.Ref != "1.2.0" || known.Chart.Name != "web" {
		t.Fatalf("%+v, %v", known, err)
	}
	if got := contents(t, repo, known); !strings.Contains(got["Chart.yaml"], "version: 1.2.0") {
		t.Errorf("files %q", got)
	}
}

// A chart of an OCI registry: a tag, or the highest in a range, with the + of a
// version as an underscore.
func TestHelmChartOfRegistry(t *testing.T) {
	charts := newCharts(t, chartserver.Options{})
	registry := httptest.NewServer(ociserver.New())
	defer registry.Close()
	host := ociserver.Host(registry.URL)
	dir := writeChart(t, "web", "1.0.0", nil)
	for _, version := range []string{"1.0.0", "1.1.0+a.1", "2.0.0-rc.1"} {
		data, err := os.ReadFile(filepath.Join(charts.Dir(), publish(t, charts, dir, version)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = ociserver.Client{}.Push(t.Context(), host+"/team/web:"+strings.ReplaceAll(version, "+", "_"),
			ociserver.Artifact{Config: ociserver.HelmConfig, Layers: []ociserver.Layer{{Type: ociserver.HelmContent, Data: data}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := (ociserver.Client{}).Push(t.Context(), host+"/team/other:1.0.0", ociserver.Artifact{Layers: []ociserver.Layer{{Data: []byte("x")}}}); err != nil {
		t.Fatal(err)
	}
	from := app.Source{ID: app.SourceID{Kind: "HelmRepository", Namespace: "a", Name: "r"}, URL: "oci://" + host + "/team",
		HelmRepository: &app.HelmRepository{OCI: true, Insecure: true}}
	s := Open(Options{Dir: t.TempDir()})
	for _, test := range []struct {
		chart  app.HelmChart
		want   string
		reason app.Reason
	}{
		{app.HelmChart{Chart: "web"}, "1.1.0+a.1", ""},
		{app.HelmChart{Chart: "web", Version: "1.0.0"}, "1.0.0", ""},
		{app.HelmChart{Chart: "web", Version: "1.1.0+a.1"}, "1.1.0+a.1", ""},
		{app.HelmChart{Chart: "web", Version: ">=1.0.0-0"}, "2.0.0-rc.1", ""},
		{app.HelmChart{Chart: "web", Version: "1.0.0", ValuesFiles: []string{"values-prod.yaml"}, Generation: 4}, "1.0.0+4", ""},
		{app.HelmChart{Chart: "web", Version: "3.x"}, "", app.ReasonRefNotFound},
		{app.HelmChart{Chart: "web", Version: "3.0.0"}, "", app.ReasonRefNotFound},
		{app.HelmChart{Chart: "web", Version: "newest"}, "", app.ReasonInvalidSpec},
		{app.HelmChart{Chart: "web", Verify: &app.OCIVerification{Missing: "no keys"}}, "", app.ReasonUnverified},
		{app.HelmChart{Chart: "other"}, "", app.ReasonBadArtifact},
	} {
		rev, repo, err := s.Resolve(t.Context(), helmChart(test.chart), time.Now(), Part{Source: from})
		if f := app.AsFailure(err, ""); rev.Ref != test.want || test.reason != "" && (f == nil || f.Reason != test.reason) {
			t.Errorf("%+v: %+v, %v", test.chart, rev, err)
			continue
		}
		if err == nil {
			if got := contents(t, repo, rev); !strings.Contains(got["Chart.yaml"], "version: "+test.want) {
				t.Errorf("%+v: %q", test.chart, got["Chart.yaml"])
			}
		}
	}

	// What is signed elsewhere cannot be verified, and is not delivered.
	index := asPart(t, s, helmRepository(charts.URL))
	signed := helmChart(app.HelmChart{Chart: "web", Verify: &app.OCIVerification{}})
	if _, _, err := s.Resolve(t.Context(), signed, time.Now(), index); app.AsFailure(err, "").Reason != app.ReasonUnsupported {
		t.Errorf("got %v", err)
	}
}
