package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// fleet is a Kustomization, its source, and an Application of the same name.
const fleet = `
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: fleet, namespace: $NS}
spec: {interval: 1m, url: "https://git.example/fleet.git", ref: {branch: main}}
status:
  observedGeneration: 1
  artifact: {revision: "main@sha1:4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11", lastUpdateTime: "2026-05-01T10:00:00Z"}
  conditions:
  - {type: Ready, status: "True", reason: Succeeded, message: stored, observedGeneration: 1, lastTransitionTime: "2026-05-01T10:00:00Z"}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: $NS}
spec: {interval: 10m, path: ./apps/shop, prune: true, sourceRef: {kind: GitRepository, name: fleet}}
status:
  observedGeneration: 1
  lastAppliedRevision: main@sha1:4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11
  lastAttemptedRevision: main@sha1:4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11
  conditions:
  - {type: Ready, status: "True", reason: ReconciliationSucceeded, message: "Applied revision: main", observedGeneration: 1, lastTransitionTime: "2026-05-01T10:00:00Z"}
  inventory:
    entries:
    - {id: $NS_api_apps_Deployment, v: v1}
    - {id: $NS_settings__ConfigMap, v: v1}
    - {id: $NS_token__Secret, v: v1}
    - {id: $NS_gone__ConfigMap, v: v1}
    - {id: $NS_gadget_example.com_Gadget, v: v1}
    - {id: $NS_shop_argoproj.io_Application, v: v1alpha1}
---
apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {name: shop, namespace: $NS}
spec:
  project: default
  source: {repoURL: "https://git.example/fleet.git", path: apps/shop}
  destination: {server: "https://kubernetes.default.svc", namespace: $NS}
status:
  sync: {status: OutOfSync, revision: 4508cd1f0a3c6a2d8ab07d3a53d2a0fb6d2f1c11, comparedTo: {destination: {}}}
  health: {status: Healthy}
  resources:
  - {version: v1, kind: ConfigMap, namespace: $NS, name: settings, status: OutOfSync}
  plumb:
    drift:
    - {object: ConfigMap/$NS/settings, at: "2026-05-01T11:00:00Z", by: kubectl-edit, fields: [.data.color], restored: false}
`

const workload = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: $NS}
data: {color: green}
---
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: $NS}
stringData: {token: hunter2}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: $NS}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec: {containers: [{name: api, image: registry.example/api:1}]}
`

func TestGet(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet)
	f.run("get", "-n", f.namespace).wants(t, ExitOK, []string{
		"NAME   KIND            READY   SYNC        HEALTH    REVISION       AGE",
		"shop   Application     False   OutOfSync   Healthy   -              ",
		"shop   Kustomization   True    Synced      -         main@4508cd1   ",
	}, nil)
	f.run("get", "-A").wants(t, ExitOK, []string{"NAMESPACE", f.namespace}, nil)
	f.run("get", "sources", "ks", "-n", f.namespace).wants(t, ExitOK, []string{"fleet   GitRepository   True", "Applied revision: main"}, nil)
	f.run("get", "shop", "-n", f.namespace).wants(t, ExitUsage, nil, []string{
		`"shop" is ambiguous`, "kustomization/" + f.namespace + "/shop", "application/" + f.namespace + "/shop",
	})
	f.run("get", "fleet", "-n", f.namespace).wants(t, ExitNotFound, nil, []string{`there is no app "fleet"`, "hint: there is gitrepository/fleet"})
	f.run("get", "ks/nope").wants(t, ExitNotFound, nil, []string{`there is no Kustomization "nope" in any namespace`, "plumb get kustomization"})
	f.run("get", "ks/"+f.namespace+"/shop", "-n", "other").wants(t, ExitUsage, nil, []string{"leave -n out"})
	f.run("get", "-n", f.namespace, "apps", "ks/shop").wants(t, ExitUsage, nil, nil)

	one := f.run("get", "ks/shop", "-n", f.namespace, "-o", "json").wants(t, ExitOK, nil, nil)
	var object appOutput
	if err := json.Unmarshal([]byte(one.stdout), &object); err != nil || object.Name != "shop" || object.State != "Ready" || len(object.Objects) != 6 {
		t.Errorf("%v: %s", err, one.stdout)
	}
	empty := sandboxtest.Namespace(t, sandboxtest.Cluster(t))
	if r := f.run("get", "-n", empty).wants(t, ExitOK, nil, []string{"no apps found"}); r.stdout != "" {
		t.Errorf("stdout %q", r.stdout)
	}
	run(t.Context(), f.stranger(), "get").wants(t, ExitUnreachable, nil, []string{"forbidden", "hint: ask for the right"})
}

// An ExternalArtifact is listed as other sources are, and left to whom it
// belongs to.
func TestExternalArtifact(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet + `---
apiVersion: source.toolkit.fluxcd.io/v1
kind: ExternalArtifact
metadata: {name: parts, namespace: $NS}
spec: {sourceRef: {apiVersion: source.extensions.fluxcd.io/v1beta1, kind: ArtifactGenerator, name: gen}}
status:
  artifact:
    url: http://watcher.example/parts.tar.gz
    path: parts.tar.gz
    revision: latest@sha256:0000000000000000000000000000000000000000000000000000000000000001
    digest: sha256:0000000000000000000000000000000000000000000000000000000000000002
    lastUpdateTime: "2026-05-01T10:00:00Z"
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: ExternalArtifact
metadata: {name: broken, namespace: $NS}
spec: {sourceRef: {kind: ArtifactGenerator, name: gen}}
status:
  conditions:
  - {type: Ready, status: "False", reason: BuildFailed, message: no such file, lastTransitionTime: "2026-05-01T10:00:00Z"}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: of-parts, namespace: $NS}
spec: {interval: 10m, prune: true, sourceRef: {kind: ExternalArtifact, name: parts}}
`)
	f.run("get", "sources", "-n", f.namespace, "-o", "wide").wants(t, ExitOK, []string{
		"broken   ExternalArtifact   False", "no such file",
		"parts    ExternalArtifact   True    latest@0000000", "http://watcher.example/parts.tar.gz", "ArtifactGenerator/gen",
	}, nil)
	f.run("get", "ea/parts", "-n", f.namespace, "-o", "json").wants(t, ExitOK, []string{`"kind": "ExternalArtifact"`, `"state": "Ready"`}, nil)
	f.run("get", "parts", "-n", f.namespace).wants(t, ExitNotFound, nil, []string{"hint: there is externalartifact/parts"})
	f.run("reconcile", "ea/parts", "-n", f.namespace).wants(t, ExitUsage, nil, []string{"externalartifact/parts cannot be looked at by Plumb: another controller makes it", "hint: plumb get"})
	f.run("reconcile", "ks/of-parts", "--with-source", "-n", f.namespace).wants(t, ExitUsage, nil, []string{"another controller makes it", "hint: leave --with-source out"})
	f.run("suspend", "ea/parts", "-n", f.namespace).wants(t, ExitUsage, nil, []string{"cannot be suspended", "hint: suspend the apps"})
	f.run("events", "ks/of-parts", "-n", f.namespace).wants(t, ExitOK, nil, nil)
	f.run("tree", "ea/parts", "-n", f.namespace).wants(t, ExitUsage, nil, []string{"is a source"})
}

func TestGetWatch(t *testing.T) {
	f := newFixture(t).install()
	table, _, stopTable := f.watching("get", "-w", "-n", f.namespace)
	stream, _, stopStream := f.watching("get", "-w", "-o", "json", "-n", f.namespace)
	f.create(fleet)
	table.until(t, "shop   Kustomization   True")
	stream.until(t, `{"event":"changed","object":{"kind":"Kustomization"`)

	application, _ := kindNamed("Application")
	apps := f.cluster.Resource(application.resource).Namespace(f.namespace)
	patch := []byte(`{"status":{"sync":{"status":"Synced"}}}`)
	if _, err := apps.Patch(t.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	table.until(t, "shop   Application     True      Synced")
	if err := apps.Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	table.until(t, "deleted")
	stream.until(t, `{"event":"deleted","object":{"kind":"Application"`)
	if code := stopTable(); code != ExitInterrupted {
		t.Errorf("exit code %d", code)
	}
	stopStream()
	for _, line := range strings.Split(strings.TrimSpace(stream.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("not one object a line: %s", line)
		}
	}
}

func TestTree(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet)
	f.create(workload)
	sandboxtest.Eventually(t, func(context.Context) error {
		r := f.run("tree", "ks/shop", "-n", f.namespace)
		for _, want := range []string{
			"Kustomization/" + f.namespace + "/shop",
			"├── Application/" + f.namespace + "/shop",
			"│   └── ConfigMap/" + f.namespace + "/settings",
			"├── ConfigMap/" + f.namespace + "/gone",
			"the cluster does not serve this kind",
			"│   └── ReplicaSet/" + f.namespace + "/api-",
			"│       ├── Pod/" + f.namespace + "/api-",
			"│       └── Pod/" + f.namespace + "/api-",
		} {
			if !strings.Contains(r.stdout, want) {
				return fmt.Errorf("no %q in:\n%s%s", want, r.stdout, r.stderr)
			}
		}
		if strings.Count(r.stdout, "Missing") != 2 || strings.Count(r.stdout, "Progressing") != 0 {
			return fmt.Errorf("not healthy:\n%s", r.stdout)
		}
		return nil
	})
	r := f.run("tree", "ks/shop", "-n", f.namespace, "-o", "json").wants(t, ExitOK, nil, nil)
	var root nodeOutput
	if err := json.Unmarshal([]byte(r.stdout), &root); err != nil || len(root.Children) != 6 {
		t.Errorf("%v: %s", err, r.stdout)
	}
	if strings.Contains(r.stdout, "hunter2") || strings.Contains(r.stdout, "aHVudGVyMg") {
		t.Error("the secret is shown")
	}
	f.run("tree", "gitrepo/fleet", "-n", f.namespace).wants(t, ExitUsage, nil, []string{"is a source"})
}

func TestDrift(t *testing.T) {
	f := newFixture(t).install()
	f.run("drift", "-n", f.namespace).wants(t, ExitOK, nil, []string{"no drift is remembered"})
	f.create(fleet)
	f.run("drift", "-n", f.namespace).wants(t, ExitNo, []string{"application/" + f.namespace + "/shop", ".data.color", "kubectl-edit", "reported"}, nil)
	f.run("drift", "ks/shop", "-n", f.namespace).wants(t, ExitOK, nil, nil)

	out, _, stop := f.watching("drift", "-w", "-n", f.namespace)
	out.until(t, "reported")
	patch := []byte(`{"status":{"resources":[{"version":"v1","kind":"ConfigMap","namespace":"` + f.namespace + `","name":"settings","status":"Synced"}]}}`)
	application, _ := kindNamed("Application")
	apps := f.cluster.Resource(application.resource).Namespace(f.namespace)
	if _, err := apps.Patch(t.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	out.until(t, "settled")
	stop()
	f.run("drift", "-n", f.namespace).wants(t, ExitOK, []string{"settled"}, nil)
}

func TestEvents(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet)
	f.create(workload)
	events := sandboxtest.Client(t, sandboxtest.Cluster(t)).CoreV1().Events(f.namespace)
	emit := func(kind, apiVersion, name, reason string, warning bool, at string) {
		t.Helper()
		stamp := metav1.Time{}
		if err := stamp.UnmarshalQueryParameter(at); err != nil {
			t.Fatal(err)
		}
		e := &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{GenerateName: "e-", Namespace: f.namespace},
			InvolvedObject: corev1.ObjectReference{Kind: kind, APIVersion: apiVersion, Namespace: f.namespace, Name: name},
			Type:           corev1.EventTypeNormal, Reason: reason, Message: "about " + name, Count: 3, FirstTimestamp: stamp, LastTimestamp: stamp,
		}
		if warning {
			e.Type = corev1.EventTypeWarning
		}
		if _, err := events.Create(t.Context(), e, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	emit("Kustomization", "kustomize.toolkit.fluxcd.io/v1", "shop", "BuildFailed", true, "2026-05-01T10:02:00Z")
	emit("GitRepository", "source.toolkit.fluxcd.io/v1", "fleet", "NewArtifact", false, "2026-05-01T10:01:00Z")
	emit("Application", "argoproj.io/v1alpha1", "shop", "OperationStarted", false, "2026-05-01T10:03:00Z")
	emit("Kustomization", "unrelated.example/v1", "shop", "Unrelated", false, "2026-05-01T10:04:00Z")
	emit("ConfigMap", "v1", "settings", "Noticed", false, "2026-05-01T10:05:00Z")

	all := f.run("events", "-n", f.namespace).wants(t, ExitOK, []string{"LAST SEEN", "Warning   BuildFailed", "(x3 over "}, nil)
	order := []string{"NewArtifact", "BuildFailed", "OperationStarted"}
	for i, reason := range order {
		if i > 0 && strings.Index(all.stdout, order[i-1]) > strings.Index(all.stdout, reason) {
			t.Errorf("%s is not in order:\n%s", reason, all.stdout)
		}
	}
	one := f.run("events", "ks/shop", "-n", f.namespace).wants(t, ExitOK, []string{"BuildFailed", "NewArtifact"}, nil)
	for _, r := range []result{all, one} {
		if strings.Contains(r.stdout, "Unrelated") || strings.Contains(r.stdout, "Noticed") {
			t.Errorf("events of others:\n%s", r.stdout)
		}
	}
	if strings.Contains(one.stdout, "OperationStarted") {
		t.Errorf("events of another app:\n%s", one.stdout)
	}
	f.run("events", "--for", "cm/settings", "-n", f.namespace).wants(t, ExitOK, []string{"Noticed"}, nil)
	f.run("events", "--for", "gizmo/x", "-n", f.namespace).wants(t, ExitNotFound, nil, []string{"--for gizmo/x"})
	r := f.run("events", "ks/shop", "-n", f.namespace, "-o", "json").wants(t, ExitOK, nil, nil)
	var parsed struct{ Items []eventOutput }
	if err := json.Unmarshal([]byte(r.stdout), &parsed); err != nil || len(parsed.Items) != 2 || parsed.Items[1].Last != "2026-05-01T10:02:00Z" {
		t.Errorf("%v: %s", err, r.stdout)
	}

	out, _, stop := f.watching("events", "-w", "ks/shop", "-n", f.namespace)
	out.until(t, "BuildFailed")
	emit("Kustomization", "kustomize.toolkit.fluxcd.io/v1", "shop", "ReconciliationSucceeded", false, "2026-05-01T10:06:00Z")
	out.until(t, "ReconciliationSucceeded")
	stop()
}

func TestCompletionOfNames(t *testing.T) {
	f := newFixture(t).install()
	f.create(fleet)
	r := f.run("__complete", "tree", "-n", f.namespace, "").wants(t, ExitOK, []string{"shop\n", "kustomization/shop\n", "application/shop\n"}, nil)
	if strings.Contains(r.stdout, "gitrepository") {
		t.Errorf("sources are offered:\n%s", r.stdout)
	}
	f.run("__complete", "reconcile", "-n", f.namespace, "git").wants(t, ExitOK, []string{"gitrepository/fleet\n"}, nil)
	f.run("__complete", "get", "--context", "").wants(t, ExitOK, []string{"plumb\n"}, nil)
}

func TestWithoutPlumb(t *testing.T) {
	f := newFixture(t)
	unknown := kind{name: "Thing", resource: schema.GroupVersionResource{Group: "nowhere.example", Version: "v1", Resource: "things"}}
	_, err := f.cluster.streams(t.Context(), selection{kinds: []kind{unknown}}, "")
	if v := explain(err); v.code != ExitNotFound || !strings.Contains(v.message, "not installed") || !strings.Contains(v.hint, "plumb install") {
		t.Errorf("got %+v", v)
	}
	for _, namespace := range []string{"", f.namespace} {
		if _, err := f.cluster.named(t.Context(), unknown, namespace, "x"); err != errNotServed {
			t.Errorf("in %q: got %v", namespace, err)
		}
	}
}
