package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/openapi/kubernetesapi"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/render/rendertest"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n"

func mapFS(files map[string]string) fstest.MapFS {
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return tree
}

// reversed lists directories backwards.
type reversed struct{ fstest.MapFS }

func (r reversed) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := r.MapFS.ReadDir(name)
	slices.Reverse(entries)
	return entries, err
}

func TestOrderOfFilesIsIrrelevant(t *testing.T) {
	files := map[string]string{}
	for i := range 20 {
		files[fmt.Sprintf("d%d/f%d.yaml", i%3, i)] = fmt.Sprintf(configMap, fmt.Sprint("c", i))
	}
	for _, spec := range []app.Render{
		{Mode: app.RenderDirectory, Directory: app.Directory{Recurse: true}},
		{Mode: app.RenderGenerated},
	} {
		want, err := Render(t.Context(), mapFS(files), spec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Render(t.Context(), reversed{mapFS(files)}, spec)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := describe(t, want, nil), describe(t, got, nil); a != b {
			t.Errorf("%s: the order of the listing shows:\n%s\n%s", spec.Mode, a, b)
		}
		// Under other names the same objects come, in another order.
		names, texts := []string{}, []string{}
		for name, text := range files {
			names, texts = append(names, name), append(texts, text)
		}
		rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		renamed := map[string]string{}
		for i := range names {
			renamed[names[i]] = texts[i]
		}
		shuffled, err := Render(t.Context(), mapFS(renamed), spec)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := identities(want.Objects), identities(shuffled.Objects); !slices.Equal(a, b) {
			t.Errorf("%s: names of files matter:\n%s\n%s", spec.Mode, a, b)
		}
	}
}

func identities(objects []object.Object) []string {
	var out []string
	for _, o := range objects {
		out = append(out, o.String()+" "+o.Digest())
	}
	slices.Sort(out)
	return out
}

func TestContext(t *testing.T) {
	tree := mapFS(map[string]string{"a.yaml": fmt.Sprintf(configMap, "a"), "k/kustomization.yaml": "resources: [a.yaml]\n", "k/a.yaml": fmt.Sprintf(configMap, "a")})
	superseded := app.Fail(app.StageRender, app.ReasonSuperseded, "a newer commit came")
	for _, spec := range []app.Render{{}, {Path: "k"}} {
		expired, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
		defer cancel()
		_, err := Render(expired, tree, spec)
		if f := app.AsFailure(err, app.StageRender); f == nil || f.Reason != app.ReasonTimeout {
			t.Errorf("%q: deadline: %v", spec.Path, err)
		}
		caused, stop := context.WithCancelCause(t.Context())
		stop(superseded)
		if _, err := Render(caused, tree, spec); !errors.Is(err, superseded) {
			t.Errorf("%q: cause: %v", spec.Path, err)
		}
	}
}

// TestSchemaDoesNotLeak builds with a schema of the tree's own, and with a
// broken one, and then something that depends on the built-in schema.
func TestSchemaDoesNotLeak(t *testing.T) {
	merge := map[string]string{
		"kustomization.yaml": "resources: [a.yaml]\npatches: [{path: p.yaml}]\n",
		"a.yaml":             "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: x, image: i}, {name: y, image: i}]}}}\n",
		"p.yaml":             "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: x, image: j}]}}}\n",
	}
	want, err := Render(t.Context(), mapFS(merge), app.Render{})
	if err != nil {
		t.Fatal(err)
	}
	for name, schema := range map[string]string{"empty": `{"definitions":{}}`, "broken": `[`, "wrong": `{"definitions":{"a":{"x-kubernetes-group-version-kind":[{"kind":1}]}}}`} {
		for _, top := range []bool{true, false} {
			hostile := map[string]string{}
			for k, v := range merge {
				hostile["b/"+k] = v
			}
			hostile["b/s.json"] = schema
			hostile["b/kustomization.yaml"] += "openapi: {path: s.json}\n"
			hostile["o/kustomization.yaml"] = "resources: [../b]\n"
			path := "o"
			if top {
				path = "b"
			}
			_, err := Render(t.Context(), mapFS(hostile), app.Render{Path: path})
			if name != "empty" && err == nil {
				t.Errorf("%s schema: no error", name)
			}
			if v := openapi.GetSchemaVersion(); v != kubernetesapi.DefaultOpenAPI {
				t.Errorf("%s schema: %s stays", name, v)
			}
			got, err := Render(t.Context(), mapFS(merge), app.Render{})
			if err != nil || describe(t, got, nil) != describe(t, want, nil) {
				t.Errorf("%s schema: the next build differs: %v", name, err)
			}
		}
	}
}

// impossible lists a directory as a hostile Git tree may.
type impossible struct {
	fstest.MapFS
	name string
}

func (i impossible) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := i.MapFS.ReadDir(name)
	return append(entries, fs.FileInfoToDirEntry(impossibleInfo(i.name))), err
}

type impossibleInfo string

func (i impossibleInfo) Name() string     { return string(i) }
func (impossibleInfo) Size() int64        { return 0 }
func (impossibleInfo) Mode() fs.FileMode  { return fs.ModeDir | 0o755 }
func (impossibleInfo) ModTime() time.Time { return time.Time{} }
func (impossibleInfo) IsDir() bool        { return true }
func (impossibleInfo) Sys() any           { return nil }

func TestImpossibleNames(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "../a", "/"} {
		tree := impossible{mapFS(map[string]string{"d/a.yaml": fmt.Sprintf(configMap, "a")}), name}
		for _, mode := range []app.RenderMode{app.RenderDirectory, app.RenderGenerated} {
			_, err := Render(t.Context(), tree, app.Render{Path: "d", Mode: mode, Directory: app.Directory{Recurse: true}})
			if err == nil || !strings.Contains(err.Error(), "no directory can have") {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
}

func TestConcurrentBuilds(t *testing.T) {
	tree := rendertest.Overlay()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			result, err := Render(t.Context(), tree, app.Render{Path: "overlay"})
			if err != nil || len(result.Objects) != 6 {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// noNetwork fails the test when something is called up, by HTTP or with git.
func noNetwork(tb testing.TB) {
	before := http.DefaultTransport
	http.DefaultTransport = refuse{tb}
	dir := tb.TempDir()
	marker := filepath.Join(dir, "called")
	if err := os.WriteFile(filepath.Join(dir, "git"), []byte("#!/bin/sh\n: > "+marker+"\nexit 1\n"), 0o755); err != nil {
		tb.Fatal(err)
	}
	tb.Setenv("PATH", dir)
	tb.Cleanup(func() {
		http.DefaultTransport = before
		if _, err := os.Stat(marker); err == nil {
			tb.Error("git was started")
		}
	})
}

type refuse struct{ tb testing.TB }

func (r refuse) RoundTrip(q *http.Request) (*http.Response, error) {
	r.tb.Errorf("called up %s", q.URL)
	return nil, errors.New("no network")
}

// watched fails the test when a name is opened that is none of the tree.
type watched struct {
	fstest.MapFS
	tb testing.TB
}

func (w watched) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		w.tb.Errorf("opened %q", name)
	}
	return w.MapFS.Open(name)
}

func TestNothingIsCalledUp(t *testing.T) {
	noNetwork(t)
	for _, ref := range []string{
		"https://host.example/org/repo", "HTTP://host.example/a.yaml", "git::https://host.example/org/repo//x", "ssh://git@host.example/org/repo",
		"git@host.example:org/repo", "github.com/org/repo", "GitHub.com:org/repo.git", "file:///etc", "org-12@host.example/org/repo", "git::github.com/org/repo",
		"gh:org/repo", "http:host.example/x", "https:/host.example/x", "//host.example/org/repo", "git::git@host.example:org/repo",
	} {
		for field, text := range map[string]string{
			"resources": "resources: [%q]", "bases": "bases: [%q]", "folded": "reſourceS: [%q]", "components": "components: [%q]", "crds": "crds: [%q]",
			"configurations": "configurations: [%q]", "openapi": "resources: []\nopenapi: {path: %q}", "patches": "patches: [{path: %q}]", "json6902": "patchesJson6902: [{path: %q, target: {kind: X, name: x, version: v1}}]",
			"sm": "patchesStrategicMerge: [%q]", "replacements": "replacements: [{path: %q}]", "transformers": "transformers: [%q]", "generators": "generators: [%q]",
			"validators": "validators: [%q]", "files": "configMapGenerator: [{name: x, files: [%q]}]", "named": "secretGenerator: [{name: x, files: [x=%[1]s]}]", "envs": "configMapGenerator: [{name: x, envs: [%q]}]", "env": "configMapGenerator: [{name: x, env: %q}]",
			"inline": "transformers:\n- |-\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: x, 1: y}\n  1: {a: b}\n  pAth: %q\n",
			"list":   "transformers:\n- |-\n  apiVersion: builtin\n  kind: TransformerList\n  metadata: {name: x}\n  items: [{apiVersion: builtin, kind: PatchTransformer, metadata: {name: x}, path: %q}]\n",
			"second": "generators:\n- |-\n  # none\n  ---\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: x}\n  files: [%q]\n",
		} {
			_, err := Render(t.Context(), watched{mapFS(map[string]string{"kustomization.yaml": fmt.Sprintf(text, ref)}), t}, app.Render{})
			if err == nil {
				t.Errorf("%s %s: accepted", field, ref)
			}
		}
	}
}

// FuzzRender renders hostile trees, given as txtar archives.
func FuzzRender(f *testing.F) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range archives {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 4000 {
			f.Add(data)
		}
	}
	noNetwork(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		tree := fstest.MapFS{}
		for _, file := range txtar.Parse(data).Files {
			if !fs.ValidPath(file.Name) || len(tree) > 50 {
				continue
			}
			tree[file.Name] = &fstest.MapFile{Data: file.Data}
			if to, ok := strings.CutPrefix(string(file.Data), "-> "); ok {
				tree[file.Name] = &fstest.MapFile{Data: []byte(strings.TrimSpace(to)), Mode: fs.ModeSymlink | 0o777}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for _, mode := range []app.RenderMode{app.RenderAuto, app.RenderGenerated, app.RenderDirectory} {
			result, err := Options{MaxFiles: 500, MaxKustomizations: 50}.Render(ctx, watched{tree, t}, app.Render{Mode: mode})
			var failed *app.Failure
			if err != nil && !errors.As(err, &failed) {
				t.Fatalf("error of type %T", err)
			}
			for _, o := range result.Objects {
				if o.Origin.Path != "" && !fs.ValidPath(o.Origin.Path) {
					t.Errorf("origin %s", o.Origin)
				}
				if o.Digest() == "" {
					t.Errorf("%s cannot be marshalled", o)
				}
			}
		}
	})
}
