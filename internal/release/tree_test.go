package release

import (
	"strings"
	"testing"
	"testing/fstest"

	"plumb.dev/plumb/internal/app"
)

// A chart is read out of a tree where it is, with values files of the tree in
// place of its own.
func TestLoadTree(t *testing.T) {
	tree := fstest.MapFS{}
	for name, text := range map[string]string{
		"charts/web/Chart.yaml":  "apiVersion: v2\nname: web\nversion: 1.0.0\n",
		"charts/web/values.yaml": "a: own\nb: own\n",
		"first.yaml":             "a: first\nc: {p: first, q: first}\n",
		"second.yaml":            "c: {q: second}\n",
		"broken.yaml":            "a: [",
		"charts/none/README.md":  "no chart",
	} {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	revision := strings.Repeat("0123456789ab", 4)
	for _, test := range []struct {
		name          string
		at            app.ReleaseChart
		version       string
		values        string // as they stand in the chart
		failure, hint string
	}{
		{"as it is", app.ReleaseChart{Path: "./charts/web/"}, "1.0.0", "a: own\nb: own\n", "", ""},
		{"each revision is a version", app.ReleaseChart{Path: "charts/web", ByRevision: true}, "1.0.0+0123456789ab", "a: own\nb: own\n", "", ""},
		{"other values", app.ReleaseChart{Path: "charts/web", ValuesFiles: []string{"first.yaml", "./second.yaml"}}, "1.0.0", "a: first\nc:\n  p: first\n  q: second\n", "", ""},
		{"one is missing", app.ReleaseChart{Path: "charts/web", ValuesFiles: []string{"first.yaml", "none.yaml"}}, "", "", "none.yaml does not exist", "ignoreMissingValuesFiles"},
		{"and may be", app.ReleaseChart{Path: "charts/web", ValuesFiles: []string{"none.yaml", "second.yaml"}, IgnoreMissing: true}, "1.0.0", "c:\n  q: second\n", "", ""},
		{"one is broken", app.ReleaseChart{Path: "charts/web", ValuesFiles: []string{"broken.yaml"}}, "", "", "broken.yaml", ""},
		{"one is out of the tree", app.ReleaseChart{Path: "charts/web", ValuesFiles: []string{"../x.yaml"}}, "", "", "leads out of the source", ""},
		{"nothing there", app.ReleaseChart{Path: "charts/app"}, "", "", "there is no charts/app", "correct the path"},
		{"no chart there", app.ReleaseChart{Path: "charts/none"}, "", "", "no Chart.yaml", ""},
		{"out of the tree", app.ReleaseChart{Path: "../x"}, "", "", "leads out of the source", ""},
		{"a file that is no archive", app.ReleaseChart{Path: "first.yaml"}, "", "", "no chart to release", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := LoadTree(tree, test.at, revision)
			if test.failure != "" {
				f := app.AsFailure(err, app.StageFetch)
				if f == nil || !strings.Contains(f.Error(), test.failure) || !strings.Contains(f.Hint, test.hint) {
					t.Fatalf("%v, want %q", err, test.failure)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			i := -1
			for at, f := range c.files {
				if f.Name == "values.yaml" {
					i = at
				}
			}
			if c.Name != "web" || c.Version != test.version || i < 0 || string(c.files[i].Data) != test.values {
				t.Errorf("%s %s, values %q", c.Name, c.Version, c.files[max(i, 0)].Data)
			}
			if _, err := c.fresh(); err != nil {
				t.Error(err)
			}
		})
	}
}
