package release

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
)

func TestInstallUpgradeUninstall(t *testing.T) {
	w := newWorld(t)
	outs := w.wants(app.ReleaseInSync, app.ReleaseInstall)
	if got := w.configMap("web"); got["text"] != "hello" {
		t.Fatalf("the ConfigMap has %v", got)
	}
	cm, err := w.kube.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cm.Labels["helm.toolkit.fluxcd.io/name"] != "web" || cm.Labels[labelManagedBy] != "Helm" || cm.Annotations[annotationReleaseName] != "web" {
		t.Errorf("labels %v, annotations %v", cm.Labels, cm.Annotations)
	}
	if m := cm.ManagedFields; len(m) != 1 || m[0].Manager != FieldManager || m[0].Operation != "Apply" {
		t.Errorf("managed by %+v", m)
	}
	snap := outs[0].Result.Release
	if snap.FullName() != w.namespace+"/web.v1" || snap.Chart() != "web@1.0.0" || snap.AppVersion != "2.5" || snap.Status != "deployed" || snap.Action != app.ReleaseInstall {
		t.Errorf("the snapshot is %+v", snap)
	}
	if inv := outs[0].Inventory; len(inv) != 1 || inv[0].Ref.String() != "ConfigMap/"+w.namespace+"/web" {
		t.Errorf("the inventory is %+v", inv)
	}

	w.inline = map[string]any{"text": "world"}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if got := w.configMap("web"); got["text"] != "world" {
		t.Fatalf("the ConfigMap has %v", got)
	}
	w.chart = version(t, "1.1.0")
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	w.wants(app.ReleaseInSync)
	if h := w.release.Memory.History; len(h) != 2 || h[0].Version != 3 || h[1].Version != 2 || h[1].Status != "superseded" {
		t.Errorf("the history is %+v", h)
	}

	out, err := w.act(t.Context(), app.ReleaseUninstall, "the app is deleted")
	if err != nil || out.Result.Failure != nil {
		t.Fatal(err, out.Result.Failure)
	}
	if got := w.configMap("web"); got != nil {
		t.Errorf("the ConfigMap is still there: %v", got)
	}
	if got := w.records(); len(got) != 0 {
		t.Errorf("records are left: %v", got)
	}
	if m := out.Memory; len(m.History) != 0 || m.StorageNamespace != "" || out.Inventory == nil || len(out.Inventory) != 0 {
		t.Errorf("left over: %+v %v", m, out.Inventory)
	}
}
