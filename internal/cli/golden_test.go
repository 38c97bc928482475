package cli

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/object"
)

var update = flag.Bool("update", false, "rewrite golden files and docs")

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// atNoon is a clock that stands.
func atNoon() time.Time { return time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC) }

// goldenStreams reads custom resources as a list from the cluster would have
// them.
func goldenStreams(t *testing.T, name string, text []byte) []stream {
	t.Helper()
	objects, err := object.Decode(name, text)
	if err != nil {
		t.Fatal(err)
	}
	var out []stream
	for _, k := range kinds() {
		s := stream{kind: k}
		for _, o := range objects {
			if u := o.Unstructured(); u.GetKind() == k.name {
				s.start.items = append(s.start.items, u)
			}
		}
		if len(s.start.items) > 0 {
			slices.SortFunc(s.start.items, byName)
			out = append(out, s)
		}
	}
	return out
}

// TestTables prints custom resources, with statuses as the dialects write
// them, in each way there is.
func TestTables(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data", err)
	}
	p := &program{env: Environment{Now: atNoon}}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in := archive.Files[0]
			get := func(format string, namespaces bool) func(io.Writer) error {
				return func(out io.Writer) error {
					return newGetPrinter(p, out, io.Discard, format, namespaces, false).all(goldenStreams(t, file, in.Data), false)
				}
			}
			driftTable := func(format string) func(io.Writer) error {
				return func(out io.Writer) error {
					var found []driftEntry
					for _, s := range goldenStreams(t, file, in.Data) {
						for _, u := range s.start.items {
							if s.kind.app != nil {
								found = append(found, driftOf(s.kind.app(u))...)
							}
						}
					}
					show := &driftPrinter{
						p: p, out: out, format: format, seen: map[string]bool{},
						table: newTable(out, false, "WHEN", "APP", "OBJECT", "FIELDS", "BY", "STATE"),
					}
					err := show.all(io.Discard, found)
					if code := explain(err).code; code == ExitNo {
						io.WriteString(out, "(exit code 1)\n")
						return nil
					}
					return err
				}
			}
			got := &txtar.Archive{Comment: archive.Comment, Files: []txtar.File{in}}
			for _, c := range []struct {
				name  string
				print func(io.Writer) error
			}{
				{"get", get("", true)},
				{"get -n -o wide", get("wide", false)},
				{"get -o json", get("json", true)},
				{"drift", driftTable("")},
				{"drift -o yaml", driftTable("yaml")},
			} {
				var out bytes.Buffer
				if err := c.print(&out); err != nil {
					t.Fatal(err)
				}
				got.Files = append(got.Files, txtar.File{Name: c.name, Data: out.Bytes()})
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := txtar.Format(archive); !bytes.Equal(txtar.Format(got), want) {
				t.Errorf("got:\n%s\nwant:\n%s", txtar.Format(got), want)
			}
		})
	}
}

func TestWatchPrintsWhatShows(t *testing.T) {
	app := func(rv, message string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"kind":     "Kustomization",
			"metadata": map[string]any{"namespace": "flux-system", "name": "shop", "uid": "u1", "resourceVersion": rv},
			"status": map[string]any{"conditions": []any{
				map[string]any{"type": "Ready", "status": "True", "message": message},
			}},
		}}
	}
	ks, _ := kindCalled("ks")
	var out bytes.Buffer
	show := newGetPrinter(&program{env: Environment{Now: atNoon}}, &out, io.Discard, "", true, true)
	if err := show.begin([]stream{{kind: ks, start: snapshot{items: []*unstructured.Unstructured{app("1", "one")}}}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []change{
		{ks, app("2", "one"), false}, // nothing to see
		{ks, app("3", "two"), false},
		{ks, app("3", "two"), true},
	} {
		if err := show.change(c); err != nil {
			t.Fatal(err)
		}
	}
	const want = `NAMESPACE     NAME   KIND            READY   SYNC     HEALTH   REVISION   AGE   MESSAGE
flux-system   shop   Kustomization   True    Synced   -        -          -     one
flux-system   shop   Kustomization   True    Synced   -        -          -     two
flux-system   shop   Kustomization   True    Synced   -        -          -     deleted
`
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestColorIsForTerminalsOnly(t *testing.T) {
	for _, c := range []struct {
		env  Environment
		want bool
	}{
		{Environment{}, false},
		{Environment{Terminal: true}, true},
		{Environment{Terminal: true, NoColor: true}, false},
	} {
		p := &program{env: c.env}
		var out bytes.Buffer
		newTable(&out, p.color(), "SYNC").print([]cell{syncCell("Synced")})
		if got := bytes.Contains(out.Bytes(), []byte("\x1b[")); got != c.want {
			t.Errorf("%+v: colored %t", c.env, got)
		}
	}
}
