package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// shopFiles is a base, an overlay upon it, and plain manifests.
const shopFiles = `
-- base/kustomization.yaml --
resources: [deploy.yaml]
-- base/deploy.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 1
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: api, image: registry.example/api}]}
-- overlays/production/kustomization.yaml --
namespace: shop
resources: [../../base, secret.yaml]
images: [{name: registry.example/api, newTag: v1.4.0}]
-- overlays/production/secret.yaml --
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {token: hunter2}
-- plain/one.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: one}
-- plain/below/two.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: two}
-- empty/readme.md --
Nothing to see.
-- broken/bad.yaml --
apiVersion: v1
kind: ConfigMap
metadata:
  name: [one
-- outside/kustomization.yaml --
resources: [../../../../etc]
`

// shopRepo is a clone with the files committed and pushed.
func shopRepo(t *testing.T) *sandboxtest.Repo {
	t.Helper()
	repo := sandboxtest.NewRepo(t, sandboxtest.Git(t), "shop").WriteArchive(shopFiles)
	repo.Push("All there is")
	return repo
}

func TestBuildDirectory(t *testing.T) {
	repo := shopRepo(t)
	production := filepath.Join(repo.Dir, "overlays/production")
	r := run(t.Context(), Environment{}, "build", production).wants(t, ExitOK,
		[]string{"kind: Deployment", "namespace: shop", "image: registry.example/api:v1.4.0", "kind: Secret", "token: <secret "}, nil)
	if strings.Contains(r.stdout, "hunter2") || strings.Contains(r.stdout, "aHVudGVyMg") {
		t.Error("the secret is shown")
	}
	run(t.Context(), Environment{}, "build", production, "--show-secrets").wants(t, ExitOK, []string{"hunter2"}, nil)
	run(t.Context(), Environment{}, "build", production, "-o", "json").wants(t, ExitOK, []string{`"kind": "List"`, `"kind": "Deployment"`}, nil)
	names := run(t.Context(), Environment{}, "build", production, "-o", "name").wants(t, ExitOK, nil, nil)
	if names.stdout != "Secret/shop/token\nDeployment/shop/api\n" && names.stdout != "Deployment/shop/api\nSecret/shop/token\n" {
		t.Errorf("names:\n%s", names.stdout)
	}

	plain := filepath.Join(repo.Dir, "plain")
	if r := run(t.Context(), Environment{}, "build", plain, "-o", "name").wants(t, ExitOK, []string{"ConfigMap/one"}, nil); strings.Contains(r.stdout, "two") {
		t.Errorf("read subdirectories unasked:\n%s", r.stdout)
	}
	run(t.Context(), Environment{}, "build", plain, "-o", "name", "--recurse").wants(t, ExitOK, []string{"ConfigMap/one", "ConfigMap/two"}, nil)
	run(t.Context(), Environment{}, "build", plain, "-o", "name", "--mode", "generated").wants(t, ExitOK, []string{"ConfigMap/one", "ConfigMap/two"}, nil)
	run(t.Context(), Environment{}, "build", plain, "--mode", "kustomize").wants(t, ExitContent, nil, []string{"there is no kustomization.yaml", "hint: add a kustomization.yaml"})
	run(t.Context(), Environment{}, "build", filepath.Join(repo.Dir, "empty")).wants(t, ExitOK, nil, []string{"holds no manifests", "hint: files count", "--recurse"})
	run(t.Context(), Environment{}, "build", filepath.Join(repo.Dir, "broken")).wants(t, ExitContent, nil, []string{"plumb: in " + root(t, repo.Dir) + ": broken/bad.yaml:"})
	run(t.Context(), Environment{}, "build", filepath.Join(repo.Dir, "outside")).wants(t, ExitContent, nil, []string{"outside/kustomization.yaml"})
	run(t.Context(), Environment{}, "build", filepath.Join(repo.Dir, "nowhere")).wants(t, ExitNotFound, nil, []string{"nowhere does not exist", "hint: name a directory"})
	run(t.Context(), Environment{}, "build", filepath.Join(plain, "one.yaml")).wants(t, ExitNotFound, nil, []string{"one.yaml is a file, not a directory", "hint: name its directory: plumb build " + plain})

	for name, c := range map[string]struct{ file, text, says, hint string }{
		"a tab":              {"cm.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: a\n", "cm.yaml:4: the line is indented by a tab", "correct the file"},
		"a chart":            {"Chart.yaml", "apiVersion: v2\nname: c\nversion: 0.1.0\n", "Chart.yaml:1: kind is missing", "the directory is a Helm chart"},
		"a missing resource": {"kustomization.yaml", "resources: [none.yaml]\n", "kustomization.yaml:1: resources: none.yaml: no such file", "correct the name"},
		"a way out":          {"kustomization.yaml", "resources: [../cm.yaml]\n", "kustomization.yaml:1: resources: ../cm.yaml leaves the source tree", "only what is in the same source"},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			run(t.Context(), Environment{}, "build", dir).wants(t, ExitContent, nil, []string{"plumb: in " + root(t, dir) + ": " + c.says, "hint: " + c.hint})
		})
	}
}

// root is a directory as messages name it.
func root(t *testing.T, dir string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

func TestBuildStaysInsideItsTree(t *testing.T) {
	outer := t.TempDir()
	repo := filepath.Join(outer, "repo")
	for path, text := range map[string]string{
		"secret/kustomization.yaml":   "resources: [one.yaml]\n",
		"secret/one.yaml":             "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: outside}\n",
		"repo/.git/HEAD":              "ref: refs/heads/main\n",
		"repo/app/kustomization.yaml": "resources: [../../secret]\n",
		"repo/link/readme":            "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(outer, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(outer, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../secret/one.yaml", filepath.Join(repo, "link/one.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"app", "link"} {
		r := run(t.Context(), Environment{}, "build", filepath.Join(repo, dir)).wants(t, ExitContent, nil, nil)
		if strings.Contains(r.stdout, "outside") {
			t.Errorf("%s: read outside of the repository", dir)
		}
	}
}

func TestBuildRevision(t *testing.T) {
	repo := shopRepo(t)
	repo.Git("tag", "v1.0.0")
	repo.Git("push", "--quiet", "origin", "v1.0.0")
	repo.Write(map[string]string{"plain/three.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: three}\n"})
	repo.Remove("base")
	repo.Push("Another")
	plain := filepath.Join(repo.Dir, "plain")

	if r := run(t.Context(), Environment{}, "build", plain, "--revision", "v1.0.0", "-o", "name").wants(t, ExitOK, []string{"ConfigMap/one"}, nil); strings.Contains(r.stdout, "three") {
		t.Errorf("a later commit is rendered:\n%s", r.stdout)
	}
	run(t.Context(), Environment{}, "build", filepath.Join(repo.Dir, "base"), "--revision", "v1.0.0", "-o", "name").wants(t, ExitOK, []string{"Deployment/api"}, nil)
	env := Environment{CacheDir: t.TempDir()}
	for range 2 { // the second time from the cache
		run(t.Context(), env, "build", "plain", "--repo", repo.URL, "-o", "name").wants(t, ExitOK, []string{"ConfigMap/three"}, nil)
	}
	run(t.Context(), env, "build", "plain", "--repo", repo.Dir, "--revision", "HEAD~1").wants(t, ExitNotFound, nil, nil)
	run(t.Context(), env, "build", "plain", "--repo", repo.URL, "--revision", "v9").wants(t, ExitNotFound, nil, []string{"v9"})
	run(t.Context(), env, "build", "nowhere", "--repo", repo.URL).wants(t, ExitNotFound, nil, []string{`"nowhere"`})
	run(t.Context(), env, "build", "plain", "--repo", "http://127.0.0.1:1/x.git").wants(t, ExitUnreachable, nil, nil)
	run(t.Context(), env, "build", t.TempDir(), "--revision", "main").wants(t, ExitUsage, nil, []string{"is not in a Git repository", "hint: name one with --repo"})
}

func TestCacheIsForOneProcess(t *testing.T) {
	p := &program{env: Environment{CacheDir: t.TempDir()}}
	first, doneFirst, err := p.cache("x")
	if err != nil {
		t.Fatal(err)
	}
	second, doneSecond, err := p.cache("x")
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Error("two at once in one directory")
	}
	doneSecond()
	if _, err := os.Stat(second); err == nil {
		t.Error("the temporary directory stays")
	}
	doneFirst()
	again, done, err := p.cache("x")
	if err != nil || again != first {
		t.Errorf("%v: %s, not %s", err, again, first)
	}
	done()
}
