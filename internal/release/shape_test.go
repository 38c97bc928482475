package release

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

func TestDefinitions(t *testing.T) {
	w := newWorld(t)
	client, err := apiextensions.NewForConfig(sandboxtest.RESTConfig(t, sandboxtest.Cluster(t)))
	if err != nil {
		t.Fatal(err)
	}
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	describes := func(want string) {
		t.Helper()
		crd, err := crds.Get(t.Context(), "gadgets.release.plumb.test", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Description; got != want {
			t.Errorf("the definition is %q, want %q", got, want)
		}
		if crd.Labels["helm.toolkit.fluxcd.io/name"] != "web" {
			t.Errorf("it has the labels %v", crd.Labels)
		}
	}
	second := map[string]string{"crds/gadgets.yaml": strings.Replace(read(t, "defines/crds/gadgets.yaml"), "first", "second", 1),
		"crds/other.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stray}\n"}

	w.chart = load(t, os.DirFS("testdata/defines"))
	w.release.Install.CRDs = app.CRDsSkip
	out, err := w.act(t.Context(), app.ReleaseInstall, "")
	if err == nil || out.Result.Failure.Reason != app.ReasonKindUnknown {
		t.Fatalf("without the definition: %v", err)
	}

	w.release.Install.CRDs = app.CRDsCreate
	outs := w.wants(app.ReleaseInSync, app.ReleaseInstall)
	describes("first")
	if inv := outs[0].Inventory; len(inv) != 2 || inv[0].Ref.Kind != "CustomResourceDefinition" || inv[1].Ref.Namespace != w.namespace {
		t.Errorf("the inventory is %+v", inv)
	}
	gadgets := dynamic.NewForConfigOrDie(sandboxtest.RESTConfig(t, sandboxtest.Cluster(t))).
		Resource(schema.GroupVersionResource{Group: "release.plumb.test", Version: "v1", Resource: "gadgets"}).Namespace(w.namespace)
	if g, err := gadgets.Get(t.Context(), "web", metav1.GetOptions{}); err != nil || g.Object["spec"].(map[string]any)["served"] != true {
		t.Errorf("rendering did not know of the definition: %v %v", g, err)
	}

	w.chart = load(t, edited(t, "defines", second))
	w.release.Upgrade.CRDs = app.CRDsCreate
	w.release.Force = "1"
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	describes("first")
	w.release.Upgrade.CRDs, w.release.Force = app.CRDsCreateReplace, "2"
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	describes("second")
	if got := w.configMap("stray"); got != nil {
		t.Errorf("what is no definition was delivered from crds: %v", got)
	}
	if _, err := w.act(t.Context(), app.ReleaseUninstall, ""); err != nil {
		t.Fatal(err)
	}
	describes("second")
	crds.Delete(t.Context(), "gadgets.release.plumb.test", metav1.DeleteOptions{})
}

func TestPostRenderers(t *testing.T) {
	w := newWorld(t)
	w.inline = map[string]any{"pods": "Running", "hook": "Succeeded"}
	w.release.Labels, w.release.Annotations = map[string]string{"team": "red"}, map[string]string{"note": "common"}
	w.release.PostRenderers = []app.PostRenderer{
		{Images: []app.Image{{Name: "registry.example/web", NewTag: "2"}}},
		{Patches: []app.Patch{{Target: &app.Selector{Kind: "ConfigMap"}, Patch: "- op: add\n  path: /data/patched\n  value: \"yes\"\n"}}},
		{Patches: []app.Patch{{Patch: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, labels: {team: blue}}\ndata: {merged: \"yes\"}\n"}}},
	}
	job := func() *metav1.ObjectMeta {
		t.Helper()
		j, err := w.kube.BatchV1().Jobs(w.namespace).Get(t.Context(), "web-before", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return &j.ObjectMeta
	}
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	if got := w.configMap("web"); got["patched"] != "yes" || got["merged"] != "yes" {
		t.Errorf("the ConfigMap has %v", got)
	}
	d, err := w.kube.AppsV1().Deployments(w.namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if image := d.Spec.Template.Spec.Containers[0].Image; image != "registry.example/web:2" {
		t.Errorf("the image is %s", image)
	}
	cm, _ := w.kube.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if cm.Labels["team"] != "red" || cm.Annotations["note"] != "common" || cm.Labels["helm.toolkit.fluxcd.io/name"] != "web" {
		t.Errorf("common metadata does not come last: %v %v", cm.Labels, cm.Annotations)
	}
	if j := job(); j.Labels["team"] != "red" {
		t.Errorf("combined, the hook has the labels %v", j.Labels)
	}

	w.release.PostRenderStrategy, w.release.Force = app.PostRenderNoHooks, "1"
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if j := job(); j.Labels["team"] != "" {
		t.Errorf("without hooks, the hook has the labels %v", j.Labels)
	}
	// A patch of a ConfigMap finds nothing among hooks alone.
	w.release.PostRenderers = w.release.PostRenderers[:2]
	w.release.PostRenderStrategy, w.release.Force = app.PostRenderSeparate, "2"
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if j := job(); j.Labels["team"] != "red" {
		t.Errorf("separate, the hook has the labels %v", j.Labels)
	}

	w.generation++
	w.release.PostRenderersDigest = "sha256:new"
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	w.wants(app.ReleaseInSync)

	w.release.PostRenderers = []app.PostRenderer{{Patches: []app.Patch{{Target: &app.Selector{Kind: "ConfigMap"}, Patch: "- op: remove\n  path: /data/absent\n"}}}}
	out, err := w.act(t.Context(), app.ReleaseUpgrade, "")
	if err == nil || out.Result.Failure.Reason != app.ReasonBuild || !strings.Contains(err.Error(), "postRenderers[0]") {
		t.Errorf("a patch that does not apply: %v", err)
	}
}

func TestNamespaces(t *testing.T) {
	w := newWorld(t)
	storage := w.namespace
	w.release.Namespace = storage + "-target"
	t.Cleanup(func() { w.kube.CoreV1().Namespaces().Delete(t.Context(), storage+"-target", metav1.DeleteOptions{}) })
	out, err := w.act(t.Context(), app.ReleaseInstall, "")
	if err == nil && out.Result.Failure == nil {
		t.Fatal("it installs into a namespace that is not there")
	}
	if f := out.Result.Failure; f.Reason != app.ReasonNamespaceMissing {
		t.Errorf("it failed with %v (%s)", f, f.Reason)
	}
	w.release.Install.CreateNamespace, w.release.Install.Replace = true, true
	w.release.Memory = app.ReleaseMemory{}
	if out, err = w.act(t.Context(), app.ReleaseInstall, ""); err != nil || out.Result.Failure != nil {
		t.Fatal(err, out.Result.Failure)
	}
	w.release.Memory.StorageNamespace = storage
	if got := w.records(); len(got) == 0 {
		t.Error("there are no records in the storage namespace")
	}
	w.namespace = storage + "-target"
	if w.configMap("web") == nil || len(w.records()) != 0 {
		t.Errorf("in the target namespace: %v, records %v", w.configMap("web"), w.records())
	}

	// Another release name: the old release is uninstalled where it was.
	w.release.Name = "site"
	if what := Moved(w.release, "web"); what != "release name" {
		t.Errorf("moved: %q", what)
	}
	now := w.release
	w.release = Old(w.release)
	if out, err = w.act(t.Context(), app.ReleaseUninstall, "the release name changed"); err != nil || out.Result.Failure != nil {
		t.Fatal(err, out.Result.Failure)
	}
	if w.configMap("web") != nil {
		t.Error("the old release is still there")
	}
	now.Memory = out.Memory
	w.release = now
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	if w.configMap("site") == nil {
		t.Error("the new release is not there")
	}
}

func TestOwnership(t *testing.T) {
	w := newWorld(t)
	_, err := w.kube.CoreV1().ConfigMaps(w.namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Data: map[string]string{"text": "theirs"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.release.Install.DisableTakeOwnership = true
	out, err := w.act(t.Context(), app.ReleaseInstall, "")
	if err == nil || !strings.Contains(err.Error(), "exists and cannot be imported") || len(w.records()) != 0 {
		t.Fatalf("%v, records %v", err, w.records())
	}
	if m := out.Memory; m.Failures != 1 || m.InstallFailures != 0 {
		t.Errorf("what stored nothing is counted: %+v", m)
	}
	w.release.Memory = app.ReleaseMemory{}
	w.release.Install.DisableTakeOwnership = false
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	if got := w.configMap("web"); got["text"] != "hello" {
		t.Errorf("the ConfigMap has %v", got)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t)
	w.release.MaxHistory = 3
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	for i := range 5 {
		w.inline = map[string]any{"text": strings.Repeat("x", i+1)}
		w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	}
	if got := w.records(); len(got) != 3 || !slices.Contains(got, "sh.helm.release.v1.web.v6 deployed") {
		t.Errorf("the records are %v", got)
	}
}

func TestPreserveValues(t *testing.T) {
	w := newWorld(t)
	w.inline = map[string]any{"text": "kept", "password": "first"}
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	w.release.Upgrade.PreserveValues = true
	w.inline = map[string]any{"password": "second"}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if got := w.configMap("web"); got["text"] != "kept" {
		t.Errorf("the ConfigMap has %v", got)
	}
	w.wants(app.ReleaseInSync)
}

func TestClientSide(t *testing.T) {
	w := newWorld(t)
	operations := func(want ...string) {
		t.Helper()
		cm, err := w.kube.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range cm.ManagedFields {
			got = append(got, m.Manager+" "+string(m.Operation))
		}
		if !slices.Equal(got, want) {
			t.Errorf("managed by %v, want %v", got, want)
		}
	}
	w.release.Install.ServerSide = app.ServerSideOff
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	operations(FieldManager + " Update")
	w.inline = map[string]any{"text": "second"}
	w.release.Upgrade.Force = true
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	operations(FieldManager + " Update")
	w.release.Upgrade.ServerSide = app.ServerSideOn
	w.inline = map[string]any{"text": "third"}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	operations(FieldManager + " Apply")
	w.release.Upgrade.ServerSide = app.ServerSideAuto
	w.inline = map[string]any{"text": "fourth"}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	operations(FieldManager + " Apply")
}

func TestKeepHistory(t *testing.T) {
	w := newWorld(t)
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	w.release.Uninstall.KeepHistory = true
	for range 2 { // what is uninstalled already is uninstalled
		w.release.Memory.StorageNamespace = w.namespace
		if out, err := w.act(t.Context(), app.ReleaseUninstall, ""); err != nil || out.Result.Failure != nil {
			t.Fatal(err, out.Result.Failure)
		}
	}
	if got := w.records(); len(got) != 1 || got[0] != "sh.helm.release.v1.web.v1 uninstalled" {
		t.Errorf("the records are %v", got)
	}
	done, last, outs := w.run()
	if len(done) != 1 || done[0] != app.ReleaseInstall || outs[0].Result.Failure == nil || !strings.Contains(outs[0].Result.Failure.Hint, "install.replace") {
		t.Errorf("a name that is in use: %v %+v", done, last)
	}
	w.release.Install.Replace = true
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	if h := w.release.Memory.History; h[0].Version != 2 {
		t.Errorf("the newest is %+v", h[0])
	}
}

// TestManifest: applied by the same field manager, what Stored gives changes
// nothing.
func TestManifest(t *testing.T) {
	w := newWorld(t)
	w.inline = map[string]any{"pods": "Running", "hook": "Succeeded", "tests": map[string]any{"works": "Succeeded"}}
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	storage, err := w.client.Look(t.Context(), w.release)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := storage.Last.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 2 {
		t.Fatalf("%d objects, want the ConfigMap and the Deployment", len(objects))
	}
	client := dynamic.NewForConfigOrDie(sandboxtest.RESTConfig(t, sandboxtest.Cluster(t)))
	for _, o := range objects {
		resource := map[string]schema.GroupVersionResource{
			"ConfigMap": corev1.SchemeGroupVersion.WithResource("configmaps"), "Deployment": {Group: "apps", Version: "v1", Resource: "deployments"},
		}[o.Ref().Kind]
		before, err := client.Resource(resource).Namespace(w.namespace).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		data, err := o.Unstructured().MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		after, err := client.Resource(resource).Namespace(w.namespace).Patch(t.Context(), "web", types.ApplyPatchType, data,
			metav1.PatchOptions{FieldManager: FieldManager, DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			t.Fatal(err)
		}
		if before.GetResourceVersion() != after.GetResourceVersion() {
			t.Errorf("%s would change:\n%v\n%v", o.Ref(), before, after)
		}
	}
}

// TestImpersonated: whoever may not, cannot.
func TestImpersonated(t *testing.T) {
	w := newWorld(t)
	config := sandboxtest.RESTConfig(t, sandboxtest.Cluster(t))
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + w.namespace + ":nobody"}
	client, err := Open(Options{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	w.client = client
	_, err = client.Look(t.Context(), w.release)
	if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonForbidden {
		t.Errorf("look: %v", err)
	}
	out, err := w.act(t.Context(), app.ReleaseInstall, "")
	if err == nil || out.Result.Failure.Reason != app.ReasonForbidden {
		t.Errorf("install: %v (%+v)", err, out.Result.Failure)
	}
}
