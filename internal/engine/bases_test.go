package engine

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/source"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// counted serves the repositories of a Git server and counts requests. It
// fails the test if one carries credentials.
func counted(t *testing.T, handler http.Handler) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if _, _, sent := r.BasicAuth(); sent || r.Header.Get("Authorization") != "" {
			t.Error("credentials were sent")
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func kustomization(resources ...string) string {
	return "resources:\n- " + strings.Join(resources, "\n- ") + "\n"
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {v: %s}\n", name, value)
}

func TestBases(t *testing.T) {
	git := sandboxtest.Git(t)
	url, asked := counted(t, git)
	repo := sandboxtest.NewRepo(t, git, "base")
	one := repo.Write(map[string]string{
		"a/kustomization.yaml": kustomization("cm.yaml"), "a/cm.yaml": configMap("a", "one"), "readme": "one",
	}).Push("one")
	repo.Git("tag", "v1.2.3")
	repo.Git("push", "--quiet", "origin", "v1.2.3")
	deep := sandboxtest.NewRepo(t, git, "deep")
	deep.Write(map[string]string{"kustomization.yaml": kustomization(url + "/base.git//a?ref=" + one)}).Push("deep")

	store := source.Open(source.Options{Dir: t.TempDir()})
	tree := func(refs ...string) fstest.MapFS {
		return fstest.MapFS{"kustomization.yaml": {Data: []byte(kustomization(refs...))}}
	}
	build := func(tree fstest.MapFS, since time.Time) (string, []base, error) {
		b := newBases(store, since)
		result, used, err := b.render(t.Context(), render.Render, tree, app.Render{Kustomize: app.Kustomize{AllowRemoteBases: true}})
		var values []string
		for _, o := range result.Objects {
			data, _ := o.Unstructured().Object["data"].(map[string]any)
			values = append(values, fmt.Sprint(o.Ref().Name, "=", data["v"]))
		}
		return strings.Join(values, " "), used, err
	}

	start := time.Now()
	pinned, branch := tree(url+"/base.git//a?ref="+one), tree(url+"/base.git//a?ref=main")
	got, used, err := build(branch, start)
	if err != nil || got != "a=one" || len(used) != 1 || used[0].commit != one {
		t.Fatalf("got %s, %+v, %v", got, used, err)
	}
	before := asked.Load()
	if got, _, err := build(branch, start); err != nil || got != "a=one" || asked.Load() != before {
		t.Errorf("what is known for that time is asked for again: %s, %v", got, err)
	}
	if got, _, err := build(pinned, time.Now()); err != nil || got != "a=one" || asked.Load() != before {
		t.Errorf("a commit that is there is asked for: %s, %v", got, err)
	}
	if got, pins, err := build(tree(url+"/deep.git//"), time.Now()); err != nil || got != "a=one" || len(pins) != 2 {
		t.Errorf("a base upon a base: %s, %+v, %v", got, pins, err)
	}

	// A commit that touches nothing of the base, then one that does.
	repo.Write(map[string]string{"readme": "two"}).Push("two")
	if !newBases(store, time.Now()).hold(t.Context(), used) {
		t.Error("a change of what was not read counts")
	}
	three := repo.Write(map[string]string{"a/cm.yaml": configMap("a", "three")}).Push("three")
	if !newBases(store, start).hold(t.Context(), used) {
		t.Error("the answer changes without a new look")
	}
	if newBases(store, time.Now()).hold(t.Context(), used) {
		t.Error("a moved branch is not noticed")
	}
	if got, used, err := build(branch, time.Now()); err != nil || got != "a=three" || used[0].commit != three {
		t.Errorf("got %s, %+v, %v", got, used, err)
	}
	if got, _, err := build(pinned, time.Now()); err != nil || got != "a=one" {
		t.Errorf("a pinned base moved: %s, %v", got, err)
	}

	for name, test := range map[string]struct{ ref, want string }{
		"version range":  {url + "/base.git//a?ref=v1", `"v1" is no branch, tag or commit`},
		"no such ref":    {url + "/base.git//a?ref=nope", "nope"},
		"no repository":  {url + "/nope.git//a", "remote base " + url + "/nope.git"},
		"no directory":   {url + "/base.git//nope", "no such file or directory"},
		"this machine":   {"file://" + git.Dir("base") + "//a", "file URLs are not allowed here"},
		"unreachable":    {"http://127.0.0.1:1/org/base.git", "remote base http://127.0.0.1:1/org/base.git"},
		"with a user":    {strings.Replace(url, "://", "://me@", 1) + "/nope.git", "remote base " + url + "/nope.git"},
		"ssh":            {"git@host.example:org/base.git", "an ssh URL needs a key"},
		"with passwords": {strings.Replace(url, "://", "://me:hunter2@", 1) + "/base.git", "an address may hold no password"},
	} {
		_, used, err := build(tree(test.ref), time.Now())
		f := app.AsFailure(err, app.StageFetch)
		if f == nil || f.Stage != app.StageRender || !strings.Contains(f.Error(), test.want) || strings.Contains(f.Error()+f.Hint, "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "no such ref" {
			if len(used) != 1 || newBases(store, time.Now()).hold(t.Context(), used) {
				t.Errorf("what failed is not tried again: %+v", used)
			}
		}
	}
	var many []string
	for i := range maxBases + 1 {
		many = append(many, fmt.Sprintf("%s/base.git//a?ref=b%d", url, i))
	}
	before = asked.Load()
	if _, _, err := build(tree(many...), time.Now()); err == nil || !strings.Contains(err.Error(), "more than 64 remote bases") || asked.Load() != before {
		t.Errorf("%d bases: %v", len(many), err)
	}
}

// TestEndlessBases builds on a base that builds on another commit of itself,
// and so on.
func TestEndlessBases(t *testing.T) {
	git := sandboxtest.Git(t)
	repo := sandboxtest.NewRepo(t, git, "base")
	last := repo.Write(map[string]string{"kustomization.yaml": kustomization("cm.yaml"), "cm.yaml": configMap("a", "b")}).Push("first")
	for range maxBaseRounds + 1 {
		last = repo.Write(map[string]string{"kustomization.yaml": kustomization(repo.URL + "?ref=" + last)}).Push("next")
	}
	store := source.Open(source.Options{Dir: t.TempDir()})
	tree := fstest.MapFS{"kustomization.yaml": {Data: []byte(kustomization(repo.URL + "?ref=" + last))}}
	_, err := RenderFunc(render.Render).WithBases(store)(t.Context(), tree, app.Render{})
	if err == nil || !strings.Contains(err.Error(), "more than 16 deep") {
		t.Errorf("got %v", err)
	}
}
