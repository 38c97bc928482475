package worker

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
)

// overlayTree is a base of five objects and an overlay with a patch, an image
// and a generator: the one of the benchmark of package render.
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
	spec := app.Render{Path: "overlay", Mode: app.RenderKustomize}
	pool := newPool(b, Options{Workers: 2})
	for name, do := range map[string]func() (render.Result, error){
		"here":   func() (render.Result, error) { return render.Render(b.Context(), tree, spec) },
		"worker": func() (render.Result, error) { return pool.Render(b.Context(), tree, spec) },
	} {
		b.Run(name, func(b *testing.B) {
			for range 20 {
				if result, err := do(); err != nil || len(result.Objects) != 6 {
					b.Fatal(err, len(result.Objects))
				}
			}
			for b.Loop() {
				if _, err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStart is what the start of a process costs, until it is warm and
// confined.
func BenchmarkStart(b *testing.B) {
	opts := Options{Args: []string{asWorker}}.withDefaults()
	for b.Loop() {
		w, err := startProcess(b.Context(), opts)
		if err != nil {
			b.Fatal(err)
		}
		w.dismiss()
		<-w.gone
	}
}
