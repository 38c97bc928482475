package render

import (
	"fmt"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/kustomize/kyaml/openapi"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render/rendertest"
)

func BenchmarkOverlay(b *testing.B) {
	tree := rendertest.Overlay()
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
