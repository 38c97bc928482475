package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render/rendertest"
)

func mapFS(files map[string]string) fstest.MapFS {
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return tree
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata: {a: b}\n"

// endlessTree takes minutes to render and keeps within all other bounds: each
// of many patches is tried on each of many objects.
func endlessTree() fstest.MapFS {
	var objects, kustomization strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&objects, configMap+"---\n", i)
	}
	kustomization.WriteString("resources: [all.yaml]\npatches:\n")
	for i := range 5000 {
		fmt.Fprintf(&kustomization, "- {target: {kind: ConfigMap, name: '(c|d)+.*%d'}, patch: '[{\"op\": \"add\", \"path\": \"/data/p%d\", \"value\": \"x\"}]'}\n", i%10, i)
	}
	return mapFS(map[string]string{"kustomization.yaml": kustomization.String(), "all.yaml": objects.String()})
}

var endlessSpec = app.Render{Mode: app.RenderKustomize, Owner: "endless"}

// enormous is a tree with a file that never ends.
type enormous struct{ fstest.MapFS }

type endlessFile struct {
	fs.File
	text io.Reader
}

func (e enormous) Open(name string) (fs.File, error) {
	f, err := e.MapFS.Open(name)
	if name != "big.yaml" || err != nil {
		return f, err
	}
	return endlessFile{f, e}, nil
}

func (e enormous) ReadFile(name string) ([]byte, error) { return nil, errors.New("not at once") }

func (enormous) Read(b []byte) (int, error) { return copy(b, strings.Repeat("# text\n", 1000)), nil }

func (f endlessFile) Read(b []byte) (int, error) { return f.text.Read(b) }

// TestHostile renders what is meant to harm, each while another app renders:
// that one must not notice, and each must fail with a reason of its own.
func TestHostile(t *testing.T) {
	exponential := map[string]string{"k30/kustomization.yaml": "resources: [a.yaml]\n", "k30/a.yaml": fmt.Sprintf(configMap, 1)}
	for i := range 30 {
		for _, side := range []string{"a", "b"} {
			exponential[fmt.Sprintf("k%d/%s/kustomization.yaml", i, side)] = fmt.Sprintf("resources: [../../k%d]\nnamePrefix: %s\n", i+1, side)
		}
		exponential[fmt.Sprintf("k%d/kustomization.yaml", i)] = "resources: [a, b]\n"
	}
	aliases := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		aliases += fmt.Sprintf("%c: &%c [*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c,*%[3]c]\n", c, c, c-1)
	}
	bomb := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\n" + aliases
	var generator, documents strings.Builder
	generator.WriteString("configMapGenerator:\n")
	for i := range 30_000 {
		fmt.Fprintf(&generator, "- {name: g%d, literals: [a=b]}\n", i)
	}
	for i := range 1_000_000 {
		fmt.Fprintf(&documents, "---\n{apiVersion: v1, kind: C, metadata: {name: c%d}}\n", i)
	}
	hog := func() string {
		var text strings.Builder
		text.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hog}\ndata:\n")
		for i := range 1_500_000 {
			fmt.Fprintf(&text, "  k%d: x\n", i)
		}
		return text.String()
	}
	links := mapFS(map[string]string{"kustomization.yaml": "resources: [out.yaml]\n"})
	links["out.yaml"] = &fstest.MapFile{Data: []byte("../../../../etc/passwd"), Mode: fs.ModeSymlink}
	circle := mapFS(nil)
	circle["a.yaml"] = &fstest.MapFile{Data: []byte("b.yaml"), Mode: fs.ModeSymlink}
	circle["b.yaml"] = &fstest.MapFile{Data: []byte("a.yaml"), Mode: fs.ModeSymlink}
	circle["kustomization.yaml"] = &fstest.MapFile{Data: []byte("resources: [a.yaml]\n")}

	tests := []struct {
		name   string
		tree   fs.FS
		spec   app.Render
		reason app.Reason
		text   string
	}{
		{"aliases, plain", mapFS(map[string]string{"a.yaml": bomb}), app.Render{Mode: app.RenderDirectory}, app.ReasonBuild, "a.yaml:"},
		{"aliases, Kustomize", mapFS(map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": bomb}), app.Render{}, app.ReasonBuild, "a.yaml:"},
		{"aliases in a kustomization", mapFS(map[string]string{"kustomization.yaml": aliases}), app.Render{}, app.ReasonBuild, "kustomization.yaml:"},
		{"bases, exponential", mapFS(exponential), app.Render{Path: "k0"}, app.ReasonBuild, "more than"},
		{"bases in a circle", mapFS(map[string]string{"a/kustomization.yaml": "resources: [../b]\n", "b/kustomization.yaml": "resources: [../a]\n"}), app.Render{Path: "a"}, app.ReasonBuild, "leads back"},
		{"generators without end", mapFS(map[string]string{"kustomization.yaml": generator.String()}), app.Render{}, "", ""},
		{"patches times objects", endlessTree(), endlessSpec, app.ReasonTimeout, "computed for more than"},
		{"a pattern that backtracks", mapFS(map[string]string{"kustomization.yaml": "resources: [a.yaml]\npatches: [{target: {name: '(c+)+$'}, patch: '[{\"op\": \"remove\", \"path\": \"/data/none\"}]'}]\n", "a.yaml": strings.ReplaceAll(fmt.Sprintf(configMap, 1), "c1", strings.Repeat("c", 5000))}), app.Render{}, app.ReasonBuild, ""},
		{"a link out", links, app.Render{}, app.ReasonBuild, "leaves the source tree"},
		{"links in a circle", circle, app.Render{}, app.ReasonBuild, "too many links"},
		{"a path out", mapFS(map[string]string{"kustomization.yaml": "resources: [../../etc]\n"}), app.Render{}, app.ReasonBuild, "leaves the source tree"},
		{"an app's path out", mapFS(nil), app.Render{Path: "../../etc"}, app.ReasonInvalidSpec, "leaves the source tree"},
		{"an enormous file", enormous{mapFS(map[string]string{"big.yaml": strings.Repeat(" ", 1<<20)})}, app.Render{Mode: app.RenderDirectory}, app.ReasonBuild, "bytes allowed are read"},
		{"deep, YAML", mapFS(map[string]string{"a.yaml": strings.Repeat("[", 200_000)}), app.Render{Mode: app.RenderDirectory}, app.ReasonBuild, "a.yaml"},
		{"deep, JSON", mapFS(map[string]string{"a.json": strings.Repeat(`{"a":`, 200_000)}), app.Render{Mode: app.RenderDirectory}, app.ReasonBuild, "a.json"},
		{"deep, Kustomize", mapFS(map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "apiVersion: v1\nkind: C\nmetadata: {name: c}\na: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000)}), app.Render{}, app.ReasonBuild, "a.yaml"},
		{"deep by indentation", mapFS(map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "apiVersion: v1\nkind: C\nmetadata: {name: c}\na:\n" + ladder(3000)}), app.Render{}, app.ReasonBuild, ""},
		{"a deep patch", mapFS(map[string]string{"kustomization.yaml": "resources: [a.yaml]\npatches:\n- patch: |\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: c1}\n    a: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "\n", "a.yaml": fmt.Sprintf(configMap, 1)}), app.Render{}, app.ReasonBuild, ""},
		{"no UTF-8", mapFS(map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": "a: \xff\xfe\n"}), app.Render{}, app.ReasonBuild, "a.yaml"},
		{"no UTF-8, plain", mapFS(map[string]string{"a.yaml": "a: \xff\xfe\n"}), app.Render{Mode: app.RenderDirectory}, app.ReasonBuild, "not valid UTF-8"},
		{"a million documents", mapFS(map[string]string{"a.yaml": documents.String()}), app.Render{Mode: app.RenderDirectory}, "", ""},
		{"a hog", mapFS(map[string]string{"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": hog()}), app.Render{}, app.ReasonBuild, "rendering used more than 256 MiB of memory"},
	}
	pool := newPool(t, Options{Workers: 2, CPU: 2 * time.Second, Time: 50 * time.Second, Slow: 300 * time.Millisecond, Memory: 256 << 20})
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		good, spec, n := rendertest.Overlay(), app.Render{Path: "overlay", Owner: "good"}, 0
		for ; ctx.Err() == nil; n++ {
			result, err := pool.Render(t.Context(), good, spec)
			if err != nil || len(result.Objects) != 6 {
				t.Error("the good app: ", err)
				return
			}
		}
		t.Logf("the good app was rendered %d times", n)
	})
	defer wg.Wait()
	defer stop()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.spec.Owner = test.name
			_, err := pool.Render(t.Context(), test.tree, test.spec)
			f := app.AsFailure(err, app.StageRender)
			switch {
			case f == nil:
				t.Fatal("it was rendered")
			case f.Stage != app.StageRender, test.reason != "" && f.Reason != test.reason, !strings.Contains(f.Error(), test.text), len(f.Error()) > 2000:
				t.Errorf("%s %s: %.3000s", f.Stage, f.Reason, f)
			case f.Reason == app.ReasonInternal:
				t.Errorf("not the app's fault? %s", f)
			}
			t.Logf("%s: %.300s (%s)", f.Reason, f, f.Hint)
		})
	}
}

// ladder nests maps by indentation.
func ladder(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i+1) + "a:\n")
	}
	return b.String()
}

// TestFairness renders two apps that never end on two processes: a third one
// must get its turns all the same.
func TestFairness(t *testing.T) {
	pool := newPool(t, Options{Workers: 2, CPU: time.Hour, Time: time.Hour})
	ctx, stop := context.WithCancelCause(t.Context())
	superseded := app.Fail(app.StageRender, app.ReasonSuperseded, "a newer commit came")
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			spec := endlessSpec
			spec.Owner = fmt.Sprint("hostile", i)
			if _, err := pool.Render(ctx, endlessTree(), spec); !errors.Is(err, superseded) {
				t.Errorf("an endless one: %v", err)
			}
		})
	}
	for range 30 {
		if result, err := pool.Render(t.Context(), rendertest.Overlay(), app.Render{Path: "overlay", Owner: "good"}); err != nil || len(result.Objects) != 6 {
			t.Fatal(err)
		}
	}
	stop(superseded)
	wg.Wait()
}
