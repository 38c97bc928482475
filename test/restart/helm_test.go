package restart

import (
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// An engine that dies while Helm waits for a hook leaves the release locked; one
// that is told to end leaves it failed. Neither has used up the only attempt
// that there is.
func TestRestartAmidAnAction(t *testing.T) {
	f := begin(t)
	hook := map[string]string{
		"hooked/Chart.yaml": "apiVersion: v2\nname: hooked\nversion: 1.0.0\n",
		"hooked/templates/hook.yaml": `apiVersion: batch/v1
kind: Job
metadata: {name: hook, annotations: {helm.sh/hook: "pre-install,pre-upgrade", helm.sh/hook-delete-policy: before-hook-creation}}
spec: {backoffLimit: 0, template: {metadata: {annotations: {sandbox.plumb.dev/phase: {{ .Values.phase }}}}, spec: {restartPolicy: Never, containers: [{name: hook, image: busybox}]}}}
`,
		"hooked/templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hooked}\n",
	}
	f.repo.Write(hook).Push("hook")
	f.create(helmReleases, namespace, f.parse(`{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: hooked}, spec: {interval: 1h, timeout: 1h, chart: {spec: {chart: hooked, sourceRef: {kind: GitRepository, name: fleet}}}, values: {phase: Running}}}`))
	at := func(what, version, ready string) {
		t.Helper()
		sandboxtest.Eventually(t, func(ctx context.Context) error {
			u, err := f.dynamic.Resource(helmReleases).Namespace(namespace).Get(ctx, "hooked", metav1.GetOptions{})
			if err != nil {
				return err
			}
			got := condition(u, "Reconciling") + " " + condition(u, "Ready") + " " + condition(u, "Stalled")
			if got != ready {
				return fmt.Errorf("%s: %q, want %q\n%s", what, got, ready, f.tail())
			}
			_, err = f.dynamic.Resource(secrets).Namespace(namespace).Get(ctx, "sh.helm.release.v1.hooked.v"+version, metav1.GetOptions{})
			return err
		})
	}
	const waits = "Progressing Progressing "
	f.startEngine()
	at("installing", "1", waits)
	f.engine.Kill()
	f.startEngine()
	at("after a crash", "2", waits)
	if err := f.engine.Stop(); err != nil {
		t.Fatal(err)
	}
	f.startEngine()
	at("after an orderly end", "3", waits)
	patch := []byte(`{"spec":{"values":{"phase":"Succeeded"}}}`)
	if _, err := f.dynamic.Resource(helmReleases).Namespace(namespace).Patch(t.Context(), "hooked", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	at("mended", "4", " UpgradeSucceeded ")
}

// condition is the reason of a condition, "" if there is none.
func condition(u *unstructured.Unstructured, kind string) string {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, item := range list {
		if c, ok := item.(map[string]any); ok && c["type"] == kind {
			return fmt.Sprint(c["reason"])
		}
	}
	return ""
}
