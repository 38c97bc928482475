package scenario

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/chartserver"
	"plumb.dev/plumb/internal/sandbox/gitserver"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// TestTakeover runs scripts about who delivers a cluster. Each has clusters of
// its own, $KUBECONFIG and what `cluster` adds, and runs Plumb as a process
// where a real cluster would run the container: pods of the sandbox run
// nothing.
func TestTakeover(t *testing.T) { takeovers(t, "testdata/takeover", "") }

// TestRealFlux runs scripts with Flux's own controllers, which
// testdata/realflux/build.sh builds, as processes.
func TestRealFlux(t *testing.T) {
	dir := os.Getenv("PLUMB_TEST_FLUX")
	if dir == "" {
		t.Skip("PLUMB_TEST_FLUX names no directory with Flux's controllers")
	}
	takeovers(t, "testdata/realflux", dir)
}

// takeovers runs the scripts of a directory; those of Flux's own controllers
// are in controllers.
func takeovers(t *testing.T, dir, controllers string) {
	kubectl, plumb, git := sandboxtest.Kubectl(t), sandboxtest.Binary(t), sandboxtest.Git(t)
	flux, err := filepath.Abs("testdata/flux-installed")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	link(t, kubectl, filepath.Join(bin, "kubectl"))
	link(t, plumb, filepath.Join(bin, "plumb"))
	if controllers != "" {
		for _, name := range []string{"source-controller", "kustomize-controller", "helm-controller"} {
			link(t, filepath.Join(controllers, name), filepath.Join(bin, name))
		}
		link(t, sandboxtest.Helm(t), filepath.Join(bin, "helm"))
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
			data := sandboxtest.Dir(t)
			start := func(name string) (string, error) {
				cluster, err := sandboxtest.Launch(sandbox.Options{Executable: plumb, Dir: filepath.Join(data, name)})
				if err != nil {
					return "", err
				}
				env.Defer(cluster.Kill)
				return cluster.Kubeconfig, nil
			}
			kubeconfig, err := start("first")
			if err != nil {
				return err
			}
			env.Values["start"] = start
			env.Values["charts"] = new(*chartserver.Server)
			registry(env, "flux-system")
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("KUBECONFIG", kubeconfig)
			env.Setenv("NS", "flux-system")
			env.Setenv("REPO", git.RepoURL(name))
			env.Setenv("BASE", git.RepoURL(name+"-team")) // made by a first push
			private, err := gitserver.New(gitserver.Options{Dir: filepath.Dir(git.Dir(name)), Username: "robot", Password: "correct-horse"})
			if err != nil {
				return err
			}
			if err := private.Start(0); err != nil {
				return err
			}
			env.Defer(func() { private.Close() })
			env.Setenv("GITDIR", git.Dir(name))
			env.Setenv("PRIVATE", private.RepoURL(name)) // the same repository, behind a password
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("FLUX", flux)
			env.Setenv("WITHIN", identities)
			env.Setenv("SPECS", specs)
			env.Setenv("HISTORY", histories)
			env.Setenv("CRDS", filepath.Join(controllers, "crds.yaml"))
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			env.Setenv("STORAGE", free.Addr().String())
			if err := free.Close(); err != nil {
				return err
			}
			for _, kv := range sandboxtest.GitEnvironment() {
				if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, "GIT_") {
					env.Setenv(k, v)
				}
			}
			return prepare(env, git, name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"push": push, "apply": apply, "subst": subst, "until": until, "cluster": anotherCluster, "before": before,
			"charts": charts, "oci-push": ociPush, "event": event, "answer": answer,
		},
	})
}

// identities prints of each object what changes when it is made anew, or
// written to.
const identities = `jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name} {.metadata.uid} {.metadata.resourceVersion} {.metadata.generation}{"\n"}{end}`

// specs prints what is asked for; histories prints what a HelmRelease says of
// what Helm has done.
const (
	specs     = `jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.metadata.uid} {.metadata.generation} {.spec}{"\n"}{end}`
	histories = `jsonpath={range .items[*]}{.metadata.name} {.status.history} {.status.lastAttemptedConfigDigest} {.status.lastAttemptedRevision} {.status.lastAttemptedRevisionDigest} {.status.storageNamespace} {.status.helmChart}{"\n"}{end}`
)

// anotherCluster starts an empty cluster and makes it the one of the script.
func anotherCluster(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: cluster NAME")
	}
	kubeconfig, err := ts.Value("start").(func(string) (string, error))(args[0])
	ts.Check(err)
	ts.Setenv("KUBECONFIG", kubeconfig)
}

// event returns when there is an event of a reason in $NS.
func event(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: event REASON")
	}
	config, err := clientcmd.BuildConfigFromFlags("", ts.Getenv("KUBECONFIG"))
	ts.Check(err)
	client, err := kubernetes.NewForConfig(config)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), sandboxtest.Patience)
	defer cancel()
	// Without a version the watch begins with what there is.
	w, err := client.CoreV1().Events(ts.Getenv("NS")).Watch(ctx, metav1.ListOptions{FieldSelector: "reason=" + args[0]})
	ts.Check(err)
	defer w.Stop()
	if _, open := <-w.ResultChan(); !open {
		ts.Fatalf("there is no event %s", args[0])
	}
}

// answer does what Flux does to a resource that it is asked for, and to which
// nothing is to be done: it says so in the status. With ! it has failed.
func answer(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] answer RESOURCE/NAME MESSAGE")
	}
	api, name, err := resourceNamed(ts, args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), sandboxtest.Patience)
	defer cancel()
	var token string
	var generation int64
	asked := func(u *unstructured.Unstructured) bool {
		handled, _, _ := unstructured.NestedString(u.Object, "status", "lastHandledReconcileAt")
		token, generation = u.GetAnnotations()["reconcile.fluxcd.io/requestedAt"], u.GetGeneration()
		return token != "" && token != handled
	}
	for found := false; !found; {
		found, err = once(ctx, api, name, asked)
		ts.Check(err)
		if ctx.Err() != nil {
			ts.Fatalf("nobody asked for %s", args[0])
		}
	}
	ready := map[string]any{"type": "Ready", "status": "True", "reason": "ReconciliationSucceeded", "message": args[1],
		"observedGeneration": generation, "lastTransitionTime": "2026-05-01T10:00:00Z"}
	if neg {
		ready["status"], ready["reason"] = "False", "ReconciliationFailed"
	}
	body, err := json.Marshal(map[string]any{"status": map[string]any{
		"observedGeneration": generation, "lastHandledReconcileAt": token, "conditions": []any{ready}}})
	ts.Check(err)
	_, err = api.Patch(ctx, name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: "gotk-kustomize-controller"}, "status")
	ts.Check(err)
}

// before holds that the first of two ConfigMaps, NAMESPACE/NAME, was written
// before the second.
func before(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || neg {
		ts.Fatalf("usage: before NAMESPACE/NAME NAMESPACE/NAME")
	}
	var versions [2]uint64
	for i, arg := range args {
		namespace, name, _ := strings.Cut(arg, "/")
		ts.Check(ts.Exec("kubectl", "-n", namespace, "get", "cm", name, "-o", "jsonpath={.metadata.resourceVersion}"))
		n, err := strconv.ParseUint(strings.TrimSpace(ts.ReadFile("stdout")), 10, 64)
		ts.Check(err)
		versions[i] = n
	}
	if versions[0] >= versions[1] {
		ts.Fatalf("%s has version %d, %s has %d", args[0], versions[0], args[1], versions[1])
	}
}
