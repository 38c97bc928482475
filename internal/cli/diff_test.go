package cli

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// apply brings objects into the cluster as an engine would have.
func (f *fixture) apply(manager, text string) {
	f.t.Helper()
	for _, u := range f.decode(text) {
		resource, err := f.resourceOf(u)
		if err != nil {
			f.t.Fatal(err)
		}
		_, err = f.cluster.Resource(resource).Namespace(f.namespace).Apply(f.t.Context(), u.GetName(), u,
			metav1.ApplyOptions{FieldManager: manager, Force: true})
		if err != nil {
			f.t.Fatal(err)
		}
	}
}

// files are what Git holds; what $MARK stands for is put on by Plumb.
var diffFiles = map[string]string{
	"app/same.yaml":   "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: same}\ndata: {colour: green}\n",
	"app/drifted.yml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: drifted}\ndata: {colour: green, size: big}\n",
	"app/new.yaml":    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\n",
	"app/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData: {password: correct-horse, user: same-user}\n",
}

const diffLive = `
apiVersion: v1
kind: ConfigMap
metadata: {name: same, $MARK}
data: {colour: green}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: drifted, $MARK}
data: {colour: red, size: big}
---
apiVersion: v1
kind: Secret
metadata: {name: keys, $MARK}
data: {password: aHVudGVyMjI=, user: c2FtZS11c2Vy}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: gone, $MARK}
`

// secretBytes are what no output may hold, in plain and as the API has it.
var secretBytes = []string{"correct-horse", "hunter22", "aHVudGVyMjI", "Y29ycmVjdC1ob3JzZ"}

func TestDiff(t *testing.T) {
	fluxMark := func(f *fixture, kind, name string) string {
		return "labels: {kustomize.toolkit.fluxcd.io/name: shop, kustomize.toolkit.fluxcd.io/namespace: " + f.namespace + "}"
	}
	argoMark := func(f *fixture, kind, name string) string {
		return `annotations: {argocd.argoproj.io/tracking-id: "` + f.namespace + `_shop:/` + kind + `:` + f.namespace + `/` + name + `"}`
	}
	for _, c := range []struct {
		name, arg, manager, resources string
		mark                          func(f *fixture, kind, name string) string
	}{
		{"Kustomization", "ks/shop", "kustomize-controller", `
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: fleet}
spec: {url: "$REPO", interval: 1h, ref: {branch: main}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop}
spec: {interval: 1h, prune: true, path: ./app, targetNamespace: $NS, sourceRef: {kind: GitRepository, name: fleet}}
status: {inventory: {entries: [{id: $NS_gone__ConfigMap, v: v1}]}}
`, fluxMark},
		{"Application", "app/shop", "argocd-controller", `
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop}
spec:
  project: default
  source: {repoURL: "$REPO", path: app, targetRevision: main}
  destination: {server: "https://kubernetes.default.svc", namespace: $NS}
  syncPolicy: {automated: {prune: true}}
status: {resources: [{version: v1, kind: ConfigMap, namespace: $NS, name: gone, status: Synced}]}
`, argoMark},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t).install()
			repo := sandboxtest.NewRepo(t, sandboxtest.Git(t), "fleet")
			first := repo.Write(diffFiles).Push("first")
			f.create(strings.ReplaceAll(c.resources, "$REPO", repo.URL))
			for _, u := range strings.Split(diffLive, "---\n") {
				kind, name := regexp.MustCompile(`kind: (\w+)`).FindStringSubmatch(u)[1], regexp.MustCompile(`name: (\w+)`).FindStringSubmatch(u)[1]
				f.apply(c.manager, strings.ReplaceAll(u, "$MARK", c.mark(f, kind, name)))
			}
			before := f.versions("drifted", "same", "gone")

			r := f.run("diff", c.arg, "-n", f.namespace).wants(t, ExitNo, []string{
				"+ ConfigMap/" + f.namespace + "/new  (app/new.yaml:1)",
				"~ ConfigMap/" + f.namespace + "/drifted  (app/drifted.yml:1)",
				".data.colour: red → green",
				"~ Secret/" + f.namespace + "/keys  (app/secret.yaml:1)", ".data.password: ",
				"- ConfigMap/" + f.namespace + "/gone  removed from Git",
			}, nil)
			for _, absent := range []string{"ConfigMap/" + f.namespace + "/same", ".data.size", ".data.user"} {
				if strings.Contains(r.stdout, absent) {
					t.Errorf("stdout tells of what is equal, %s:\n%s", absent, r.stdout)
				}
			}
			f.hides(r)

			r = f.run("diff", c.arg, "-n", f.namespace, "-o", "json").wants(t, ExitNo, nil, nil)
			f.hides(r)
			var got diffOutput
			if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
				t.Fatal(err)
			}
			verbs := map[string]string{}
			for _, change := range got.Changes {
				verbs[change.Name] = change.Verb
			}
			if len(verbs) != 4 || verbs["new"] != "create" || verbs["drifted"] != "change" || verbs["keys"] != "change" || verbs["gone"] != "delete" ||
				!got.Differs || got.Refused != "" || got.Revision.Commit != first {
				t.Errorf("got %+v", got)
			}
			if after := f.versions("drifted", "same", "gone"); after != before {
				t.Errorf("diff has written: versions were %s and are %s", before, after)
			}

			// What the API server refuses is said, with the place in Git.
			repo.Write(map[string]string{"app/new.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {a: {b: c}}\n"}).Push("refused")
			r = f.run("diff", c.arg, "-n", f.namespace).wants(t, ExitContent, nil, []string{"ConfigMap/" + f.namespace + "/new", "app/new.yaml:1"})
			f.hides(r)
			// What cannot be rendered, too.
			repo.Write(map[string]string{"app/new.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new\n"}).Push("broken")
			f.run("diff", c.arg, "-n", f.namespace).wants(t, ExitContent, nil, []string{"app/new.yaml"})
			// An older revision is still as it was.
			f.run("diff", c.arg, "-n", f.namespace, "--revision", first).wants(t, ExitNo, []string{".data.colour: red → green"}, nil)

			// Equal is equal.
			repo.Remove("app").Write(map[string]string{"app/same.yaml": diffFiles["app/same.yaml"],
				"app/gone.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: gone}\n"}).Push("equal")
			if r := f.run("diff", c.arg, "-n", f.namespace).wants(t, ExitOK, nil, nil); r.stdout != "" {
				t.Errorf("stdout:\n%s", r.stdout)
			}
		})
	}
}

// hides fails the test if an output shows a secret.
func (f *fixture) hides(r result) {
	f.t.Helper()
	for _, secret := range secretBytes {
		if strings.Contains(r.stdout+r.stderr, secret) {
			f.t.Errorf("the output shows %q:\n%s\n%s", secret, r.stdout, r.stderr)
		}
	}
}

// versions are the resourceVersions of ConfigMaps.
func (f *fixture) versions(names ...string) string {
	f.t.Helper()
	var out []string
	for _, name := range names {
		u := f.decode("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}")[0]
		resource, err := f.resourceOf(u)
		if err != nil {
			f.t.Fatal(err)
		}
		got, err := f.cluster.Resource(resource).Namespace(f.namespace).Get(f.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			f.t.Fatal(err)
		}
		out = append(out, got.GetResourceVersion())
	}
	return strings.Join(out, " ")
}
