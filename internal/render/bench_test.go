package render

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/kustomize/kyaml/openapi"

	"plumb.dev/plumb/internal/app"
)

// overlayTree is a base of five objects and an overlay with a patch, an image
// and a generator.
func overlayTree() fstest.MapFS {
	tree := fstest.MapFS{}
	file := func(name, text string) { tree[name] = &fstest.MapFile{Data: []byte(text)} }
	var list strings.Builder
	for i, kind := range []string{"ServiceAccount", "Service", "Deployment", "ConfigMap", "Ingress"} {
		text := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: web, labels: {app: web}}\n", []string{"v1", "v1", "apps/v1", "v1", "networking.k8s.io/v1"}[i], kind)
		switch kind {
		case "Deployment":
			text += "spec:\n  replicas: 1\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n      containers:\n      - {name: web, image: frontend:latest, envFrom: [{configMapRef: {name: settings}}]}\n"
		case "Service":
			text += "spec: {selector: {app: web}, ports: [{port: 80}]}\n"
		}
		name := strings.ToLower(kind) + ".yaml"
		file("base/"+name, text)
		fmt.Fprintf(&list, "- %s\n", name)
	}
	file("base/kustomization.yaml", "resources:\n"+list.String())
	file("overlay/kustomization.yaml", "resources: [../base]\npatches:\n- path: replicas.yaml\nimages:\n- {name: frontend, newTag: v1.2.3}\nconfigMapGenerator:\n- name: settings\n  literals: [A=1, B=2]\n")
	file("overlay/replicas.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 5}\n")
	return tree
}

func BenchmarkOverlay(b *testing.B) {
	tree := overlayTree()
	build := func(b *testing.B) {
		result, err := Render(b.Context(), tree, app.Render{Path: "overlay", Mode: app.RenderKustomize})
		if err != nil || len(result.Objects) != 6 {
			b.Fatal(err, len(result.Objects))
		}
	}
	b.Run("warm", func(b *testing.B) {
		build(b)
		for b.Loop() {
			build(b)
		}
	})
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			openapi.ResetOpenAPI()
			build(b)
		}
	})
}

func BenchmarkDirectory(b *testing.B) {
	tree := fstest.MapFS{}
	for i := range 100 {
		tree[fmt.Sprintf("f%03d.yaml", i)] = &fstest.MapFile{Data: []byte(fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata: {a: b}\n", i))}
	}
	for b.Loop() {
		if result, err := Render(b.Context(), tree, app.Render{Mode: app.RenderDirectory}); err != nil || len(result.Objects) != 100 {
			b.Fatal(err)
		}
	}
}
