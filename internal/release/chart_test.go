package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"plumb.dev/plumb/internal/app"
)

// packed is a chart as helm package makes it.
func packed(t testing.TB, name string, fsys fs.FS) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	archive := tar.NewWriter(zip)
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		if err := archive.WriteHeader(&tar.Header{Name: name + "/" + p, Size: int64(len(data)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err = archive.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

const plainChart = "apiVersion: v2\nname: plain\nversion: 1.2.3\n"

func TestLoadChart(t *testing.T) {
	web := os.DirFS("testdata/web")
	sub := fstest.MapFS{"Chart.yaml": file("apiVersion: v2\nname: part\nversion: 0.1.0\n"), "templates/a.yaml": file("")}
	umbrella := fstest.MapFS{
		"Chart.yaml":            file(plainChart + "dependencies:\n- {name: part, version: 0.1.0}\n"),
		"charts/part-0.1.0.tgz": &fstest.MapFile{Data: packed(t, "part", sub)},
	}
	for name, tt := range map[string]struct {
		fsys     fs.FS
		revision string
		want     string
	}{
		"at the root":            {fsys: web, want: "web@1.0.0 2.5"},
		"in the only directory":  {fsys: fstest.MapFS{"README": file(""), "plain/Chart.yaml": file(plainChart), "docs/x": file("")}, want: "plain@1.2.3 "},
		"packaged":               {fsys: fstest.MapFS{"web-1.0.0.tgz": &fstest.MapFile{Data: packed(t, "web", web)}}, want: "web@1.0.0 2.5"},
		"with a packaged part":   {fsys: umbrella, want: "plain@1.2.3 "},
		"of a digest":            {fsys: web, revision: "sha256:0123456789abcdef", want: "web@1.0.0+0123456789ab 2.5 sha256:0123456789abcdef"},
		"of a tag":               {fsys: web, revision: "1.0.0@sha256:0123456789abcdef", want: "web@1.0.0+0123456789ab 2.5 sha256:0123456789abcdef"},
		"of a tag, no version":   {fsys: web, revision: "latest@sha256:0123456789abcdef", want: "web@1.0.0+0123456789ab 2.5 sha256:0123456789abcdef"},
		"of a tag with metadata": {fsys: edited(t, "web", map[string]string{"Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0+one\n"}), revision: "1.0.0_one@sha256:0123456789abcdef", want: "web@1.0.0+0123456789ab  sha256:0123456789abcdef"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := LoadChart(tt.fsys, tt.revision)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSuffix(c.Name+"@"+c.Version+" "+c.AppVersion+" "+c.Digest, " "); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			for range 2 {
				loaded, err := c.fresh()
				if err != nil || loaded.Metadata.Version != c.Version {
					t.Errorf("%v %v", loaded.Metadata, err)
				}
			}
		})
	}
	c := load(t, web)
	if names := namesOf(c); slices.Contains(names, "README.md") || !slices.Contains(names, "templates/config.yaml") {
		t.Errorf(".helmignore is not honoured: %v", names)
	}
	loaded, err := load(t, umbrella).fresh()
	if err != nil || len(loaded.Dependencies()) != 1 || loaded.Dependencies()[0].Name() != "part" {
		t.Errorf("the dependencies are %v (%v)", loaded.Dependencies(), err)
	}
}

func namesOf(c *Chart) (names []string) {
	for _, f := range c.files {
		names = append(names, f.Name)
	}
	return names
}

func TestLoadChartRefuses(t *testing.T) {
	nested := fstest.MapFS{"Chart.yaml": file(plainChart)}
	for range maxSubcharts + 2 {
		nested = fstest.MapFS{"Chart.yaml": file(plainChart), "charts/plain-1.2.3.tgz": &fstest.MapFile{Data: packed(t, "plain", nested)}}
	}
	bomb := fstest.MapFS{"Chart.yaml": file(plainChart)}
	zeros := make([]byte, maxChartFile)
	big := fstest.MapFS{"Chart.yaml": file(plainChart)}
	for _, name := range strings.Split("abcdefghij", "") {
		big["files/"+name] = &fstest.MapFile{Data: zeros}
	}
	for _, name := range []string{"a", "b", "c"} { // half the limit each
		bomb["charts/"+name+"-1.tgz"] = &fstest.MapFile{Data: packed(t, "plain", big)}
	}
	for want, tt := range map[string]struct {
		fsys     fs.FS
		revision string
	}{
		"there is no Chart.yaml":            {fsys: fstest.MapFS{"README.md": file("")}},
		"there are several charts: a, b":    {fsys: fstest.MapFS{"a/Chart.yaml": file(""), "b/Chart.yaml": file("")}},
		"chart.metadata.name is required":   {fsys: fstest.MapFS{"Chart.yaml": file("apiVersion: v2\nversion: 1.0.0\n")}},
		"cannot load Chart.yaml":            {fsys: fstest.MapFS{"Chart.yaml": file("a: [")}},
		"a library chart":                   {fsys: fstest.MapFS{"Chart.yaml": file(plainChart + "type: library\n")}},
		"missing in charts/ directory: lib": {fsys: fstest.MapFS{"Chart.yaml": file(plainChart + "dependencies:\n- {name: lib, version: 1.0.0, repository: https://charts.example}\n")}},
		"x.tgz":                             {fsys: fstest.MapFS{"x.tgz": file("no archive")}},
		"deep in each other":                {fsys: nested},
		"unpacked it has more than":         {fsys: bomb},
		"big has 5242881 bytes":             {fsys: fstest.MapFS{"Chart.yaml": file(plainChart), "big": &fstest.MapFile{Data: make([]byte, maxChartFile+1)}}},
		"neither a file nor a directory":    {fsys: fstest.MapFS{"Chart.yaml": file(plainChart), "pipe": &fstest.MapFile{Mode: fs.ModeNamedPipe}}},
		"tagged 1.0.1, and the chart":       {fsys: os.DirFS("testdata/web"), revision: "1.0.1@sha256:0123456789abcdef"},
		"names no digest":                   {fsys: os.DirFS("testdata/web"), revision: "1.0.0"},
	} {
		t.Run(want, func(t *testing.T) {
			_, err := LoadChart(tt.fsys, tt.revision)
			if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonArtifact || !strings.Contains(err.Error(), want) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestSchema: what the schema wants is said, what the values are is not, and
// nothing but the chart is read.
func TestSchema(t *testing.T) {
	schema := func(text string) *Chart {
		return load(t, fstest.MapFS{"Chart.yaml": file(plainChart), "values.schema.json": file(text)})
	}
	for name, tt := range map[string]struct {
		chart  *Chart
		values map[string]any
		want   string // "" for none
	}{
		"meets":      {load(t, os.DirFS("testdata/web")), map[string]any{"password": "hunter2"}, ""},
		"type":       {load(t, os.DirFS("testdata/web")), map[string]any{"text": 5.0}, "at .text: got number, want string"},
		"length":     {load(t, os.DirFS("testdata/web")), map[string]any{"password": "hunter2-hunter2-hunter2"}, "at .password: the value does not meet maxLength"},
		"enum":       {load(t, os.DirFS("testdata/web")), map[string]any{"pods": "hunter2"}, "at .pods: value must be one of"},
		"pattern":    {schema(`{"properties":{"a":{"pattern":"^x$"}}}`), map[string]any{"a": "hunter2"}, "at .a: the value does not meet pattern"},
		"a file":     {schema(`{"$ref":"file:///etc/passwd"}`), nil, "only what is in the chart is read"},
		"a URL":      {schema(`{"$id":"https://schemas.example/a","properties":{"a":{"$ref":"b.json"}}}`), nil, "https://schemas.example/b.json, and only what is in the chart is read"},
		"an old id":  {schema(`{"$schema":"http://schemas.example/own"}`), nil, "only what is in the chart is read"},
		"a URN":      {schema(`{"$ref":"urn:example:a"}`), map[string]any{"a": 1.0}, ""},
		"no schema":  {schema(`]`), nil, "the schema is no JSON"},
		"circular":   {schema(`{"$ref":"#"}`), map[string]any{"a": 1.0}, "schema"},
		"no mapping": {load(t, fstest.MapFS{"Chart.yaml": file(plainChart), "charts/part/Chart.yaml": file("apiVersion: v2\nname: part\nversion: 0.1.0\n")}), map[string]any{"part": "hunter2"}, "those of a dependency are no mapping"},
	} {
		t.Run(name, func(t *testing.T) {
			chart, err := tt.chart.fresh()
			if err != nil {
				t.Fatal(err)
			}
			switch err := validate(chart, tt.values); {
			case tt.want == "":
				if err != nil {
					t.Error(err)
				}
			case err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2"):
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

// FuzzLoadChart: whatever a packaged chart holds, loading ends and does not
// panic.
func FuzzLoadChart(f *testing.F) {
	f.Add(packed(f, "web", os.DirFS("testdata/web")))
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := LoadChart(fstest.MapFS{"chart.tgz": &fstest.MapFile{Data: data}}, "")
		if err == nil && c.Name == "" {
			t.Error("a chart without a name")
		}
	})
}
