package cli

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
)

func TestSuspendAndResume(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet)
	f.run("suspend", "ks/shop", "app/shop", "-n", f.namespace).wants(t, ExitOK, []string{
		"kustomization/" + f.namespace + "/shop suspended (set spec.suspend)",
		"application/" + f.namespace + "/shop suspended (set the annotation argocd.argoproj.io/skip-reconcile)",
	}, nil)
	if !flux.View(f.get("ks/shop")).Suspended || !argo.View(f.get("app/shop")).Suspended {
		t.Error("not suspended")
	}
	f.run("get", "-n", f.namespace).wants(t, ExitOK, []string{"shop   Application     Suspended", "shop   Kustomization   Suspended"}, nil)
	f.run("suspend", "ks/shop", "-n", f.namespace).wants(t, ExitOK, []string{"was suspended already"}, nil)
	f.run("reconcile", "ks/shop", "-n", f.namespace).wants(t, ExitNo, nil, []string{"kustomization/shop is suspended", "hint: plumb resume kustomization/shop"})
	f.run("sync", "app/shop", "-n", f.namespace).wants(t, ExitNo, nil, []string{"application/shop is suspended"})

	f.run("resume", "--all", "-n", f.namespace).wants(t, ExitOK, []string{"kustomization/" + f.namespace + "/shop resumed", "application/" + f.namespace + "/shop resumed"}, nil)
	if r := f.run("resume", "--all", "-n", f.namespace).wants(t, ExitOK, nil, []string{"nothing to do"}); r.stdout != "" {
		t.Errorf("told of what did not change:\n%s", r.stdout)
	}
	spec := f.get("ks/shop").Object["spec"].(map[string]any)
	if _, ok := spec["suspend"]; ok {
		t.Error("spec.suspend is left behind")
	}
	f.run("suspend", "gitrepo/fleet", "-n", f.namespace).wants(t, ExitOK, []string{"suspended (set spec.suspend)"}, nil)
	f.run("reconcile", "gitrepo/fleet", "-n", f.namespace).wants(t, ExitNo, nil, []string{"is suspended"})
}

// asked reports whether a Flux resource has a request without an answer.
func asked(u *unstructured.Unstructured) bool {
	if u.GetKind() == flux.KindKustomization {
		return flux.View(u).Asked
	}
	return flux.ViewSource(u).Asked
}

// fluxReply is a status that answers the request.
func fluxReply(status, reason, message string) func(*unstructured.Unstructured) map[string]any {
	return func(u *unstructured.Unstructured) map[string]any {
		return map[string]any{"status": map[string]any{
			"observedGeneration":     u.GetGeneration(),
			"lastHandledReconcileAt": u.GetAnnotations()[flux.RequestedAt],
			"conditions": []any{map[string]any{
				"type": "Ready", "status": status, "reason": reason, "message": message,
				"observedGeneration": u.GetGeneration(), "lastTransitionTime": metav1.Now().UTC().Format("2006-01-02T15:04:05Z"),
			}},
		}}
	}
}

func TestReconcileKustomization(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet)
	f.run("reconcile", "ks/shop", "-n", f.namespace, "--wait=false").wants(t, ExitOK, []string{"kustomization/shop: asked for"}, nil)
	if !asked(f.get("ks/shop")) {
		t.Error("no request on the resource")
	}

	f.run("reconcile", "ks/shop", "-n", f.namespace, "--timeout", "50ms").wants(t, ExitTimeout, nil, []string{
		"kustomization/shop: waiting to be taken up", "nobody answered within 50ms", "hint: is Plumb running?",
	})

	stopSource := f.answer("gitrepo/fleet", asked, fluxReply("True", "Succeeded", "stored"))
	stop := f.answer("ks/shop", asked, fluxReply("True", "ReconciliationSucceeded", "Applied revision: main"))
	f.run("reconcile", "ks/shop", "-n", f.namespace, "--with-source").wants(t, ExitOK, []string{
		"gitrepository/fleet: fetched main@4508cd1", "kustomization/shop: applied main@4508cd1",
	}, nil)
	stopSource()
	stop()

	stop = f.answer("ks/shop", asked, fluxReply("False", "BuildFailed", "deploy.yaml:7: no good"))
	f.run("reconcile", "ks/shop", "-n", f.namespace).wants(t, ExitNo, nil, []string{"plumb: kustomization/shop: deploy.yaml:7: no good", "hint: plumb events kustomization/shop"})
	stop()

	f.run("reconcile", "shop", "-n", "default").wants(t, ExitNotFound, nil, []string{`no app "shop" in namespace default`})
}

func TestReconcileApplication(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet)
	stop := f.answer("app/shop", func(u *unstructured.Unstructured) bool { return argo.View(u).Asked }, func(*unstructured.Unstructured) map[string]any {
		return map[string]any{"metadata": map[string]any{"annotations": map[string]any{
			"argocd.argoproj.io/refresh": nil, "argocd.argoproj.io/refresh-timestamp": nil,
		}}}
	})
	f.run("reconcile", "app/shop", "-n", f.namespace).wants(t, ExitOK,
		[]string{"application/shop: compared with 4508cd1: ConfigMap/" + f.namespace + "/settings differs"}, nil)
	stop()
}

// argoReply ends the operation on an Application.
func argoReply(phase, message, sync, health string) func(*unstructured.Unstructured) map[string]any {
	return func(u *unstructured.Unstructured) map[string]any {
		return map[string]any{
			"operation": nil,
			"status": map[string]any{
				"operationState": map[string]any{
					"operation": u.Object["operation"], "phase": phase, "message": message,
					"startedAt": "2026-05-01T10:00:00Z", "finishedAt": "2026-05-01T10:00:01Z",
					"syncResult": map[string]any{
						"revision": "4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11",
						"resources": []any{map[string]any{
							"group": "", "version": "v1", "kind": "ConfigMap", "namespace": u.GetNamespace(), "name": "settings",
							"status": "Synced", "message": "configmap/settings configured",
						}},
					},
				},
				"reconciledAt": "2026-05-01T10:00:01Z",
				"sync":         map[string]any{"status": sync, "revision": "4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11"},
				"health":       map[string]any{"status": health},
			},
		}
	}
}

func TestSyncApplication(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet)
	operated := func(u *unstructured.Unstructured) bool { return u.Object["operation"] != nil }

	stop := f.answer("app/shop", operated, argoReply("Succeeded", "successfully synced (all tasks run)", "Synced", "Healthy"))
	f.run("sync", "app/shop", "-n", f.namespace, "--prune").wants(t, ExitOK,
		[]string{"application/shop: applied 4508cd1, Healthy"},
		[]string{"waiting to be taken up", "ConfigMap/" + f.namespace + "/settings: Synced configmap/settings configured"})
	stop()
	op := f.get("app/shop").Object["status"].(map[string]any)["operationState"].(map[string]any)["operation"].(map[string]any)
	if sync := op["sync"].(map[string]any); sync["prune"] != true {
		t.Errorf("operation %v", op)
	}

	stop = f.answer("app/shop", operated, argoReply("Failed", "one or more objects failed to apply, reason: no", "OutOfSync", "Healthy"))
	f.run("sync", "app/shop", "-n", f.namespace).wants(t, ExitNo, nil, []string{"plumb: application/shop: one or more objects failed to apply, reason: no"})
	stop()

	stop = f.answer("app/shop", operated, argoReply("Succeeded", "successfully synced (all tasks run)", "Synced", "Degraded"))
	f.run("sync", "app/shop", "-n", f.namespace).wants(t, ExitNo, nil, nil)
	stop()

	stop = f.answer("app/shop", operated, argoReply("Succeeded", "would be fine", "OutOfSync", "Healthy"))
	f.run("sync", "app/shop", "-n", f.namespace, "--dry-run", "--resource", "configmap/settings").wants(t, ExitOK, []string{"dry run: would be fine"}, nil)
	stop()
	f.run("sync", "app/shop", "-n", f.namespace, "--resource", "Pod/x").wants(t, ExitNotFound, nil, []string{`has no object "Pod/x"`, "plumb tree"})

	f.run("sync", "app/shop", "-n", f.namespace, "--wait=false").wants(t, ExitOK, []string{"asked for"}, nil)
	f.run("sync", "app/shop", "-n", f.namespace).wants(t, ExitNo, nil, []string{"another sync is in progress"})
	f.run("sync", "ks/shop", "-n", f.namespace, "--prune").wants(t, ExitUsage, nil, []string{"are for Applications"})
}

func TestWaitingEndsWithTheApp(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet)
	_, ended, _ := f.watching("reconcile", "ks/shop", "-n", f.namespace)
	f.untilAsked("ks/shop")
	k, _ := kindCalled("ks")
	if err := f.cluster.Resource(k.resource).Namespace(f.namespace).Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != ExitNotFound {
		t.Errorf("exit code %d", code)
	}
}
