package install

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/api"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// The golden leaves the definitions out: they are the files of package api.
func TestGolden(t *testing.T) {
	for name, opts := range map[string]Options{
		"testdata/default.yaml":     {Version: "v1.2.3"},
		"testdata/options.yaml":     {Namespace: "gitops", Image: "registry.example.org:5000/plumb@sha256:0123", Version: "v1.2.3+dirty", DialectNamespaces: true},
		"testdata/flux-system.yaml": {Namespace: "flux-system", Version: "v1.2.3", DialectNamespaces: true},
	} {
		got, err := Manifests(opts)
		if err != nil {
			t.Fatal(err)
		}
		definitions := bytes.TrimSpace(api.CRDs())
		if !bytes.Contains(got, definitions) {
			t.Errorf("%s: the definitions are missing", name)
		}
		got = bytes.Replace(got, definitions, []byte("# definitions"), 1)
		if *update {
			if err := os.WriteFile(name, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got\n%s", name, got)
		}
	}
}

// Every document is an object that the API knows, without a field it does not.
func TestDocumentsAreStrictlyValid(t *testing.T) {
	data, err := Manifests(Options{DialectNamespaces: true})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	var deployment appsv1.Deployment
	for _, doc := range strings.Split("\n"+string(data), "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		var meta struct{ Kind string }
		if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		kinds[meta.Kind]++
		var into any
		switch meta.Kind {
		case "Namespace":
			into = &corev1.Namespace{}
		case "ServiceAccount":
			into = &corev1.ServiceAccount{}
		case "Service":
			into = &corev1.Service{}
		case "ClusterRole":
			into = &rbacv1.ClusterRole{}
		case "ClusterRoleBinding":
			into = &rbacv1.ClusterRoleBinding{}
		case "CustomResourceDefinition":
			into = &apiextensionsv1.CustomResourceDefinition{}
		case "Deployment":
			into = &deployment
		default:
			t.Fatalf("unexpected kind %q", meta.Kind)
		}
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			t.Errorf("%s: %v", meta.Kind, err)
		}
	}
	if kinds["Namespace"] != 3 || kinds["CustomResourceDefinition"] < 5 || kinds["Deployment"] != 1 {
		t.Errorf("kinds: %v", kinds)
	}
	for k, v := range deployment.Spec.Selector.MatchLabels {
		if deployment.Spec.Template.Labels[k] != v {
			t.Errorf("selector %s=%s does not select the pods", k, v)
		}
	}
	if image := deployment.Spec.Template.Spec.Containers[0].Image; image != "plumb:dev" {
		t.Errorf("image %q", image)
	}
}

func TestRefused(t *testing.T) {
	for _, opts := range []Options{
		{Namespace: "Not a name"},
		{Namespace: "a\nkind: Secret"},
		{Image: "a\nb: c"},
		{Image: "{{.}}"},
		{Version: "a b"},
		{Version: strings.Repeat("v", 64)},
	} {
		if out, err := Manifests(opts); err == nil {
			t.Errorf("%+v gives\n%s", opts, out)
		}
	}
}
