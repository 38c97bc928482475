package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// TestTakeover runs scripts about who delivers a cluster. Each has clusters of
// its own, $KUBECONFIG and what `cluster` adds, and runs Plumb as a process
// where a real cluster would run the container: pods of the sandbox run
// nothing.
func TestTakeover(t *testing.T) {
	kubectl, plumb, git := sandboxtest.Kubectl(t), sandboxtest.Binary(t), sandboxtest.Git(t)
	flux, err := filepath.Abs("testdata/flux-installed")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	link(t, kubectl, filepath.Join(bin, "kubectl"))
	link(t, plumb, filepath.Join(bin, "plumb"))
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/takeover",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			name := strings.TrimPrefix(filepath.Base(env.WorkDir), "script-")
			dir := sandboxtest.Dir(t)
			start := func(name string) (string, error) {
				cluster, err := sandboxtest.Launch(sandbox.Options{Executable: plumb, Dir: filepath.Join(dir, name)})
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
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("KUBECONFIG", kubeconfig)
			env.Setenv("NS", "flux-system")
			env.Setenv("REPO", git.RepoURL(name))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("FLUX", flux)
			env.Setenv("WITHIN", identities)
			for _, kv := range sandboxtest.GitEnvironment() {
				if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, "GIT_") {
					env.Setenv(k, v)
				}
			}
			return prepare(env, git, name)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"push": push, "apply": apply, "subst": subst, "until": until, "cluster": anotherCluster,
		},
	})
}

// identities prints of each object what changes when it is made anew, or
// written to.
const identities = `jsonpath={range .items[*]}{.kind}/{.metadata.namespace}/{.metadata.name} {.metadata.uid} {.metadata.resourceVersion} {.metadata.generation}{"\n"}{end}`

// anotherCluster starts an empty cluster and makes it the one of the script.
func anotherCluster(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: cluster NAME")
	}
	kubeconfig, err := ts.Value("start").(func(string) (string, error))(args[0])
	ts.Check(err)
	ts.Setenv("KUBECONFIG", kubeconfig)
}
