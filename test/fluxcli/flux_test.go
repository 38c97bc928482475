// Package fluxcli makes the requests of the flux command, one by one as that
// command makes them and decoded into the types that it is compiled with,
// against a cluster that the plumb binary serves; and it compares what the
// command would print. The command itself is not needed.
package fluxcli

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/child"
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
	log     string // file with the engine's log
	http    string // address of the engine
	flux    *client
}

const tree = `
-- apps/kustomization.yaml --
namespace: shop
resources: [namespace.yaml, web.yaml, reader.yaml, child.yaml]
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
`

// begin brings it all up. The test is over when it fails.
func begin(t *testing.T) *world {
	dir := sandboxtest.Dir(t)
	w := &world{t: t, binary: sandboxtest.Binary(t), kubectl: sandboxtest.Kubectl(t), log: filepath.Join(dir, "engine.log")}
	w.cluster = sandboxtest.Start(t, sandbox.Options{Executable: w.binary, Dir: filepath.Join(dir, "kubernetes")})
	w.flux = newClient(t, sandboxtest.RESTConfig(t, w.cluster))
	manifests, err := exec.Command(w.binary, "install", "-n", "flux-system", "--image", "registry.example.org:5000/team/plumb:v1.2.3").Output()
	if err != nil {
		t.Fatal(err)
	}
	w.apply(string(manifests))
	w.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	w.repo = sandboxtest.NewRepo(t, sandboxtest.Git(t), "fleet").WriteArchive(tree)
	w.repo.Push("one")
	w.serve(filepath.Join(dir, "cache"))
	return w
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

func (w *world) apply(manifests string) {
	w.t.Helper()
	w.runWith(manifests, "apply", "--server-side", "-f", "-")
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

// is compares what a command printed.
func is(t *testing.T, got, want string) {
	t.Helper()
	if got, want = strings.TrimSpace(got), strings.TrimSpace(want); got != want {
		t.Errorf("printed\n%s\nwanted\n%s", got, want)
	}
}

func TestFlux(t *testing.T) {
	w := begin(t)
	w.apply(fmt.Sprintf(resources, w.repo.URL))
	w.ready(w.flux, "apps")
	w.ready(w.flux.in("shop"), "child")
	for name, test := range map[string]func(*testing.T, *world, *client){
		"check": testCheck, "version": testVersion,
	} {
		t.Run(name, func(t *testing.T) { test(t, w, w.flux.with(t)) })
	}
	t.Run("get", func(t *testing.T) { testGet(t, w, w.flux.with(t)) })
	t.Run("reconcile", func(t *testing.T) { testReconcile(t, w, w.flux.with(t)) })
	t.Run("suspend", func(t *testing.T) { testSuspend(t, w, w.flux.with(t)) })
	t.Run("failures", func(t *testing.T) { testFailures(t, w, w.flux.with(t)) })
}

func testCheck(t *testing.T, w *world, c *client) {
	w.run("-n", "flux-system", "rollout", "status", "deployment/plumb", "--timeout=90s")
	if err := c.check(); err != nil {
		t.Errorf("%v\n%s", err, c.printed())
		return
	}
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
✔ gitrepositories.source.toolkit.fluxcd.io/v1
✔ kustomizations.kustomize.toolkit.fluxcd.io/v1
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
	_, rev := w.revision()
	for _, command := range []struct {
		run  func() error
		want string
	}{
		{func() error { return c.table(kustomization(), getOptions{}) },
			"NAME\tREVISION\tSUSPENDED\tREADY\tMESSAGE\napps\t" + rev + "\tFalse\tTrue\tApplied revision: " + rev},
		{func() error { return c.table(gitRepository(), getOptions{}) },
			"NAME\tREVISION\tSUSPENDED\tREADY\tMESSAGE\nfleet\t" + rev + "\tFalse\tTrue\tstored artifact for revision '" + rev + "'"},
		{func() error { return c.table(kustomization(), getOptions{name: "nothing"}) },
			"✗ Kustomization object 'nothing' not found in \"flux-system\" namespace"},
		{func() error { return c.table(kustomization(), getOptions{selector: "ready=false"}) },
			"NAME\tREVISION\tSUSPENDED\tREADY\tMESSAGE"},
		{func() error {
			return c.table(kustomization(), getOptions{selector: "Ready!=false", all: true, name: "child"})
		},
			"NAMESPACE\tNAME\tREVISION\tSUSPENDED\tREADY\tMESSAGE\nshop\tchild\t" + rev + "\tFalse\tTrue\tApplied revision: " + rev},
		{c.all, "NAMESPACE\tNAME\tREVISION\tSUSPENDED\tREADY\tMESSAGE\n" +
			"flux-system\tgitrepository/fleet\t" + rev + "\tFalse\tTrue\tstored artifact for revision '" + rev + "'\n" +
			"NAMESPACE\tNAME\tREVISION\tSUSPENDED\tREADY\tMESSAGE\n" +
			"flux-system\tkustomization/apps\t" + rev + "\tFalse\tTrue\tApplied revision: " + rev + "\n" +
			"shop\tkustomization/child\t" + rev + "\tFalse\tTrue\tApplied revision: " + rev},
	} {
		if err := command.run(); err != nil {
			t.Error(err)
		}
		is(t, c.printed(), command.want)
	}
}

func testReconcile(t *testing.T, w *world, c *client) {
	w.repo.Write(map[string]string{"child/settings.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: shop}\ndata: {a: c}\n"}).Push("two")
	long, _ := w.revision()
	if err := c.reconcile(kustomization(), "apps", true); err != nil {
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
	for range 2 { // the second time there is nothing to do, and still an answer
		if err := c.reconcile(gitRepository(), "fleet", false); err != nil {
			t.Error(err)
		}
		is(t, c.printed(), `
► annotating GitRepository fleet in flux-system namespace
✔ GitRepository annotated
◎ waiting for GitRepository reconciliation
✔ fetched revision `+long)
	}
	child := c.in("shop")
	if err := child.reconcile(kustomization(), "child", false); err != nil {
		t.Error(err)
	}
	if got := child.printed(); !strings.HasSuffix(got, "✔ applied revision "+long+"\n") {
		t.Errorf("printed\n%s", got)
	}
}

func testSuspend(t *testing.T, w *world, c *client) {
	long, rev := w.revision()
	for _, s := range []struct {
		kind    kind
		name    string
		message string
	}{
		{kustomization(), "apps", "Applied revision: " + rev},
		{gitRepository(), "fleet", "stored artifact for revision '" + rev + "'"},
	} {
		if err := c.suspend(s.kind, s.name); err != nil {
			t.Fatal(err)
		}
		is(t, c.printed(), fmt.Sprintf("► suspending %[1]s %[2]s in flux-system namespace\n✔ %[1]s suspended", s.kind.human, s.name))
		if err := c.table(s.kind, getOptions{name: s.name}); err != nil {
			t.Error(err)
		}
		is(t, c.printed(), "NAME\tREVISION\tSUSPENDED\tREADY\tMESSAGE\n"+s.name+"\t"+rev+"\tTrue\tTrue\t"+s.message)
		if err := c.reconcile(s.kind, s.name, false); err == nil || err.Error() != "resource is suspended" {
			t.Errorf("reconcile of what is suspended: %v", err)
		}
		if err := c.resume(s.kind, s.name); err != nil {
			t.Fatalf("%s %s: %v\n%s", s.kind.name, s.name, err, w.logged())
		}
		is(t, c.printed(), fmt.Sprintf(`
► resuming %[1]s %[2]s in flux-system namespace
✔ %[1]s resumed
◎ waiting for %[3]s reconciliation
✔ %[3]s %[2]s reconciliation completed
✔ %[4]s %[5]s`, s.kind.human, s.name, s.kind.name, map[bool]string{true: "fetched revision", false: "applied revision"}[s.kind.source], long))
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
	for _, f := range []struct {
		kind    kind
		name    string
		stalled bool // then the command says so at once
		message string
	}{
		{kustomization(), "broken", false, "broken/pod.yaml"},
		{gitRepository(), "away", false, "away"},
		{gitRepository(), "stalled", true, ""},
	} {
		o, _, err := c.get(f.kind, f.name)
		if err != nil {
			t.Fatal(err)
		}
		before := f.kind.handled(o)
		err = c.reconcile(f.kind, f.name, false)
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
		if err := c.remove(f.kind, f.name); err != nil {
			t.Error(err)
		}
	}
}
