package bootstrap

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"plumb.dev/plumb/internal/object"
)

const (
	fluxSync = `apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: flux-system, namespace: flux-system}
spec: {interval: 1m, url: "https://git.example.org/team/fleet.git"}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: flux-system, namespace: flux-system}
`
	fluxComponents = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: source-controller}\n"
	namespaceOnly  = "apiVersion: v1\nkind: Namespace\nmetadata: {name: flux-system}\n"
	fluxList       = "kind: Kustomization\nresources:\n- gotk-components.yaml # of Flux\n  - ./gotk-components.yaml\n- gotk-sync.yaml\n"
)

func TestDraw(t *testing.T) {
	const c, f, p = "clusters/a/", "clusters/a/flux-system/", "clusters/a/plumb-system/"
	for _, test := range []struct {
		name      string
		files     map[string]string
		replace   bool
		secret    bool
		want      []string // of changed
		err, hint string   // what the error and its hint hold
		note      string
	}{
		{name: "nothing is there", want: []string{"+ " + p + "kustomization.yaml", "+ " + p + "plumb-components.yaml", "+ " + p + "plumb-sync.yaml"}},
		{name: "patches of users stay", files: map[string]string{p + "kustomization.yaml": "resources: [plumb-components.yaml, plumb-sync.yaml]\npatches: []\n", c + "apps.yaml": "a: b\n"},
			want: []string{"+ " + p + "plumb-components.yaml", "+ " + p + "plumb-sync.yaml"}},
		{name: "an older version", files: map[string]string{p + "plumb-components.yaml": "old"},
			want: []string{"+ " + p + "kustomization.yaml", "~ " + p + "plumb-components.yaml", "+ " + p + "plumb-sync.yaml"}},
		{name: "a list without Plumb", files: map[string]string{c + "kustomization.yaml": "resources: [apps.yaml]\n"},
			err: "clusters/a/kustomization.yaml lists", hint: "add plumb-system to its resources"},
		{name: "a list with Plumb", files: map[string]string{c + "kustomization.yml": "resources: [apps.yaml, ./plumb-system/]\n"},
			want: []string{"+ " + p + "kustomization.yaml", "+ " + p + "plumb-components.yaml", "+ " + p + "plumb-sync.yaml"}},
		{name: "a list that is none", files: map[string]string{c + "Kustomization": "resources: {"}, err: "clusters/a/Kustomization"},
		{name: "Flux's directory", files: map[string]string{f + "gotk-sync.yaml": fluxSync, f + "gotk-components.yaml": fluxComponents, f + "kustomization.yaml": fluxList},
			err: "holds Flux's own components", hint: "--replace-flux"},
		{name: "Flux's directory, replaced", replace: true,
			files: map[string]string{f + "gotk-sync.yaml": fluxSync, f + "gotk-components.yaml": fluxComponents,
				f + "kustomization.yaml": strings.Replace(fluxList, " # of Flux", "", 1), p + "plumb-sync.yaml": "old"},
			want: []string{"~ " + f + "kustomization.yaml", "+ " + p + "kustomization.yaml", "+ " + p + "plumb-components.yaml",
				"- " + p + "plumb-sync.yaml", "- " + f + "gotk-components.yaml"}},
		{name: "the namespace that adopt has left", files: map[string]string{f + "gotk-sync.yaml": fluxSync, f + "gotk-components.yaml": namespaceOnly},
			want: []string{"+ " + p + "kustomization.yaml", "+ " + p + "plumb-components.yaml", "- " + f + "gotk-components.yaml"}},
		{name: "listed in some other way", replace: true,
			files: map[string]string{f + "gotk-components.yaml": fluxComponents, f + "kustomization.yaml": "resources: [gotk-components.yaml]\n"},
			err:   "does not list gotk-components.yaml on a line of its own", hint: "by hand"},
		{name: "a sync of something else", files: map[string]string{f + "gotk-sync.yaml": namespaceOnly}, err: "does not hold the GitRepository"},
		{name: "a sync that follows another repository", note: "the cluster follows git.example.org/other/fleet",
			files: map[string]string{f + "gotk-sync.yaml": strings.Replace(fluxSync, "team", "other", 1)},
			want:  []string{"+ " + p + "kustomization.yaml", "+ " + p + "plumb-components.yaml"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := Options{URL: "https://git.example.org/team/fleet.git", Branch: "main", Path: "clusters/a", Components: []byte("a: b\n"), ReplaceFlux: test.replace}
			files := fstest.MapFS{}
			for name, text := range test.files {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
			var tree fs.FS = files
			if len(files) == 0 {
				tree = nil
			}
			l, err := draw(tree, o)
			if test.err != "" {
				var p *Problem
				if !errors.As(err, &p) || !strings.Contains(p.Error(), test.err) || !strings.Contains(p.Hint, test.hint) {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := changed(tree, l.change)
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got  %q, %v\nwant %q", got, err, test.want)
			}
			if notes := strings.Join(l.notes, "\n"); !strings.Contains(notes, test.note) || test.note == "" && notes != "" {
				t.Errorf("notes: %q", notes)
			}
		})
	}
}

// What makes a cluster follow its directory is YAML whatever the options hold,
// and holds no credentials.
func TestSync(t *testing.T) {
	o := Options{URL: "ssh://git@git.example.org/a: b #c.git", Branch: "feature/#1", Path: "clusters/a b", Secret: map[string][]byte{"password": []byte("correct-horse")}}
	text, err := o.sync()
	if err != nil {
		t.Fatal(err)
	}
	objects, err := object.Decode("plumb-sync.yaml", text)
	if err != nil || len(objects) != 2 {
		t.Fatalf("%d objects, %v:\n%s", len(objects), err, text)
	}
	spec := objects[0].Unstructured().Object["spec"].(map[string]any)
	if spec["url"] != o.URL || spec["ref"].(map[string]any)["branch"] != o.Branch || spec["secretRef"].(map[string]any)["name"] != Name {
		t.Errorf("got %v", spec)
	}
	if spec := objects[1].Unstructured().Object["spec"].(map[string]any); spec["path"] != "./clusters/a b" {
		t.Errorf("got %v", spec)
	}
	if strings.Contains(string(text), "correct-horse") {
		t.Error("credentials are in what is committed")
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct{ url, branch, path, err string }{
		{"https://git.example.org/a.git", "main", "clusters/a", ""},
		{"git@git.example.org:a.git", "release/1.x", "./a/", ""},
		{"/srv/git/a.git", "main", "a", "directory of this machine"},
		{"https://me:correct-horse@git.example.org/a.git", "main", "a", "credentials"},
		{"https://git.example.org/a.git", "a..b", "a", "--branch"},
		{"https://git.example.org/a.git", "-x", "a", "--branch"},
		{"https://git.example.org/a.git", "main", "../a", "--path"},
		{"https://git.example.org/a.git", "main", "/a", "--path"},
		{"https://git.example.org/a.git", "main", "", "--path"},
	} {
		o := Options{URL: test.url, Branch: test.branch, Path: test.path}
		err := o.complete()
		switch {
		case test.err == "" && err != nil:
			t.Errorf("%+v: %v", test, err)
		case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "correct-horse")):
			t.Errorf("%+v: got %v", test, err)
		}
	}
}
