package render

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

var update = flag.Bool("update", false, "rewrite the want files of the goldens")

// TestGolden renders the tree of each archive in testdata. Its comment says
// what it shows; the file "spec" is the app.Render, "options" the bounds,
// "want" the rendered objects with their origins and the warnings, or the
// error with reason and hint. A file "links" holds lines `name -> target`; a
// file "remote URL REF NAME" is one of a remote base that was fetched, REF "-"
// for none.
func TestGolden(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no goldens", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var (
				tree = fstest.MapFS{}
				spec app.Render
				opts Options
				want *txtar.File
			)
			for i, f := range archive.Files {
				switch f.Name {
				case "spec":
					err = yaml.UnmarshalStrict(f.Data, &spec)
				case "options":
					err = yaml.UnmarshalStrict(f.Data, &opts)
				case "want":
					want = &archive.Files[i]
				case "links":
					for _, line := range strings.Split(strings.TrimSpace(string(f.Data)), "\n") {
						from, to, _ := strings.Cut(line, " -> ")
						tree[from] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
					}
				default:
					if remote := strings.Fields(f.Name); len(remote) == 4 {
						f.Name = path.Join(Remote{remote[1], strings.Trim(remote[2], "-")}.Mount(), remote[3])
					}
					tree[f.Name] = &fstest.MapFile{Data: f.Data}
				}
				if err != nil {
					t.Fatalf("%s: %v", f.Name, err)
				}
			}
			if want == nil {
				archive.Files = append(archive.Files, txtar.File{Name: "want"})
				want = &archive.Files[len(archive.Files)-1]
			}
			result, err := opts.Render(t.Context(), tree, spec)
			got := describe(t, result, err)
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(want.Data) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want.Data)
			}
		})
	}
}

// describe writes a result as goldens have it.
func describe(t *testing.T, result Result, err error) string {
	t.Helper()
	var out strings.Builder
	if err != nil {
		f, ok := err.(*app.Failure)
		if !ok {
			t.Fatalf("error of type %T: %v", err, err)
		}
		if f.Stage != app.StageRender {
			t.Errorf("stage %s", f.Stage)
		}
		fmt.Fprintf(&out, "error %s: %s\n", f.Reason, f)
		if f.Hint != "" {
			fmt.Fprintf(&out, "hint: %s\n", f.Hint)
		}
		return out.String()
	}
	for _, w := range result.Warnings {
		fmt.Fprintf(&out, "warning: %s\n", w.Message)
	}
	for i, o := range result.Objects {
		if i > 0 {
			fmt.Fprintln(&out, "---")
		}
		fmt.Fprintf(&out, "# %s\n", o.Origin)
		text, err := object.EncodeYAML([]object.Object{o}, false)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
	}
	return out.String()
}
