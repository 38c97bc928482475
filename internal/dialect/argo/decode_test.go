package argo

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// variable drops what is the same for every Application, and the digests.
func variable(s app.Spec) app.Spec {
	s.Generation, s.FieldManager, s.AdoptFrom, s.Strip, s.Mark.Except = 0, "", nil, nil, nil
	s.Policy.Order, s.Policy.Switches, s.Policy.WaveAnnotations = app.Order{}, nil, nil
	s.Policy.HealBackoff, s.Policy.HealthRules = app.Backoff{}, ""
	s.Render.Directory.Lenient, s.Render.Directory.SkipMarker = false, ""
	s.Warnings = nil
	return s
}

func TestDecode(t *testing.T) {
	golden(t, "decode", func(t *testing.T, in map[string]string) []txtar.File {
		spec, source := DecodeApplication(parse(t, in["in.yaml"]), Options{})
		out := []txtar.File{
			{Name: "want.spec", Data: []byte(show(variable(spec)))},
			{Name: "want.source", Data: []byte(show(source))},
		}
		var warnings strings.Builder
		for _, w := range warningTexts(spec.Warnings) {
			warnings.WriteString(w + "\n")
		}
		return append(out, txtar.File{Name: "want.warnings", Data: []byte(warnings.String())})
	})
}

// What users arrive with runs as it stands.
func TestInputs(t *testing.T) {
	want := map[string]struct {
		mode     app.Mode
		path     string
		ref      string
		warnings int
	}{
		"my-app":         {app.ModeEnforce, "apps/my-app/overlays/production", "HEAD", 0},
		"root":           {app.ModeEnforce, "apps", "main", 0},
		"api-production": {app.ModeManual, "deploy/production", "v2.3.1", 1},
		"detect-only":    {app.ModeOnChange, "db", "main", 1},
	}
	for _, name := range []string{"argo-application.yaml", "argo-app-of-apps.yaml"} {
		data, err := os.ReadFile(filepath.Join("testdata", "inputs", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range splitYAML(string(data)) {
			spec, source := DecodeApplication(parse(t, doc), Options{})
			w, ok := want[spec.ID.Name]
			if !ok {
				t.Fatalf("unexpected %s", spec.ID)
			}
			delete(want, spec.ID.Name)
			if spec.Invalid != nil {
				t.Errorf("%s: %v", spec.ID, spec.Invalid)
			}
			if spec.Policy.Mode != w.mode || spec.Render.Path != w.path || source.Ref.Any != w.ref || len(spec.Warnings) != w.warnings {
				t.Errorf("%s: mode %s, path %s, ref %s, warnings %v", spec.ID, spec.Policy.Mode, spec.Render.Path, source.Ref.Any, spec.Warnings)
			}
			if spec.Target.Cluster != "" {
				t.Errorf("%s: cluster %q, want the local one", spec.ID, spec.Target.Cluster)
			}
		}
	}
	for name := range want {
		t.Errorf("%s not found", name)
	}
}

func TestMark(t *testing.T) {
	ref := func(ns, name string) (app.Mark, string) {
		u := parse(t, "{kind: Application, metadata: {namespace: "+ns+", name: "+name+"}, spec: {destination: {namespace: shop}}}")
		spec, _ := DecodeApplication(u, Options{ControlNamespace: "argocd"})
		_, notes := spec.Mark.Stamp(object.Ref{Group: "apps", Kind: "Deployment", Namespace: "x", Name: "api"})
		return spec.Mark, notes[annotationTracking]
	}
	mark, id := ref("argocd", "web")
	if want := "web:apps/Deployment:x/api"; id != want {
		t.Errorf("in the control namespace: %q, want %q", id, want)
	}
	if _, id := ref("team", "web"); id != "team_web:apps/Deployment:x/api" {
		t.Errorf("elsewhere: %q", id)
	}
	_, notes := mark.Stamp(object.Ref{Kind: "Namespace", Name: "n"})
	if want := "web:/Namespace:shop/n"; notes[annotationTracking] != want {
		t.Errorf("cluster-scoped: %q, want %q", notes[annotationTracking], want)
	}
	if _, notes := mark.Stamp(object.Ref{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "n"}); len(notes) > 0 {
		t.Errorf("a definition is marked: %v", notes)
	}
}

func TestParseImage(t *testing.T) {
	for text, want := range map[string]app.Image{
		"nginx:1.25":                 {Name: "nginx", NewTag: "1.25"},
		"nginx@sha256:ab":            {Name: "nginx", Digest: "sha256:ab"},
		"nginx:1@sha256:ab":          {Name: "nginx", NewTag: "1", Digest: "sha256:ab"},
		"nginx=reg:5000/web":         {Name: "nginx", NewName: "reg:5000/web"},
		"nginx=reg:5000/web:2":       {Name: "nginx", NewName: "reg:5000/web", NewTag: "2"},
		"reg:5000/a/web:2":           {Name: "reg:5000/a/web", NewTag: "2"},
		"nginx=*:2":                  {Name: "nginx", NewTag: "2"},
		"reg:5000/a=b/c@sha256:0123": {Name: "reg:5000/a", NewName: "b/c", Digest: "sha256:0123"},
		"nginx":                      {}, "": {}, "=a": {}, "a=": {}, "a:": {}, "a@": {}, "*=b:1": {}, "a b:1": {}, "a=*": {},
	} {
		got, ok := parseImage(text)
		if ok != (want != app.Image{}) || ok && got != want {
			t.Errorf("parseImage(%q) = %+v, %v; want %+v", text, got, ok, want)
		}
	}
}

// Every annotation value that keeps an object from harm is a switch.
func TestSwitches(t *testing.T) {
	effect := func(key, value string) app.Effect {
		for _, s := range switches() {
			if s.Key == key && s.Value == value && s.List {
				return s.Effect
			}
		}
		return ""
	}
	for _, c := range []struct {
		key, value string
		want       app.Effect
	}{
		{annotationOptions, "Prune=false", app.EffectKeep},
		{annotationOptions, "Prune=confirm", app.EffectKeep},
		{annotationOptions, "Delete=false", app.EffectKeepOnDelete},
		{annotationOptions, "Replace=true", app.EffectReplace},
		{annotationOptions, "Force=true", app.EffectForce},
		{annotationOptions, "PruneLast=true", app.EffectPruneLast},
		{annotationOptions, "Validate=false", ""},
		{annotationHook, "PreSync", app.EffectIgnore},
		{annotationHook, "Skip", app.EffectIgnore},
		{annotationHelmHook, "pre-install", app.EffectIgnore},
		{annotationHelmHook, "crd-install", ""},
		{annotationHelmPolicy, "keep", app.EffectKeepOnDelete},
	} {
		if got := effect(c.key, c.value); got != c.want {
			t.Errorf("%s: %s has effect %q, want %q", c.key, c.value, got, c.want)
		}
	}
}

func TestKindOrder(t *testing.T) {
	order := kindOrder()
	before := func(a, b string) {
		if i, j := slices.Index(order, a), slices.Index(order, b); i < 0 || j < 0 || i >= j {
			t.Errorf("%s (%d) does not come before %s (%d)", a, i, b, j)
		}
	}
	before("Namespace", "ServiceAccount")
	before("ConfigMap", "CustomResourceDefinition")
	before("CustomResourceDefinition", "ClusterRole")
	before("Service", "Deployment")
	before("Ingress", "APIService")
}

// Generation goes by content: status writes do not change it, the spec does.
func TestGeneration(t *testing.T) {
	u := parse(t, "{kind: Application, metadata: {name: a}, spec: {project: p}}")
	first, _ := DecodeApplication(u, Options{})
	u.SetGeneration(7)
	u.Object["status"] = map[string]any{"sync": map[string]any{"status": "Synced"}}
	if again, _ := DecodeApplication(u, Options{}); again.Generation != first.Generation || first.Generation <= 0 {
		t.Errorf("generation %d after a status write, %d before", again.Generation, first.Generation)
	}
	if err := unstructured.SetNestedField(u.Object, "q", "spec", "project"); err != nil {
		t.Fatal(err)
	}
	if again, _ := DecodeApplication(u, Options{}); again.Generation == first.Generation {
		t.Error("generation is the same for another spec")
	}
}

func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/inputs/*.yaml", "testdata/decode/*.txtar"} {
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			docs := splitYAML(string(data))
			if strings.HasSuffix(name, ".txtar") {
				docs = nil
				for _, file := range txtar.Parse(data).Files {
					if file.Name == "in.yaml" {
						docs = append(docs, string(file.Data))
					}
				}
			}
			for _, doc := range docs {
				if text, err := yaml.YAMLToJSON([]byte(doc)); err == nil {
					f.Add(string(text))
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		u := &unstructured.Unstructured{}
		if err := u.UnmarshalJSON([]byte(text)); err != nil {
			return
		}
		spec, source := DecodeApplication(u, Options{})
		if spec.Invalid == nil {
			if source.URL == "" || spec.Render.Path == "" || spec.Source != source.ID {
				t.Errorf("valid without a source: %+v", source)
			}
			if escapes(spec.Render.Path) {
				t.Errorf("path %q leaves the tree", spec.Render.Path)
			}
		}
		// Whatever a status holds, writing over it works and settles.
		r := app.Report{Phase: app.PhaseDone, Sync: app.Synced, Records: spec.Recorded, Warnings: spec.Warnings, Failure: spec.Invalid}
		if patch := EncodeApplication(r, u, Options{}); patch != nil {
			applyMergePatch(u.Object, patch)
			if patch := EncodeApplication(r, u, Options{}); patch != nil {
				t.Errorf("a second time: %v", patch)
			}
		}
		Events(r, u, Options{})
		AssessApplicationSet(u, r.At)
		Place(&spec, u, Clusters([]SecretData{{Name: "c", Labels: map[string]string{LabelSecretType: "cluster"}}}))
		CheckProject(u, u, Cluster{}, Options{})
	})
}
