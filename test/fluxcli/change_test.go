package fluxcli

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

func testReconcile(t *testing.T, w *world, c *client) {
	w.repo.Write(map[string]string{"child/settings.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\ndata: {a: c}\n"}).Push("two")
	long, _ := w.revision()
	if err := c.reconcile(kustomization(), "apps", reconcileOptions{withSource: true}); err != nil {
		t.Error(err)
	}
	is(t, c.printed(), `
► annotating GitRepository fleet in flux-system namespace
✔ GitRepository annotated
◎ waiting for GitRepository reconciliation
✔ fetched revision `+long+`
► annotating Kustomization apps in flux-system namespace
✔ Kustomization annotated
◎ waiting for Kustomization reconciliation
✔ applied revision `+long)
	if err := c.reconcile(kustomization(), "packed", reconcileOptions{withSource: true}); err != nil {
		t.Error(err)
	}
	is(t, c.printed(), `
► annotating OCIRepository packed in flux-system namespace
✔ OCIRepository annotated
◎ waiting for OCIRepository reconciliation
✔ fetched revision `+w.packed+`
► annotating Kustomization packed in flux-system namespace
✔ Kustomization annotated
◎ waiting for Kustomization reconciliation
✔ applied revision `+w.packed)
	stored := w.run("get", "bucket", "store", "-n", "flux-system", "-o", "jsonpath={.status.artifact.revision}")
	if err := c.reconcile(kustomization(), "stored", reconcileOptions{withSource: true}); err != nil {
		t.Error(err)
	}
	if got := c.printed(); !strings.HasPrefix(got, "► annotating Bucket store in flux-system namespace\n") || !strings.HasSuffix(got, "✔ applied revision "+stored+"\n") {
		t.Errorf("printed\n%s", got)
	}
	shop := c.in("shop")
	for release, source := range map[string]string{"db": "GitRepository fleet", "queue": "HelmRepository charts"} {
		if err := shop.reconcile(helmRelease(), release, reconcileOptions{withSource: true}); err != nil {
			t.Errorf("%s: %v\n%s", release, err, w.logged())
		}
		var steps []string
		for line := range strings.SplitSeq(shop.printed(), "\n") {
			if what, ok := strings.CutPrefix(line, "► annotating "); ok {
				steps = append(steps, what)
			}
		}
		if want := []string{source + " in flux-system namespace", "HelmChart shop-" + release + " in flux-system namespace", "HelmRelease " + release + " in shop namespace"}; !slices.Equal(steps, want) {
			t.Errorf("reconciled %q, wanted %q", steps, want)
		}
	}
	if err := c.reconcile(helmRepository(), "registry", reconcileOptions{}); err != nil {
		t.Error(err)
	}
	is(t, c.printed(), "✔ reconciliation not supported by the object")
	for _, s := range w.subjects() {
		if s.kind.passive {
			continue
		}
		at := c.in(s.namespace)
		for range 2 { // the second time there is nothing to do, and still an answer
			if err := at.reconcile(s.kind, s.name, reconcileOptions{}); err != nil {
				t.Errorf("%s %s: %v\n%s", s.kind.name, s.name, err, w.logged())
			}
			is(t, at.printed(), fmt.Sprintf(`
► annotating %[1]s %[2]s in %[4]s namespace
✔ %[1]s annotated
◎ waiting for %[1]s reconciliation
%[3]s`, s.kind.name, s.name, s.done(), s.namespace))
		}
	}
}

func testSuspend(t *testing.T, w *world, c *client) {
	for _, s := range w.subjects() {
		if s.kind.passive {
			continue
		}
		at := c.in(s.namespace)
		watching := make(chan error, 1)
		watcher := at.in(s.namespace)
		go func() { watching <- watcher.watch(s.kind, s.name, s.row(true)) }()
		if err := at.suspend(s.kind, s.name); err != nil {
			t.Fatal(err)
		}
		if err := <-watching; err != nil {
			t.Errorf("%s %s: get --watch: %v\n%s", s.kind.name, s.name, err, watcher.printed())
		}
		is(t, at.printed(), fmt.Sprintf("► suspending %[1]s %[2]s in %[3]s namespace\n✔ %[1]s suspended", s.kind.human, s.name, s.namespace))
		if err := at.table(s.kind, getOptions{name: s.name}); err != nil {
			t.Error(err)
		}
		is(t, at.printed(), header+"\n"+s.row(true))
		if err := at.reconcile(s.kind, s.name, reconcileOptions{}); err == nil || err.Error() != "resource is suspended" {
			t.Errorf("reconcile of what is suspended: %v", err)
		}
		if err := at.resume(s.kind, s.name); err != nil {
			t.Fatalf("%s %s: %v\n%s", s.kind.name, s.name, err, w.logged())
		}
		is(t, at.printed(), fmt.Sprintf(`
► resuming %[1]s %[2]s in %[5]s namespace
✔ %[1]s resumed
◎ waiting for %[3]s reconciliation
✔ %[3]s %[2]s reconciliation completed
%[4]s`, s.kind.human, s.name, s.kind.name, s.done(), s.namespace))
	}
}

// A forced HelmRelease is upgraded although nothing has changed.
func testForce(t *testing.T, w *world, c *client) {
	shop := c.in("shop")
	for version, opts := range []reconcileOptions{{force: true}, {reset: true}, {force: true}} {
		if err := shop.reconcile(helmRelease(), "db", opts); err != nil {
			t.Fatalf("%+v: %v\n%s", opts, err, w.logged())
		}
		if got := shop.printed(); !strings.HasSuffix(got, "✔ applied revision 1.0.0\n") || strings.Contains(got, "HelmChart") != opts.force {
			t.Errorf("%+v: printed\n%s", opts, got)
		}
		want := []int{2, 2, 3}[version]
		if got := w.run("get", "hr", "db", "-n", "shop", "-o", "jsonpath={.status.history[0].version}"); got != fmt.Sprint(want) {
			t.Errorf("%+v: version %s, wanted %d", opts, got, want)
		}
	}
}

// What fails is answered too: the command finds the request handled, and says
// what is wrong as soon as it has given up waiting.
func testFailures(t *testing.T, w *world, c *client) {
	c.timeout = 5 * time.Second
	w.apply(`
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: broken, namespace: flux-system}
spec: {interval: 1h, path: ./broken, prune: true, sourceRef: {kind: GitRepository, name: fleet}}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: away, namespace: flux-system}
spec: {url: "` + strings.Replace(w.repo.URL, "fleet", "away", 1) + `", interval: 1h}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: stalled, namespace: flux-system}
spec: {url: "https://example.org:port/", interval: 1h}
`)
	failing := []struct {
		kind    kind
		name    string
		stalled bool // then the command says so at once
		message string
	}{
		{kustomization(), "broken", false, "broken/pod.yaml"},
		{gitRepository(), "away", false, "away"},
		{gitRepository(), "stalled", true, ""},
	}
	for _, f := range failing {
		o, _, err := c.get(f.kind, f.name)
		if err != nil {
			t.Fatal(err)
		}
		before := f.kind.handled(o)
		err = c.reconcile(f.kind, f.name, reconcileOptions{})
		if err == nil {
			t.Errorf("%s %s is reconciled:\n%s", f.kind.name, f.name, c.printed())
			continue
		}
		if stopped := strings.Contains(err.Error(), "deadline"); stopped == f.stalled {
			t.Errorf("%s %s: %v", f.kind.name, f.name, err)
		}
		if o, _, err = c.get(f.kind, f.name); err != nil {
			t.Fatal(err)
		}
		if f.kind.handled(o) == before {
			t.Errorf("%s %s: the request is not marked as handled: %+v", f.kind.name, f.name, o)
		}
		c.printed()
		if err := c.table(f.kind, getOptions{name: f.name, selector: "ready=false"}); err != nil {
			t.Error(err)
		}
		if got := c.printed(); !strings.Contains(got, "\tFalse\tFalse\t") || !strings.Contains(got, f.message) {
			t.Errorf("%s %s: printed\n%s", f.kind.name, f.name, got)
		}
		if err := c.logs(w.logged(), logLine{Kind: f.kind.name, Name: f.name, Level: "error"}); err != nil {
			t.Error(err)
		}
		if got := c.printed(); !strings.HasPrefix(got, "error "+f.kind.name+"/"+f.name+".flux-system - ") {
			t.Errorf("%s %s: logged\n%s", f.kind.name, f.name, got)
		}
	}
	c.stats()
	lines := strings.Split(regexp.MustCompile(`(?m)\t[^\t]+$`).ReplaceAllString(strings.TrimSpace(c.printed()), ""), "\n")
	for _, want := range []string{"RECONCILERS\tRUNNING\tFAILING\tSUSPENDED", "GitRepository\t3\t2\t0", "Kustomization\t6\t1\t0", "Bucket\t1\t0\t0", "ExternalArtifact\t1\t0\t0"} {
		if !slices.Contains(lines, want) || len(lines) != 1+len(kinds()) {
			t.Errorf("no %q in\n%s", want, strings.Join(lines, "\n"))
		}
	}
	for _, f := range failing {
		if err := c.remove(f.kind, f.name); err != nil {
			t.Error(err)
		}
	}
}

// create --export, piped to kubectl, and create by itself; then delete, which
// takes along what was delivered, and the series of the metrics.
func testCreate(t *testing.T, w *world, c *client) {
	w.apply(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata:
  name: made
  namespace: flux-system
spec:
  interval: 1m0s
  ref:
    branch: main
  url: ` + w.repo.URL)
	if _, err := c.poll(gitRepository(), "made", objectReady(gitRepository())); err != nil {
		t.Error(err)
	}
	ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: "made", Namespace: "flux-system"}, Spec: kustomizev1.KustomizationSpec{
		Interval: metav1.Duration{Duration: time.Minute}, Path: "./made", Prune: true, Wait: true,
		SourceRef: kustomizev1.CrossNamespaceSourceReference{Kind: sourcev1.GitRepositoryKind, Name: "made"},
	}}
	w.repo.Write(map[string]string{"made/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: made, namespace: shop}\n"}).Push("three")
	long, _ := w.revision()
	if err := c.reconcile(gitRepository(), "made", reconcileOptions{}); err != nil {
		t.Error(err)
	}
	c.printed()
	if err := c.create(kustomization(), ks, kustomizev1.GroupVersion.String()); err != nil {
		t.Fatal(err)
	}
	is(t, c.printed(), `
✚ generating kustomization
► applying kustomization
✔ kustomization created
◎ waiting for kustomization reconciliation
✔ kustomization made is ready
✔ applied revision `+long)
	if got := w.metrics(t); !strings.Contains(got, `name="made"`) {
		t.Error("no series of what was made")
	}

	if err := c.remove(kustomization(), "made"); err != nil {
		t.Error(err)
	}
	is(t, c.printed(), "► deleting kustomization made in flux-system namespace\n✔ kustomization deleted")
	if err := c.remove(gitRepository(), "made"); err != nil {
		t.Error(err)
	}
	c.printed()
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		if _, err := c.core.CoreV1().ConfigMaps("shop").Get(ctx, "made", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("what was delivered is still there: %v", err)
		}
		if got := w.metrics(t); strings.Contains(got, `name="made"`) {
			return fmt.Errorf("there are still series of what was made")
		}
		return nil
	})
}

// migrate rewrites what was applied in an old version.
func testMigrate(t *testing.T, w *world, c *client) {
	w.apply(`
apiVersion: kustomize.toolkit.fluxcd.io/v1beta2
kind: Kustomization
metadata: {name: old, namespace: flux-system}
spec: {interval: 1h, path: ./child, prune: true, suspend: true, sourceRef: {kind: GitRepository, name: fleet}}
`)
	const crd = "kustomizations.kustomize.toolkit.fluxcd.io"
	w.run("patch", "crd", crd, "--subresource=status", "--type=merge", "-p", `{"status":{"storedVersions":["v1beta2","v1"]}}`)
	if err := c.migrate(); err != nil {
		t.Fatal(err)
	}
	got := c.printed()
	for _, s := range w.subjects() {
		if want := "✔ " + s.kind.name + "/" + s.namespace + "/" + s.name + " migrated to version " + s.kind.resource.Version + "\n"; !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if want := "✔ " + crd + " migrated to storage version v1\n"; strings.Count(got, "storage version") != 1 || !strings.Contains(got, want) {
		t.Errorf("no %q, or more than that, in\n%s", want, got)
	}
	_, u, err := c.get(kustomization(), "old")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range u.GetManagedFields() {
		if m.APIVersion != "kustomize.toolkit.fluxcd.io/v1" {
			t.Errorf("%s owns fields of %s", m.Manager, m.APIVersion)
		}
	}
	w.ready(c, "apps")
}

// uninstall takes away the definitions under a running engine, and with them
// every Kustomization: that is no order to delete what they delivered.
func testUninstall(t *testing.T, w *world, c *client) {
	w.run("delete", "kustomization", "old", "-n", "flux-system")
	before := w.run("get", "deployment,service,secret,configmap,pod", "-n", "shop", "-o", "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{\"\\n\"}{end}")
	if err := c.uninstall(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(c.printed()), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "✗") })
	for _, want := range []string{"✔ Deployment/flux-system/plumb deleted", "✔ CustomResourceDefinition/kustomizations.kustomize.toolkit.fluxcd.io deleted", "✔ uninstall finished"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %q in\n%s", want, strings.Join(lines, "\n"))
		}
	}
	for _, l := range lines {
		if strings.Contains(l, "argoproj.io") || strings.Contains(l, "ClusterRole") {
			t.Errorf("it takes along what is not of Flux: %s", l)
		}
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		for _, k := range kinds() {
			_, err := c.dynamic.Resource(definitions()).Get(ctx, k.resource.GroupResource().String(), metav1.GetOptions{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("the definition of %s is still there: %v\n%s", k.name, err, w.logged())
			}
		}
		return nil
	})
	is(t, w.run("get", "deployment,service,secret,configmap,pod", "-n", "shop", "-o", "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{\"\\n\"}{end}"), before)
}
