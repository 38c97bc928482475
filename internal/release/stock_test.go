package release

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// helm runs a stock helm in the namespace of the release.
func (w *world) helm(args ...string) string {
	w.Helper()
	cmd := exec.Command(sandboxtest.Helm(w.TB), append([]string{"--kubeconfig", w.kubeconfig, "--namespace", w.namespace}, args...)...)
	home := w.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// helmFails runs a helm that does not succeed.
func (w *world) helmFails(args ...string) string {
	w.Helper()
	cmd := exec.Command(sandboxtest.Helm(w.TB), append([]string{"--kubeconfig", w.kubeconfig, "--namespace", w.namespace}, args...)...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		w.Fatalf("helm %s succeeded\n%s", strings.Join(args, " "), out)
	}
	return string(out)
}

// TestStockHelm: a helm command sees what was done here, and what it does is
// seen here.
func TestStockHelm(t *testing.T) {
	w := newWorld(t)
	chart, err := filepath.Abs("testdata/web")
	if err != nil {
		t.Fatal(err)
	}
	w.inline = map[string]any{"text": "first"}
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	w.inline = map[string]any{"text": "second"}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)

	t.Log("helm reads")
	var listed []struct{ Name, Namespace, Revision, Status, Chart string }
	if err := json.Unmarshal([]byte(w.helm("ls", "-o", "json")), &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed) != 1 || listed[0].Name != "web" || listed[0].Revision != "2" || listed[0].Status != "deployed" || listed[0].Chart != "web-1.0.0" {
		t.Errorf("ls: %+v", listed)
	}
	var history []struct {
		Revision            int
		Status, Description string
	}
	if err := json.Unmarshal([]byte(w.helm("history", "web", "-o", "json")), &history); err != nil {
		t.Fatal(err)
	}
	if len(history) != 2 || history[0].Status != "superseded" || history[1].Status != "deployed" || history[1].Description != "Upgrade complete" {
		t.Errorf("history: %+v", history)
	}
	if got := w.helm("get", "values", "web"); !strings.Contains(got, "text: second") {
		t.Errorf("get values: %s", got)
	}
	if got := w.helm("get", "manifest", "web"); !strings.Contains(got, "kind: ConfigMap") || !strings.Contains(got, "helm.toolkit.fluxcd.io/name: 'web'") {
		t.Errorf("get manifest: %s", got)
	}
	if got := w.helm("get", "notes", "web"); !strings.Contains(got, "web is there.") {
		t.Errorf("get notes: %s", got)
	}

	t.Log("helm rollback")
	// By itself it shies from taking fields over, and leaves a failed revision.
	if got := w.helmFails("rollback", "web", "1"); !strings.Contains(got, `conflict with "helm-controller"`) {
		t.Errorf("rollback: %s", got)
	}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	w.helm("rollback", "web", "1", "--force-conflicts")
	if got := w.configMap("web"); got["text"] != "first" {
		t.Fatalf("after helm rollback the ConfigMap has %v", got)
	}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if got := w.configMap("web"); got["text"] != "second" {
		t.Errorf("the ConfigMap has %v", got)
	}
	if h := w.release.Memory.History; len(h) != 1 || h[0].Version != 6 {
		t.Errorf("after someone else's revision the history is %+v", h)
	}

	t.Log("helm upgrade")
	w.helm("upgrade", "web", chart, "--set", "text=manual", "--force-conflicts")
	if d := w.decide(); d.State != app.ReleaseUnmanaged {
		t.Errorf("after helm upgrade the state is %s (%s)", d.State, d.Because)
	}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if got := w.configMap("web"); got["text"] != "second" {
		t.Errorf("the ConfigMap has %v", got)
	}

	t.Log("helm test changes nothing")
	w.helm("test", "web")
	w.wants(app.ReleaseInSync)

	t.Log("helm uninstall")
	w.helm("uninstall", "web")
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	if got := w.configMap("web"); got["text"] != "second" {
		t.Errorf("the ConfigMap has %v", got)
	}
	w.helm("uninstall", "web", "--keep-history")
	w.release.Install.Replace = true
	w.wants(app.ReleaseInSync, app.ReleaseInstall)

	t.Log("a release that helm installed is taken over")
	w.helm("uninstall", "web")
	w.release.Memory = app.ReleaseMemory{}
	w.helm("install", "web", chart, "--set", "text=manual")
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if got := w.configMap("web"); got["text"] != "second" {
		t.Errorf("the ConfigMap has %v", got)
	}
	if h := w.release.Memory.History; len(h) != 1 || h[0].Version != 2 {
		t.Errorf("the history is %+v", h)
	}
}
