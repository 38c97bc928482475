package fluxcli

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func testCheck(t *testing.T, w *world, c *client) {
	w.run("-n", "flux-system", "rollout", "status", "deployment/plumb", "--timeout=90s")
	if err := c.check(); err != nil {
		t.Errorf("%v\n%s", err, c.printed())
		return
	}
	var stored []string
	for _, k := range kinds() {
		stored = append(stored, "✔ "+k.resource.GroupResource().String()+"/"+k.resource.Version)
	}
	slices.Sort(stored)
	is(t, c.printed(), `
► checking prerequisites
✔ Kubernetes `+strings.TrimPrefix(w.cluster.Version, "v")+` >=1.33.0-0
► checking version in cluster
✔ distribution: flux-v2.9.0
✔ bootstrapped: false
► checking controllers
✔ plumb: deployment ready
► registry.example.org:5000/team/plumb:v1.2.3
► checking crds
`+strings.Join(stored, "\n")+`
✔ all checks passed
`)
	elsewhere := c.in("plumb-system")
	if err := elsewhere.check(); err == nil {
		t.Errorf("an installation in another namespace is found:\n%s", elsewhere.printed())
	}
}

func testVersion(t *testing.T, w *world, c *client) {
	if err := c.version(); err != nil {
		t.Error(err)
	}
	is(t, c.printed(), "distribution: flux-v2.9.0\nplumb: v1.2.3")
}

func testGet(t *testing.T, w *world, c *client) {
	var all []string
	last := ""
	var child string
	for _, s := range w.subjects() {
		at := c.in(s.namespace)
		if err := at.table(s.kind, getOptions{name: s.name}); err != nil {
			t.Error(err)
		}
		is(t, at.printed(), header+"\n"+s.row(false))
		if s.kind.name != last {
			all, last = append(all, "NAMESPACE\t"+header), s.kind.name
		}
		all = append(all, s.namespace+"\t"+strings.ToLower(s.kind.name)+"/"+s.row(false))
		if s.name == "child" {
			child = s.row(false)
		}
		if s.name == "charts" { // of those in a registry there is nothing to fetch
			all = append(all, "flux-system\thelmrepository/registry\t\tFalse\tTrue\tHelm repository is Ready")
		}
	}
	if err := c.all(); err != nil {
		t.Error(err)
	}
	is(t, c.printed(), strings.Join(all, "\n"))
	for _, command := range []struct {
		opts getOptions
		want string
	}{
		{getOptions{name: "nothing"}, "✗ Kustomization object 'nothing' not found in \"flux-system\" namespace"},
		{getOptions{selector: "ready=false"}, header},
		{getOptions{selector: "Ready!=false", all: true, name: "child"}, "NAMESPACE\t" + header + "\nshop\t" + child},
	} {
		if err := c.table(kustomization(), command.opts); err != nil {
			t.Error(err)
		}
		is(t, c.printed(), command.want)
	}
	for _, r := range absent() {
		if _, err := c.dynamic.Resource(r).List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s is served, and no kind of the table: %v", r.Resource, err)
		}
	}
}

func testTree(t *testing.T, w *world, c *client) {
	if err := c.tree("apps", false); err != nil {
		t.Error(err)
	}
	got := strings.Split(strings.TrimSpace(c.printed()), "\n")
	slices.Sort(got)
	is(t, strings.Join(got, "\n"), `
Kustomization/flux-system/apps
│   ├── ConfigMap/shop/db
│   ├── ConfigMap/shop/queue
│   ├── ConfigMap/shop/settings
├── ClusterRole/shop:reader
├── Deployment/shop/web
├── HelmRelease/shop/db
├── HelmRelease/shop/queue
├── Kustomization/shop/child
├── Namespace/shop
├── Secret/shop/web
├── Service/shop/web`)
	if err := c.tree("apps", true); err != nil {
		t.Error(err)
	}
	got = strings.Split(strings.TrimSpace(c.printed()), "\n")
	slices.Sort(got)
	is(t, strings.Join(got, "\n"), "Kustomization/flux-system/apps\n├── HelmRelease/shop/db\n├── HelmRelease/shop/queue\n├── Kustomization/shop/child")
}

func testTrace(t *testing.T, w *world, c *client) {
	long, _ := w.revision()
	shop := c.in("shop")
	if err := shop.trace(appsv1.SchemeGroupVersion.WithResource("deployments"), "web"); err != nil {
		t.Error(err)
	}
	chain := `
Status: Managed by Flux
---
Kustomization: apps
Namespace: flux-system
Path: ./apps
Revision: ` + long + `
Status: Last reconciled
Message: Applied revision: ` + long + `
---
GitRepository: fleet
Namespace: flux-system
Branch: main
Revision: ` + long + `
Status: Last reconciled
Message: stored artifact for revision '` + long + `'`
	is(t, shop.printed(), "Object: Deployment/web\nNamespace: shop"+chain)
	pods, err := c.core.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil || len(pods.Items) == 0 {
		t.Fatalf("no pod of the Deployment: %v", err)
	}
	if err := shop.trace(corev1.SchemeGroupVersion.WithResource("pods"), pods.Items[0].Name); err != nil {
		t.Error(err)
	}
	is(t, shop.printed(), "Object: Pod/"+pods.Items[0].Name+"\nNamespace: shop"+chain)
}

func testTraceHelm(t *testing.T, w *world, c *client) {
	long, _ := w.revision()
	shop := c.in("shop")
	if err := shop.trace(corev1.SchemeGroupVersion.WithResource("configmaps"), "db"); err != nil {
		t.Error(err)
	}
	is(t, shop.printed(), `
Object: ConfigMap/db
Namespace: shop
Status: Managed by Flux
---
HelmRelease: db
Namespace: shop
Revision: 1.0.0
Status: Last reconciled
Message: Helm install succeeded for release shop/db.v1 with chart db@1.0.0
---
HelmChart: shop-db
Namespace: flux-system
Chart: ./charts/db
Revision: 1.0.0
Status: Last reconciled
Message: packaged 'db' chart with version '1.0.0'
---
GitRepository: fleet
Namespace: flux-system
Branch: main
Revision: `+long+`
Status: Last reconciled
Message: stored artifact for revision '`+long+`'`)
	if err := shop.trace(corev1.SchemeGroupVersion.WithResource("configmaps"), "packed"); err != nil {
		t.Error(err)
	}
	if got := shop.printed(); !strings.Contains(got, "OCIRepository: packed\nNamespace: flux-system\nRevision: "+w.packed+"\n") {
		t.Errorf("printed\n%s", got)
	}
	for name, source := range map[string]string{"stored": "Bucket: store", "given": "ExternalArtifact: given"} {
		if err := shop.trace(corev1.SchemeGroupVersion.WithResource("configmaps"), name); err != nil {
			t.Error(err)
		}
		got := shop.printed()
		for _, want := range []string{"Kustomization: " + name + "\n", "---\n" + source + "\nNamespace: flux-system\nRevision: ", "sha256:"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in\n%s", want, got)
			}
		}
		if err := c.tree(name, false); err != nil {
			t.Error(err)
		}
		is(t, c.printed(), "Kustomization/flux-system/"+name+"\n├── ConfigMap/shop/"+name)
	}
	if err := shop.trace(corev1.SchemeGroupVersion.WithResource("configmaps"), "kube-root-ca.crt"); err == nil || err.Error() != "object not managed by Flux" {
		t.Errorf("what is not delivered: %v", err)
	}
}

func testEvents(t *testing.T, w *world, c *client) {
	long, _ := w.revision()
	events, err := c.events(kustomization(), "apps")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Normal\tNewArtifact\tGitRepository/fleet\t",
		"Normal\tProgressing\tKustomization/apps\tNamespace/shop created",
	} {
		if !strings.Contains(c.out.String(), want) {
			t.Errorf("no %q in\n%s", want, c.out.String())
		}
	}
	c.printed()
	if _, err := c.events(kustomization(), "stored"); err != nil {
		t.Error(err)
	}
	if got := c.printed(); !strings.Contains(got, "Normal\tNewArtifact\tBucket/store\t") || !strings.Contains(got, "Kustomization/stored") {
		t.Errorf("printed\n%s", got)
	}
	shop := c.in("shop")
	if _, err := shop.events(helmRelease(), "db"); err != nil {
		t.Error(err)
	}
	got := shop.printed()
	for _, want := range []string{
		"Normal\tInstallSucceeded\tHelmRelease/db\t", "Normal\tChartPackageSucceeded\tHelmChart/shop-db\t", "Normal\tNewArtifact\tGitRepository/fleet\t",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	for _, e := range events {
		o := e.InvolvedObject
		if e.FirstTimestamp.IsZero() || e.LastTimestamp.IsZero() || e.Count < 1 || e.Source.Component == "" || e.ReportingController == "" ||
			o.APIVersion == "" || o.Namespace != "flux-system" || o.UID == "" {
			t.Errorf("an event lacks something: %+v", e)
		}
		if e.Reason == "Progressing" && e.Annotations["kustomize.toolkit.fluxcd.io/revision"] != long {
			t.Errorf("annotations %v", e.Annotations)
		}
	}
}

// After a delivery the command finds nothing to change; and what it finds
// otherwise is what there is.
func testDiff(t *testing.T, w *world, c *client) {
	variables := map[string]string{"tag": "v1", "colour": "blue"}
	build := func() string { return w.run("kustomize", w.repo.Dir+"/apps") }
	diff := func(name, text string) (string, bool) {
		t.Helper()
		objects, err := c.built(name, text, variables)
		if err != nil {
			t.Fatal(err)
		}
		changed, err := c.diff(name, objects)
		if err != nil {
			t.Error(err)
		}
		return c.printed(), changed
	}
	text := build()
	if got, changed := diff("apps", text); changed || got != "" {
		t.Errorf("nothing has changed, and it prints\n%s", got)
	}
	w.repo.Write(map[string]string{
		"apps/more.yaml":          "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: more}\n",
		"apps/kustomization.yaml": "namespace: shop\nresources: [namespace.yaml, web.yaml, more.yaml, child.yaml, release.yaml]\nreplicas: [{name: web, count: 3}]\n",
	})
	got, changed := diff("apps", build())
	w.repo.Git("checkout", "--", ".")
	w.repo.Git("clean", "-fdq")
	lines := strings.Split(strings.TrimSpace(got), "\n")
	slices.Sort(lines)
	if want := []string{"► ClusterRole//shop:reader deleted", "► ConfigMap/shop/more created", "► Deployment/shop/web drifted"}; !changed || !slices.Equal(lines, want) {
		t.Errorf("printed %q, wanted %q", lines, want)
	}
}

func testExport(t *testing.T, w *world, c *client) {
	for _, e := range []struct {
		kind       kind
		name, want string
	}{
		{gitRepository(), "fleet", fmt.Sprintf(`
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata:
  name: fleet
  namespace: flux-system
spec:
  interval: 1h0m0s
  ref:
    branch: main
  timeout: 1m0s
  url: %s`, w.repo.URL)},
		{bucket(), "store", fmt.Sprintf(`
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: Bucket
metadata:
  name: store
  namespace: flux-system
spec:
  bucketName: store
  endpoint: %s
  insecure: true
  interval: 1h0m0s
  provider: generic
  secretRef:
    name: store
  timeout: 1m0s`, w.store.Endpoint)},
		{externalArtifact(), "given", `
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: ExternalArtifact
metadata:
  name: given
  namespace: flux-system
spec:
  sourceRef:
    apiVersion: example.org/v1
    kind: Maker
    name: given`},
		{kustomization(), "apps", `
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: apps
  namespace: flux-system
spec:
  interval: 1h0m0s
  path: ./apps
  postBuild:
    substitute:
      colour: blue
    substituteFrom:
    - kind: ConfigMap
      name: variables
  prune: true
  sourceRef:
    kind: GitRepository
    name: fleet
  timeout: 2m0s
  wait: true`},
	} {
		text, err := c.export(e.kind, e.name)
		if err != nil {
			t.Error(err)
		}
		is(t, text, e.want)
		w.apply(text, "--force-conflicts") // it is the same resource, in other words
		if _, err := c.poll(e.kind, e.name, objectReady(e.kind)); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
	}
}

func testDebug(t *testing.T, w *world, c *client) {
	if err := c.debugVariables("apps"); err != nil {
		t.Error(err)
	}
	is(t, c.printed(), "colour=blue\ntag=v1")
	if err := c.debugStatus("apps"); err != nil {
		t.Error(err)
	}
	got := c.printed()
	values, history, err := c.in("shop").debugRelease("db")
	if err != nil {
		t.Error(err)
	}
	is(t, values, "size: small")
	if !strings.Contains(history, "chartVersion: 1.0.0\n") || !strings.Contains(history, "status: deployed\n") {
		t.Errorf("history\n%s", history)
	}
	for _, want := range []string{"lastAppliedRevision: main@sha1:", "observedGeneration: ", "id: shop_web_apps_Deployment", "history:"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func testLogs(t *testing.T, w *world, c *client) {
	pods, err := c.logPods()
	if err != nil || len(pods) != 1 || !slices.ContainsFunc(pods[0].Spec.Containers, func(c corev1.Container) bool { return c.Name == "manager" }) {
		t.Errorf("pods %v, %v", pods, err)
	}
	for _, l := range []struct {
		filter logLine
		want   string
	}{
		{logLine{Kind: "Kustomization", Name: "apps"}, `^info Kustomization/apps\.flux-system - delivered \n`},
		{logLine{Kind: "gitrepository"}, `^info GitRepository/fleet\.flux-system - new revision \n`},
		{logLine{}, `info  - delivering `},
	} {
		if err := c.logs(w.logged(), l.filter); err != nil {
			t.Error(err)
		}
		if got := c.printed(); !regexp.MustCompile(l.want).MatchString(got) {
			t.Errorf("%+v: no %s in\n%s", l.filter, l.want, got)
		}
	}
}

// metrics reads the engine's series.
func (w *world) metrics(t *testing.T) string {
	t.Helper()
	resp, err := http.Get(w.http + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func testMetrics(t *testing.T, w *world, c *client) {
	got := w.metrics(t)
	for _, want := range []string{
		`gotk_reconcile_duration_seconds_count{kind="Kustomization",name="apps",namespace="flux-system"} [1-9]`,
		`gotk_reconcile_duration_seconds_count{kind="GitRepository",name="fleet",namespace="flux-system"} [1-9]`,
		`gotk_reconcile_condition{kind="Kustomization",name="child",namespace="shop",status="True",type="Ready"} 1\n`,
		`gotk_reconcile_condition{kind="GitRepository",name="fleet",namespace="flux-system",status="False",type="Ready"} 0\n`,
		`gotk_suspend_status{kind="Kustomization",name="apps",namespace="flux-system"} 0\n`,
	} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}
