package argo

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
)

var update = flag.Bool("update", false, "rewrite the want files of the goldens")

// golden runs check on each archive below testdata/dir. check gets the input
// files and returns the want files, which are compared, or written with
// -update.
func golden(t *testing.T, dir string, check func(t *testing.T, in map[string]string) []txtar.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no archives in %s: %v", dir, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			in := map[string]string{}
			var kept []txtar.File
			for _, f := range archive.Files {
				in[f.Name] = string(f.Data)
				if !strings.HasPrefix(f.Name, "want.") {
					kept = append(kept, f)
				}
			}
			want := check(t, in)
			if *update {
				archive.Files = append(kept, want...)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, f := range want {
				if in[f.Name] != string(f.Data) {
					t.Errorf("%s:\n--- got\n%s--- want\n%s", f.Name, f.Data, in[f.Name])
				}
			}
		})
	}
}

// parse reads one object. Numbers come out as an API client has them.
func parse(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u
}

// splitYAML gives the documents of a stream.
func splitYAML(text string) []string {
	var out []string
	for _, doc := range strings.Split("\n"+text, "\n---\n") {
		if strings.TrimSpace(doc) != "" {
			out = append(out, doc)
		}
	}
	return out
}

// show prints a value as indented text without its zero parts.
func show(v any) string {
	var b strings.Builder
	dump(&b, reflect.ValueOf(v), "")
	return b.String()
}

func dump(b *strings.Builder, v reflect.Value, indent string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		dump(b, v.Elem(), indent)
		return
	case reflect.Struct:
		for i := range v.NumField() {
			dumpField(b, v.Type().Field(i).Name, v.Field(i), indent)
		}
		return
	}
	fmt.Fprintf(b, "%s%v\n", indent, v)
}

func dumpField(b *strings.Builder, name string, v reflect.Value, indent string) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		if f, ok := v.Interface().(*app.Failure); ok {
			fmt.Fprintf(b, "%s%s: %s/%s: %s\n", indent, name, f.Stage, f.Reason, f)
			return
		}
		v = v.Elem()
		if v.IsZero() {
			fmt.Fprintf(b, "%s%s: set\n", indent, name)
		}
	}
	if v.IsZero() {
		return
	}
	switch x := v.Interface().(type) {
	case time.Time:
		fmt.Fprintf(b, "%s%s: %s\n", indent, name, x.UTC().Format(time.RFC3339))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		fmt.Fprintf(b, "%s%s:\n", indent, name)
		dump(b, v, indent+"  ")
	case reflect.Slice:
		for i := range v.Len() {
			item := v.Index(i)
			if item.Kind() == reflect.Struct {
				fmt.Fprintf(b, "%s%s[%d]:\n", indent, name, i)
				dump(b, item, indent+"  ")
			} else {
				fmt.Fprintf(b, "%s%s[%d]: %v\n", indent, name, i, item)
			}
		}
	default:
		fmt.Fprintf(b, "%s%s: %v\n", indent, name, v)
	}
}
