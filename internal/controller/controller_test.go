package controller

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// told is an engine that only notes what it is told.
type told struct {
	mu       sync.Mutex
	apps     map[app.ID]app.Spec
	sources  map[app.SourceID]app.Source
	clusters map[string]app.Cluster
}

func newTold() *told {
	return &told{apps: map[app.ID]app.Spec{}, sources: map[app.SourceID]app.Source{}, clusters: map[string]app.Cluster{}}
}

func (e *told) SetCluster(c app.Cluster) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clusters[c.ID] = c
}

func (e *told) RemoveCluster(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.clusters, id)
}

func (e *told) SetSource(s app.Source) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sources[s.ID] = s
}

func (e *told) RemoveSource(id app.SourceID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sources, id)
}

func (e *told) SetApp(s app.Spec) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.apps[s.ID] = s
}

func (e *told) RemoveApp(id app.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.apps, id)
}

func (e *told) SetElsewhere(app.Spec) {}
func (e *told) Release(...app.ID)     {}
func (e *told) Relook()               {}
func (e *told) Start()                {}

func newController(t *testing.T) (*Controller, *told, string) {
	t.Helper()
	return newControllerOf(t, sandboxtest.Cluster(t))
}

// quiet is a controller that tells, and watches nothing yet.
func quiet(t *testing.T, config *rest.Config) (*Controller, *told) {
	t.Helper()
	c, err := New(Options{Config: config, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	e := newTold()
	c.Use(e)
	c.ctx = t.Context()
	c.startEvents()
	t.Cleanup(c.events.Shutdown)
	return c, e
}

func newControllerOf(t *testing.T, cluster *sandbox.Cluster) (*Controller, *told, string) {
	t.Helper()
	c, e := quiet(t, sandboxtest.RESTConfig(t, cluster))
	crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	for _, u := range decode(t, string(api.CRDs())) {
		if _, err := c.dynamic.Resource(crds).Create(t.Context(), u, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	namespace := sandboxtest.Namespace(t, cluster)
	for _, gvr := range []schema.GroupVersionResource{kustomizationResource, applicationResource} {
		sandboxtest.Eventually(t, func(ctx context.Context) error {
			_, err := c.dynamic.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
			return err
		})
	}
	return c, e, namespace
}

func decode(t *testing.T, text string) (out []*unstructured.Unstructured) {
	t.Helper()
	objects, err := object.Decode("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		out = append(out, o.Unstructured())
	}
	return out
}

const kustomization = `
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, finalizers: [finalizers.fluxcd.io]}
spec: {interval: 1h, prune: true, path: ./, sourceRef: {kind: GitRepository, name: fleet}}
`

const application = `
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop}
spec:
  project: default
  source: {repoURL: "https://git.example/fleet.git", path: app}
  destination: {server: "https://kubernetes.default.svc", namespace: default}
`

func create(t *testing.T, c *Controller, gvr schema.GroupVersionResource, namespace, text string) *unstructured.Unstructured {
	t.Helper()
	u, err := c.dynamic.Resource(gvr).Namespace(namespace).Create(t.Context(), decode(t, text)[0], metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func read(t *testing.T, c *Controller, gvr schema.GroupVersionResource, u *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	got, err := c.dynamic.Resource(gvr).Namespace(u.GetNamespace()).Get(t.Context(), u.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// replace deletes a resource behind the controller's back and makes it anew.
func replace(t *testing.T, c *Controller, gvr schema.GroupVersionResource, u *unstructured.Unstructured, text string) {
	t.Helper()
	client := c.dynamic.Resource(gvr).Namespace(u.GetNamespace())
	if _, err := client.Patch(t.Context(), u.GetName(), "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.Delete(t.Context(), u.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	create(t, c, gvr, u.GetNamespace(), text)
}

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func report(u *unstructured.Unstructured) app.Report {
	return app.Report{App: app.ID{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()}, UID: string(u.GetUID()),
		Generation: u.GetGeneration(), Phase: app.PhaseDone, Sync: app.Synced, At: noon, Started: noon, Revision: app.Revision{Commit: strings.Repeat("a", 40)},
		Records: []app.Record{{Ref: object.Ref{Kind: "ConfigMap", Namespace: "x", Name: "delivered"}, Version: "v1"}}}
}

func TestAStatusIsWrittenOnce(t *testing.T) {
	c, _, namespace := newController(t)
	for gvr, text := range map[schema.GroupVersionResource]string{kustomizationResource: kustomization, applicationResource: application} {
		u := create(t, c, gvr, namespace, text)
		c.note(gvr, u)
		if err := c.Publish(t.Context(), report(u)); err != nil {
			t.Fatal(err)
		}
		first := read(t, c, gvr, u)
		if len(statusOf(first)) == 0 {
			t.Fatalf("%s: no status", gvr.Resource)
		}
		if err := c.Publish(t.Context(), report(u)); err != nil {
			t.Fatal(err)
		}
		if again := read(t, c, gvr, u); again.GetResourceVersion() != first.GetResourceVersion() {
			t.Errorf("%s: the same status is written again", gvr.Resource)
		}
		if known := c.find(gvr, namespace, "shop"); known.GetResourceVersion() != first.GetResourceVersion() {
			t.Errorf("%s: the answer to the write is not kept", gvr.Resource)
		}
	}
}

// What was delivered for a resource must not become the inventory of another
// one of its name, of which the watch has not told yet.
func TestAReportOfAnEarlierResourceIsNotWritten(t *testing.T) {
	c, _, namespace := newController(t)
	for gvr, text := range map[schema.GroupVersionResource]string{kustomizationResource: kustomization, applicationResource: application} {
		u := create(t, c, gvr, namespace, text)
		c.note(gvr, u)
		replace(t, c, gvr, u, text)
		if err := c.Publish(t.Context(), report(u)); err != nil {
			t.Errorf("%s: %v", gvr.Resource, err)
		}
		got := read(t, c, gvr, u)
		if status := statusOf(got); status["inventory"] != nil || status["sync"] != nil {
			t.Errorf("%s: the new resource has a status: %v", gvr.Resource, status)
		}
		if known := c.find(gvr, namespace, "shop"); known.GetUID() != u.GetUID() {
			t.Errorf("%s: the new resource was taken for the old one", gvr.Resource)
		}
	}
}

// The answer to a write that comes after the end of the resource must not
// bring it back.
func TestWhatIsGoneStaysGone(t *testing.T) {
	c, e, namespace := newController(t)
	u := create(t, c, applicationResource, namespace, application)
	c.setApplication(u)
	if len(e.apps) != 1 || len(e.sources) != 1 {
		t.Fatalf("the engine knows %v and %v", e.apps, e.sources)
	}
	c.removedApplication(u)
	c.renew(applicationResource, u)
	c.redecode()
	c.feed(applicationResource, u, func() { t.Error("it is told of again") })
	if len(e.apps) != 0 || len(e.sources) != 0 || c.find(applicationResource, namespace, "shop") != nil {
		t.Errorf("the engine knows %v and %v", e.apps, e.sources)
	}
}

func TestTheNewestVersionWins(t *testing.T) {
	c, e, namespace := newController(t)
	old := create(t, c, kustomizationResource, namespace, kustomization)
	newer := old.DeepCopy()
	unstructured.SetNestedField(newer.Object, "./newer", "spec", "path")
	newer, err := c.dynamic.Resource(kustomizationResource).Namespace(namespace).Update(t.Context(), newer, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.setKustomization(newer)
	c.setKustomization(old)
	id := app.ID{Kind: flux.KindKustomization, Namespace: namespace, Name: "shop"}
	if got := e.apps[id].Render.Path; got != "./newer" {
		t.Errorf("the path is %q", got)
	}
}

// When the history of a watch has expired all is listed again: what is as it was
// costs nothing.
func TestARelistTellsOfChangesAlone(t *testing.T) {
	c, _, namespace := newController(t)
	version := func(uid, version string) *kept {
		u := decode(t, kustomization)[0]
		u.SetNamespace(namespace)
		u.SetUID(types.UID(uid))
		u.SetResourceVersion(version)
		k, err := keptOf(u)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	told := 0
	h := c.handler(watch{resource: kustomizationResource, set: func(*unstructured.Unstructured) { told++ }})
	h.OnAdd(version("a", "1"), true)
	h.OnUpdate(version("a", "1"), version("a", "1"))
	if told != 1 {
		t.Errorf("told %d times of one version", told)
	}
	h.OnUpdate(version("a", "1"), version("a", "2"))
	h.OnUpdate(version("a", "2"), version("b", "2"))
	if told != 3 {
		t.Errorf("told %d times of three", told)
	}
}

func TestNothingIsDeliveredBeforeTheFinalizer(t *testing.T) {
	c, e, namespace := newController(t)
	u := create(t, c, kustomizationResource, namespace, strings.Replace(kustomization, ", finalizers: [finalizers.fluxcd.io]", "", 1))
	c.setKustomization(u)
	if len(e.apps) != 0 {
		t.Error("it is delivered already")
	}
	var got *unstructured.Unstructured
	sandboxtest.Eventually(t, func(context.Context) error { // it is set beside the watch
		if got = read(t, c, kustomizationResource, u); len(got.GetFinalizers()) != 1 {
			return fmt.Errorf("finalizers: %v", got.GetFinalizers())
		}
		return nil
	})
	c.setKustomization(got)
	if len(e.apps) != 1 {
		t.Error("it is not delivered")
	}
	// Deleted and done: the finalizer goes, and the resource with it.
	client := c.dynamic.Resource(kustomizationResource).Namespace(namespace)
	if err := client.Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.setKustomization(read(t, c, kustomizationResource, u))
	rep := report(u)
	rep.Deleted = true
	if err := c.Publish(t.Context(), rep); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(t.Context(), "shop", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("it is still there: %v", err)
	}
}

// A Secret of the same name elsewhere has nothing to do with repositories.
func TestSecretsOfOtherNamespacesDoNotCount(t *testing.T) {
	c, _, _ := newController(t)
	secret := func(namespace string) *unstructured.Unstructured {
		return decode(t, "apiVersion: v1\nkind: Secret\nmetadata: {name: repo, namespace: "+namespace+"}\n")[0]
	}
	c.setSecret(secret("argocd"))
	c.setSecret(secret("elsewhere"))
	c.removedSecret(secret("elsewhere"))
	if len(c.secrets) != 1 {
		t.Error("the credentials are lost")
	}
	c.removedSecret(secret("argocd"))
	if len(c.secrets) != 0 {
		t.Error("the credentials are still there")
	}
}

// A user who changes the resource while its status is written is not in the
// way, and loses nothing.
func TestAStatusIsMadeFromTheNewestVersion(t *testing.T) {
	c, _, namespace := newController(t)
	for gvr, text := range map[schema.GroupVersionResource]string{kustomizationResource: kustomization, applicationResource: application} {
		u := create(t, c, gvr, namespace, text)
		c.note(gvr, u)
		_, err := c.dynamic.Resource(gvr).Namespace(namespace).Patch(t.Context(), "shop", "application/merge-patch+json",
			[]byte(`{"metadata":{"labels":{"by":"user"}}}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Publish(t.Context(), report(u)); err != nil {
			t.Errorf("%s: %v", gvr.Resource, err)
		}
		if got := read(t, c, gvr, u); len(statusOf(got)) == 0 || got.GetLabels()["by"] != "user" {
			t.Errorf("%s: labels %v, status %v", gvr.Resource, got.GetLabels(), statusOf(got))
		}
	}
}

// What was to be made of a HelmRelease is not made once that is on its way out,
// or gone: nobody would take it away again.
func TestNoHelmChartForAReleaseThatGoes(t *testing.T) {
	c, _, namespace := newController(t)
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		for _, gvr := range []schema.GroupVersionResource{helmReleaseResource, helmChartResource} {
			if _, err := c.dynamic.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	u := create(t, c, helmReleaseResource, namespace, `{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: shop, finalizers: [finalizers.fluxcd.io]},
spec: {interval: 1h, chart: {spec: {chart: ./chart, sourceRef: {kind: GitRepository, name: repo}}}}}`)
	charts := c.dynamic.Resource(helmChartResource).Namespace(namespace)
	c.setHelmRelease(u)
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		_, err := charts.Get(ctx, namespace+"-shop", metav1.GetOptions{})
		return err
	})

	// It is deleted while a write that is to mend its chart waits for its turn.
	if err := c.dynamic.Resource(helmReleaseResource).Namespace(namespace).Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.setHelmRelease(read(t, c, helmReleaseResource, u))
	rep := report(u)
	rep.App.Kind, rep.Deleted = flux.KindHelmRelease, true
	if err := c.Publish(t.Context(), rep); err != nil {
		t.Fatal(err)
	}
	k, _ := sourceKindOf(flux.KindHelmChart)
	none := func(when string) {
		t.Helper()
		if _, err := charts.Get(t.Context(), namespace+"-shop", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s the HelmChart is there: %v", when, err)
		}
	}
	none("deleted with its release,")
	c.removedSource(k, c.find(helmChartResource, namespace, namespace+"-shop"))
	c.mendCharts(u)
	none("while the release goes,")
	c.removedHelmRelease(c.find(helmReleaseResource, namespace, "shop"))
	c.mendCharts(u)
	none("after the release,")
}
