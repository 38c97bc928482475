// Package fluxcli makes the requests of the flux command, one by one as that
// command makes them and decoded into the types that it is compiled with,
// against a cluster that the plumb binary serves; and it compares what the
// command would print. The command itself is not needed.
package fluxcli

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/chartserver"
	"plumb.dev/plumb/internal/sandbox/child"
	"plumb.dev/plumb/internal/sandbox/ociserver"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/up"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// world is a cluster with Plumb installed where the command looks, and an
// engine that serves it.
type world struct {
	t       *testing.T
	cluster *sandbox.Cluster
	binary  string
	kubectl string
	repo    *sandboxtest.Repo
	oci     string // host of the registry
	packed  string // revision of what is in it
	charts  string // address of the Helm repository
	store   *sandboxtest.S3
	given   string // revision of the ExternalArtifact
	log     string // file with the engine's log
	http    string // address of the engine
	flux    *client
}

const tree = `
-- apps/kustomization.yaml --
namespace: shop
resources: [namespace.yaml, web.yaml, reader.yaml, child.yaml, release.yaml]
-- apps/namespace.yaml --
apiVersion: v1
kind: Namespace
metadata: {name: shop}
-- apps/web.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: registry.example.org/web:${tag}
          ports: [{containerPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Secret
metadata: {name: web}
stringData:
  colour: ${colour}
-- apps/reader.yaml --
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "shop:reader"}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
-- apps/child.yaml --
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: child}
spec:
  interval: 1h
  path: ./child
  prune: true
  sourceRef: {kind: GitRepository, name: fleet, namespace: flux-system}
-- apps/release.yaml --
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: db}
spec:
  interval: 1h
  chart:
    spec: {chart: ./charts/db, sourceRef: {kind: GitRepository, name: fleet, namespace: flux-system}}
  values: {size: small}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {name: queue}
spec:
  interval: 1h
  chart:
    spec: {chart: queue, version: 2.x, sourceRef: {kind: HelmRepository, name: charts, namespace: flux-system}}
-- charts/db/Chart.yaml --
apiVersion: v2
name: db
version: 1.0.0
-- charts/db/templates/settings.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: db}
data: {a: b}
-- child/settings.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {a: b}
-- broken/pod.yaml --
apiVersion: v1
kind: Pod
metadata: {name: [
`

const resources = `
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: fleet, namespace: flux-system}
spec: {url: "%[1]s", interval: 1h, ref: {branch: main}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: variables, namespace: flux-system}
data: {tag: v1, colour: red}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps, namespace: flux-system}
spec:
  interval: 1h
  path: ./apps
  prune: true
  wait: true
  timeout: 2m
  sourceRef: {kind: GitRepository, name: fleet}
  postBuild:
    substitute: {colour: blue}
    substituteFrom: [{kind: ConfigMap, name: variables}]
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: flux-system}
spec: {url: "%[3]s", interval: 1h}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: registry, namespace: flux-system}
spec: {url: "oci://%[2]s/charts", type: oci}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: packed, namespace: flux-system}
spec: {url: "oci://%[2]s/packed", interval: 1h, insecure: true, ref: {tag: v1}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: packed, namespace: flux-system}
spec: {interval: 1h, path: ./, prune: true, dependsOn: [{name: apps}], sourceRef: {kind: OCIRepository, name: packed}}
---
apiVersion: v1
kind: Secret
metadata: {name: store, namespace: flux-system}
stringData: {accesskey: "%[5]s", secretkey: "%[6]s"}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: Bucket
metadata: {name: store, namespace: flux-system}
spec: {bucketName: store, endpoint: "%[4]s", insecure: true, interval: 1h, secretRef: {name: store}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: stored, namespace: flux-system}
spec: {interval: 1h, path: ./, prune: true, dependsOn: [{name: apps}], sourceRef: {kind: Bucket, name: store}}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: ExternalArtifact
metadata: {name: given, namespace: flux-system}
spec: {sourceRef: {apiVersion: example.org/v1, kind: Maker, name: given}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: given, namespace: flux-system}
spec: {interval: 1h, path: ./, prune: true, dependsOn: [{name: apps}], sourceRef: {kind: ExternalArtifact, name: given}}
`

// begin brings it all up. The test is over when it fails.
func begin(t *testing.T) *world {
	dir := sandboxtest.Dir(t)
	w := &world{t: t, binary: sandboxtest.Binary(t), kubectl: sandboxtest.Kubectl(t), log: filepath.Join(dir, "engine.log")}
	w.cluster = sandboxtest.Start(t, sandbox.Options{Executable: w.binary, Dir: filepath.Join(dir, "kubernetes")})
	w.flux = newClient(t, sandboxtest.RESTConfig(t, w.cluster))
	// A namespace that Flux made is no obstacle.
	w.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: flux-system, labels: {app.kubernetes.io/part-of: flux, app.kubernetes.io/version: v2.8.0}}\n", "--field-manager=flux")
	manifests, err := exec.Command(w.binary, "install", "-n", "flux-system", "--image", "registry.example.org:5000/team/plumb:v1.2.3").Output()
	if err != nil {
		t.Fatal(err)
	}
	w.apply(string(manifests))
	w.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	w.repo = sandboxtest.NewRepo(t, sandboxtest.Git(t), "fleet").WriteArchive(tree)
	w.repo.Push("one")
	w.pack()
	w.publish()
	w.store = sandboxtest.S3Store(t)
	if err := w.store.Make(t.Context(), "store"); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Put(t.Context(), "store", "cm.yaml", []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stored, namespace: shop}\n")); err != nil {
		t.Fatal(err)
	}
	w.serve(filepath.Join(dir, "cache"))
	return w
}

// pack pushes an artifact to a registry, as flux push artifact does.
func (w *world) pack() {
	w.t.Helper()
	server := httptest.NewServer(ociserver.New())
	w.t.Cleanup(server.Close)
	w.oci = ociserver.Host(server.URL)
	layer, err := ociserver.Archive(fstest.MapFS{"cm.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: packed, namespace: shop}\n")}})
	if err != nil {
		w.t.Fatal(err)
	}
	digest, err := ociserver.Client{}.Push(w.t.Context(), w.oci+"/packed:v1", ociserver.Artifact{Layers: []ociserver.Layer{{Data: layer}}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.packed = "v1@" + digest
}

// publish puts a chart into a Helm repository.
func (w *world) publish() {
	w.t.Helper()
	server, err := chartserver.New(chartserver.Options{Dir: w.t.TempDir()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(server.Close)
	dir := w.t.TempDir()
	for name, text := range map[string]string{
		"Chart.yaml":        "apiVersion: v2\nname: queue\nversion: 0.0.0\n",
		"templates/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: queue}\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := server.Publish(dir, "2.1.0"); err != nil {
		w.t.Fatal(err)
	}
	w.charts = server.URL
}

// give does what a controller does that makes artifacts: it serves one and tells
// of it in the status of the ExternalArtifact.
func (w *world) give() {
	w.t.Helper()
	data, err := ociserver.Archive(fstest.MapFS{"cm.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: given, namespace: shop}\n")}})
	if err != nil {
		w.t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(data) }))
	w.t.Cleanup(server.Close)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	w.given = "latest@" + digest
	now := time.Now().UTC().Format(time.RFC3339)
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"artifact":   map[string]any{"path": "given.tar.gz", "url": server.URL + "/given.tar.gz", "digest": digest, "revision": w.given, "size": len(data), "lastUpdateTime": now},
		"conditions": []any{map[string]any{"type": "Ready", "status": "True", "reason": "Succeeded", "message": "made " + w.given, "lastTransitionTime": now, "observedGeneration": 1}},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.run("patch", "externalartifact", "given", "-n", "flux-system", "--subresource=status", "--type=merge", "-p", string(status))
}

// serve runs the engine. The pods of the installation only say that they run.
func (w *world) serve(cache string) {
	w.t.Helper()
	log, err := os.Create(w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { log.Close() })
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute)
	defer cancel()
	process, ready, err := child.Start[up.EngineReady](ctx, child.Options{Name: "engine", Executable: w.binary, Stderr: log,
		Args: []string{"serve", "--kubeconfig", w.cluster.Kubeconfig, "--listen", "127.0.0.1:0", "--cache", cache,
			"--lease-namespace", "flux-system", "--until-stdin-closes"}})
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.logged())
	}
	w.http = ready.HTTP
	w.t.Cleanup(process.Kill)
}

func (w *world) logged() string {
	data, err := os.ReadFile(w.log)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// run is stock kubectl.
func (w *world) run(args ...string) string {
	w.t.Helper()
	return w.runWith("", args...)
}

func (w *world) runWith(stdin string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(w.kubectl, append([]string{"--kubeconfig", w.cluster.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (w *world) apply(manifests string, flags ...string) {
	w.t.Helper()
	w.runWith(manifests, append([]string{"apply", "--server-side", "-f", "-"}, flags...)...)
}

// revision is the head of the repository as statuses name it, and as tables do.
func (w *world) revision() (long, short string) {
	head := strings.TrimSpace(w.repo.Git("rev-parse", "HEAD"))
	return "main@sha1:" + head, "main@sha1:" + head[:8]
}

// ready waits until Kustomizations are.
func (w *world) ready(c *client, names ...string) {
	w.t.Helper()
	for _, name := range names {
		k := kustomization()
		if _, err := c.poll(k, name, objectReady(k)); err != nil {
			o, _, _ := c.get(k, name)
			w.t.Fatalf("%s is not ready: %v\n%+v\n%s", name, err, o, w.logged())
		}
	}
}

// subject is a resource that is well, and what the command shows of it. One of a
// kind that comes to be served is one more line in subjects, and a manifest.
type subject struct {
	kind              kind
	namespace, name   string
	revision, message string // of kind.cells and condition Ready, in full
}

// subjects are the resources by the latest commit, in the order of a list.
func (w *world) subjects() []subject {
	w.t.Helper()
	head, _ := w.revision()
	index := w.run("get", "helmrepository", "charts", "-n", "flux-system", "-o", "jsonpath={.status.artifact.revision}")
	if !strings.HasPrefix(index, "sha256:") {
		w.t.Errorf("the index of the Helm repository is %q", index)
	}
	stored := w.run("get", "bucket", "store", "-n", "flux-system", "-o", "jsonpath={.status.artifact.revision}")
	if !strings.HasPrefix(stored, "sha256:") {
		w.t.Errorf("what the bucket holds is %q", stored)
	}
	return []subject{
		{gitRepository(), "flux-system", "fleet", head, "stored artifact for revision '" + head + "'"},
		{ociRepository(), "flux-system", "packed", w.packed, "stored artifact for digest '" + w.packed + "'"},
		{helmRepository(), "flux-system", "charts", index, "stored artifact: revision '" + index + "'"},
		{helmChart(), "flux-system", "shop-db", "1.0.0", "packaged 'db' chart with version '1.0.0'"},
		{helmChart(), "flux-system", "shop-queue", "2.1.0", "pulled 'queue' chart with version '2.1.0'"},
		{bucket(), "flux-system", "store", stored, "stored artifact: revision '" + stored + "'"},
		{externalArtifact(), "flux-system", "given", w.given, "made " + w.given},
		{kustomization(), "flux-system", "apps", head, "Applied revision: " + head},
		{kustomization(), "flux-system", "given", w.given, "Applied revision: " + w.given},
		{kustomization(), "flux-system", "packed", w.packed, "Applied revision: " + w.packed},
		{kustomization(), "flux-system", "stored", stored, "Applied revision: " + stored},
		{kustomization(), "shop", "child", head, "Applied revision: " + head},
		{helmRelease(), "shop", "db", "1.0.0", "Helm install succeeded for release shop/db.v1 with chart db@1.0.0"},
		{helmRelease(), "shop", "queue", "2.1.0", "Helm install succeeded for release shop/queue.v1 with chart queue@2.1.0"},
	}
}

// row is how a table shows a subject.
func (s subject) row(suspended bool) string {
	return strings.Join([]string{s.name, short(s.revision), title(suspended), "True", short(s.message)}, "\t")
}

// done is how a command that waited for it ends.
func (s subject) done() string {
	if s.kind.source {
		return "✔ fetched revision " + s.revision
	}
	return "✔ applied revision " + s.revision
}

const header = "NAME\tREVISION\tSUSPENDED\tREADY\tMESSAGE"

// is compares what a command printed.
func is(t *testing.T, got, want string) {
	t.Helper()
	if got, want = strings.TrimSpace(got), strings.TrimSpace(want); got != want {
		t.Errorf("printed\n%s\nwanted\n%s", got, want)
	}
}

// TestFlux runs the commands, one after the other, on one installation.
func TestFlux(t *testing.T) {
	w := begin(t)
	w.apply(fmt.Sprintf(resources, w.repo.URL, w.oci, w.charts, w.store.Endpoint, w.store.AccessKey, w.store.SecretKey))
	w.give()
	w.ready(w.flux, "apps", "packed", "stored", "given")
	w.ready(w.flux.in("shop"), "child")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *world, *client)
	}{
		// What only reads comes first.
		{"check", testCheck}, {"version", testVersion}, {"get", testGet}, {"tree", testTree}, {"trace", testTrace}, {"trace-helm", testTraceHelm},
		{"events", testEvents}, {"diff", testDiff}, {"export", testExport}, {"debug", testDebug}, {"logs", testLogs},
		{"metrics", testMetrics},
		{"reconcile", testReconcile}, {"suspend", testSuspend}, {"create", testCreate}, {"create-all", testCreateAll}, {"failures", testFailures}, {"force", testForce},
		{"migrate", testMigrate}, {"uninstall", testUninstall},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, w, w.flux.with(t)) })
	}
}
