package diff

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

var update = flag.Bool("update", false, "rewrite the want files of the goldens")

// TestGolden compares the files "live" and "desired" of each archive (either
// may be missing) under the rules in "ignore".
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
			var live, desired object.Object
			var ignore []app.IgnoreRule
			want := -1
			for i, f := range archive.Files {
				switch f.Name {
				case "live":
					live = decode(t, f)
				case "desired":
					desired = decode(t, f)
				case "ignore":
					if err := yaml.UnmarshalStrict(f.Data, &ignore); err != nil {
						t.Fatal(err)
					}
				case "want":
					want = i
				}
			}
			change := Change{Verb: Modify, Ref: desired.Ref(), Origin: desired.Origin}
			switch {
			case live.IsZero():
				change.Verb = Create
			case desired.IsZero():
				change = Change{Verb: Delete, Ref: live.Ref(), Reason: "no longer in Git"}
			}
			change.Fields = Fields(change.Ref, live.Unstructured().Object, desired.Unstructured().Object, ignore)
			var got strings.Builder
			if err := Text(&got, []Change{change}, false); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(got.String(), "hunter22") || strings.Contains(got.String(), "aHVudGVyMjI") {
				t.Errorf("shows a secret:\n%s", &got)
			}
			text := fingerprint.ReplaceAllString(got.String(), "<secret …, $1 bytes>")
			if *update {
				if want < 0 {
					archive.Files, want = append(archive.Files, txtar.File{Name: "want"}), len(archive.Files)
				}
				archive.Files[want].Data = []byte(text)
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want < 0 || text != string(archive.Files[want].Data) {
				t.Errorf("got:\n%s", text)
			}
		})
	}
}

// fingerprint is the salted part of a fingerprint, another in each run.
var fingerprint = regexp.MustCompile(`<secret [0-9a-f]{8}, (\d+) bytes>`)

func decode(t *testing.T, f txtar.File) object.Object {
	t.Helper()
	objects, err := object.Decode("manifest.yaml", f.Data)
	if err != nil || len(objects) != 1 {
		t.Fatal(f.Name, err)
	}
	return objects[0]
}

func TestTextColour(t *testing.T) {
	var out strings.Builder
	err := Text(&out, []Change{{
		Verb: Modify, Ref: object.Ref{Kind: "Deployment", Namespace: "demo", Name: "web"}, Origin: object.Origin{Path: "deploy.yaml", Line: 1},
		Fields: []app.FieldChange{{Path: ".spec.replicas", From: "5", To: "3"}},
	}}, true)
	want := "\x1b[33m~\x1b[0m \x1b[1mDeployment/demo/web\x1b[0m  \x1b[2m(deploy.yaml:1)\x1b[0m\n    .spec.replicas: \x1b[31m5\x1b[0m → \x1b[32m3\x1b[0m\n"
	if err != nil || out.String() != want {
		t.Errorf("%v %q", err, out.String())
	}
}

func TestMatches(t *testing.T) {
	ref := object.Ref{Group: "apps", Kind: "Deployment", Namespace: "ns", Name: "web"}
	for _, tc := range []struct {
		rule app.IgnoreRule
		want bool
	}{
		{app.IgnoreRule{Group: "apps", Kind: "Deployment"}, true},
		{app.IgnoreRule{Group: "*", Kind: "*"}, true},
		{app.IgnoreRule{Group: "*", Kind: "*", Namespace: "*", Name: "w*"}, true},
		{app.IgnoreRule{Group: "", Kind: "Deployment"}, false},
		{app.IgnoreRule{Group: "apps", Kind: "Deployment", Name: "other"}, false},
		{app.IgnoreRule{Group: "apps", Kind: "Deployment", Namespace: "other"}, false},
		{app.IgnoreRule{Group: "[", Kind: "*"}, false},
	} {
		if got := Matches(tc.rule, ref, nil); got != tc.want {
			t.Errorf("%+v: %v", tc.rule, got)
		}
	}
	if !Matches(app.IgnoreRule{Group: "*", Kind: "Pod"}, object.Ref{Kind: "Pod"}, nil) {
		t.Error("* does not match the core group")
	}
}

func TestStrip(t *testing.T) {
	const in = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, annotations: {a/b: x, c~d: z}}\nspec: {list: [0, 1, 2, [3, 4], {k: v}], m: null}\n"
	for _, tc := range []struct{ pointers, want string }{
		{"/spec/list/0 /spec/list/2 /spec/list/3/1", `{"list":[1,[3],{"k":"v"}],"m":null}`},
		{"/spec/list/4/k /spec/m", `{"list":[0,1,2,[3,4],{}]}`},
		{"/spec/list/9 /spec/list/-1 /spec/list/x /spec/list/0/y /nowhere/at/all spec", `{"list":[0,1,2,[3,4],{"k":"v"}],"m":null}`},
		{"/metadata/annotations/a~1b /metadata/annotations/c~0d /spec/list", `{"m":null}`},
		{"/spec/list /spec/list/0", `{"m":null}`},
	} {
		o := decode(t, txtar.File{Data: []byte(in)})
		content := o.Unstructured().Object
		Strip(content, o.Ref(), []app.IgnoreRule{{Kind: "Pod", Pointers: strings.Fields(tc.pointers)}})
		got, err := yaml.Marshal(content["spec"])
		if err != nil {
			t.Fatal(err)
		}
		js, _ := yaml.YAMLToJSON(got)
		if string(js) != tc.want {
			t.Errorf("%s: got %s, want %s", tc.pointers, js, tc.want)
		}
		if strings.Contains(tc.pointers, "~") {
			if notes := o.Unstructured().GetAnnotations(); len(notes) != 0 {
				t.Errorf("annotations %v", notes)
			}
		}
	}
	o := decode(t, txtar.File{Data: []byte(in)})
	before := o.Digest()
	Strip(o.Unstructured().Object, o.Ref(), []app.IgnoreRule{{Kind: "Service", Pointers: []string{"/spec"}}})
	if o.Digest() != before {
		t.Error("a rule for another kind took something out")
	}
}

// An object does not differ from itself, whatever it holds; its inputs are not
// changed.
func FuzzFields(f *testing.F) {
	f.Add("spec: {a: [1, {name: x}], ports: [{port: 1}, {port: 1}]}", "spec: {a: [{name: x}, {name: y}], ports: [{port: 1, protocol: UDP}]}", "/spec/a/0")
	f.Add("data: {a: b}", "data: {a: c}", "/data")
	f.Fuzz(func(t *testing.T, a, b, pointer string) {
		const head = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"
		first, err := object.Decode("a", []byte(head+a))
		second, err2 := object.Decode("b", []byte(head+b))
		if err != nil || err2 != nil || len(first) != 1 || len(second) != 1 {
			return
		}
		rules := []app.IgnoreRule{{Group: "*", Kind: "*", Pointers: []string{pointer}}}
		x, y := first[0].Unstructured().Object, second[0].Unstructured().Object
		digests := first[0].Digest() + second[0].Digest()
		changes := Fields(first[0].Ref(), x, y, rules)
		if digests != first[0].Digest()+second[0].Digest() {
			t.Error("the inputs were changed")
		}
		if same := Fields(first[0].Ref(), x, runtime.DeepCopyJSON(x), nil); len(same) > 0 {
			t.Errorf("differs from itself: %v", same)
		}
		back := Fields(first[0].Ref(), y, x, rules)
		if len(back) != len(changes) {
			t.Errorf("%d changes one way, %d the other:\n%v\n%v", len(changes), len(back), changes, back)
		}
	})
}
