// Package scenario drives Plumb as its users do: scripts push to a real Git
// server, and stock kubectl talks to a real Kubernetes API server. Each script
// in testdata tells one story.
package scenario

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/render/worker"
	"plumb.dev/plumb/internal/sandbox/chartserver"
	"plumb.dev/plumb/internal/sandbox/gitserver"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/server"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// TestScenarios runs one engine and one cluster for all scripts; each script
// has a namespace $NS and a repository $REPO of its own.
func TestScenarios(t *testing.T) { scenarios(t, "testdata", server.Options{}) }

// TestRemoteBases runs scripts with an engine that fetches remote bases.
func TestRemoteBases(t *testing.T) {
	scenarios(t, "testdata/remote-bases", server.Options{RemoteBases: true})
}

// TestTenancy runs scripts with an engine that keeps tenants apart.
func TestTenancy(t *testing.T) {
	scenarios(t, "testdata/tenancy", server.Options{Tenancy: flux.Tenancy{NoCrossNamespaceRefs: true, DefaultServiceAccount: "deployer"}})
}

// TestStockHelm runs scripts with a stock helm at hand.
func TestStockHelm(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+string(os.PathListSeparator)+filepath.Dir(sandboxtest.Helm(t)))
	scenarios(t, "testdata/stock-helm", server.Options{})
}

// scenarios runs the scripts of a directory with an engine as opts say.
func scenarios(t *testing.T, dir string, opts server.Options) {
	cluster := sandboxtest.Cluster(t)
	kubectl := sandboxtest.Kubectl(t)
	bin := t.TempDir()
	link(t, kubectl, filepath.Join(bin, "kubectl"))
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	link(t, sandboxtest.Binary(t), filepath.Join(bin, "plumb"))
	install(t, cluster.Kubeconfig)
	git := sandboxtest.Git(t)
	hooks := serve(t, cluster.Kubeconfig, opts)
	store := sync.OnceValue(func() *sandboxtest.S3 { return sandboxtest.S3Store(t) }) // it may have to be built
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		t.Fatal(err)
	}
	var count atomic.Int64
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			ns := fmt.Sprintf("%.1s%d-%s", filepath.Base(dir), count.Add(1), strings.ToLower(filepath.Base(env.WorkDir)))
			ns = strings.TrimPrefix(ns, "script-")
			proxy := newGate(git.URL(), filepath.Dir(git.Dir(ns)))
			env.Defer(proxy.Close)
			env.Values["switch"], env.Values["hooks"] = proxy, hooks
			env.Values["s3"] = store
			env.Values["charts"] = new(*chartserver.Server)
			repo := proxy.URL + "/" + ns + ".git"
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("KUBECONFIG", cluster.Kubeconfig)
			env.Setenv("NS", ns)
			env.Setenv("REPO", repo)
			env.Setenv("BASE", proxy.URL+"/"+ns+"-base.git") // made by a first push
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("EXAMPLES", examples)
			for _, kv := range sandboxtest.GitEnvironment() {
				if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, "GIT_") {
					env.Setenv(k, v)
				}
			}
			registry(env, ns)
			return prepare(env, git, ns)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"push": push, "apply": apply, "subst": subst, "until": until, "git-server": gitServer, "hook": hook, "fetch": fetch, "http": httpStatus, "external": external, "s3": s3, "charts": charts,
			"oci-push": ociPush, "oci-sign": ociSign, "oci-key": ociKey, "oci-server": ociServer,
		},
	})
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Symlink(from, to); err != nil {
		t.Fatal(err)
	}
}

// prepare makes the namespace $NS and the clone in $WORK/repo of a repository.
func prepare(env *testscript.Env, git *gitserver.Server, repository string) error {
	if err := git.Create(context.Background(), repository); err != nil {
		return err
	}
	ns := env.Getenv("NS")
	for _, args := range [][]string{
		{"kubectl", "--kubeconfig", env.Getenv("KUBECONFIG"), "create", "namespace", ns},
		{"git", "init", "-q", "--initial-branch=main", filepath.Join(env.WorkDir, "repo")},
		{"git", "-C", filepath.Join(env.WorkDir, "repo"), "remote", "add", "origin", git.RepoURL(repository)},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), sandboxtest.GitEnvironment()...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	env.Defer(func() {
		exec.Command("kubectl", "--kubeconfig", env.Getenv("KUBECONFIG"), "delete", "namespace", ns, "--wait=false").Run()
	})
	return nil
}

// install applies Plumb's definitions and waits until they are served.
func install(t *testing.T, kubeconfig string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "crds.yaml")
	if err := os.WriteFile(file, api.CRDs(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "-f", file},
		{"wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"},
	} {
		out, err := exec.Command("kubectl", append([]string{"--kubeconfig", kubeconfig}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, out)
		}
	}
}

// serve runs the engine in this process until the test ends.
func serve(t *testing.T, kubeconfig string, opts server.Options) (hooks string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	logs := io.Discard
	if testing.Verbose() {
		logs = os.Stderr
	}
	address := make(chan string, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		opts.Config, opts.Dir, opts.Listen, opts.Version = config, t.TempDir(), "127.0.0.1:0", "test"
		opts.ReplicaID = "scenario"
		opts.Render = worker.Options{Executable: sandboxtest.Binary(t), Args: []string{"render-worker"}}
		opts.Log = slog.New(slog.NewTextHandler(logs, nil))
		opts.Listening = func(a net.Addr) { address <- a.String() }
		done <- server.Run(ctx, opts)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case a := <-address:
		return "http://" + a + "/hooks/push"
	case err := <-done:
		t.Fatal("the engine ended: ", err)
		return ""
	}
}

// gate is a proxy before the Git server that a script can shut, or put behind a
// password.
type gate struct {
	*httptest.Server
	dir     string // of the repositories
	shut    atomic.Bool
	private atomic.Pointer[gitserver.Server] // nil while no password is asked for
}

func newGate(target, dir string) *gate {
	u, err := url.Parse(target)
	if err != nil {
		panic(err)
	}
	g := &gate{dir: dir}
	proxy := httputil.NewSingleHostReverseProxy(u)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.shut.Load() {
			panic(http.ErrAbortHandler) // closes the connection without an answer
		}
		if private := g.private.Load(); private != nil {
			private.ServeHTTP(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	return g
}

// gitServer shuts or opens the script's way to the Git server, or lets a
// server that asks for a password answer there.
func gitServer(ts *testscript.TestScript, neg bool, args []string) {
	g := ts.Value("switch").(*gate)
	switch {
	case neg:
		ts.Fatalf("unsupported: ! git-server")
	case len(args) == 1 && (args[0] == "up" || args[0] == "down"):
		g.shut.Store(args[0] == "down")
	case len(args) == 3 && args[0] == "private":
		private, err := gitserver.New(gitserver.Options{Dir: g.dir, Username: args[1], Password: args[2]})
		ts.Check(err)
		g.private.Store(private)
	default:
		ts.Fatalf("usage: git-server up|down|private USER PASSWORD")
	}
}

// hook tells the engine of a push that the script made by itself, to $REPO or
// to the repository that is named.
func hook(ts *testscript.TestScript, neg bool, args []string) {
	switch {
	case len(args) > 1 || neg:
		ts.Fatalf("usage: hook [URL]")
	case len(args) == 1:
		tell(ts, args[0])
	default:
		tell(ts, ts.Getenv("REPO"))
	}
}

// push commits all of $WORK/repo, with $NS, $REPO and $BASE filled in, pushes it and
// tells the engine, as a webhook of the Git host would. $COMMIT is its hash.
func push(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: push MESSAGE")
	}
	dir := ts.MkAbs("repo")
	ts.Check(fillAll(ts, dir))
	for _, cmd := range [][]string{{"add", "-A"}, {"commit", "-q", "--allow-empty", "-m", args[0]}, {"push", "-q", "origin", "HEAD:main"}} {
		ts.Check(ts.Exec("git", append([]string{"-C", dir}, cmd...)...))
	}
	ts.Check(ts.Exec("git", "-C", dir, "rev-parse", "HEAD"))
	ts.Setenv("COMMIT", strings.TrimSpace(ts.ReadFile("stdout")))
	tell(ts, ts.Getenv("REPO"))
}

func tell(ts *testscript.TestScript, url string) {
	hooks, listening := ts.Value("hooks").(string)
	if !listening {
		return // the script runs engines by itself
	}
	body := fmt.Sprintf(`{"url":%q,"ref":"refs/heads/main"}`, url)
	resp, err := httpPost(hooks, body)
	ts.Check(err)
	if resp >= 300 {
		ts.Fatalf("webhook answered %d", resp)
	}
}

// fillAll fills in all files below a directory.
func fillAll(ts *testscript.TestScript, dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if err == nil && d.Name() == ".git" {
				return filepath.SkipDir
			}
			return err
		}
		return fill(ts, path, path)
	})
}

func fill(ts *testscript.TestScript, from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	text := strings.NewReplacer("$NS", ts.Getenv("NS"), "$REPO", ts.Getenv("REPO"), "$BASE", ts.Getenv("BASE"), "$COMMIT", ts.Getenv("COMMIT"),
		"$OCIHOST", ts.Getenv("OCIHOST"), "$OCI", ts.Getenv("OCI"), "$DIGEST", ts.Getenv("DIGEST"), "$CHARTS", ts.Getenv("CHARTS"),
		"$S3KEY", ts.Getenv("S3KEY"), "$S3SECRET", ts.Getenv("S3SECRET"), "$S3", ts.Getenv("S3")).Replace(string(data))
	if from == to && text == string(data) {
		return nil
	}
	return os.WriteFile(to, []byte(text), 0o644)
}

// subst fills $NS and $REPO in files in.
func subst(ts *testscript.TestScript, neg bool, args []string) {
	for _, f := range args {
		ts.Check(fill(ts, ts.MkAbs(f), ts.MkAbs(f)))
	}
}

// apply is kubectl apply -f with $NS and $REPO filled in.
func apply(ts *testscript.TestScript, neg bool, args []string) {
	for _, f := range args {
		subst(ts, false, []string{f})
		err := ts.Exec("kubectl", "apply", "-n", ts.Getenv("NS"), "-f", ts.MkAbs(f))
		if neg != (err != nil) {
			ts.Fatalf("kubectl apply %s: unexpected result: %v", f, err)
		}
	}
}

// until waits, by a watch, until a field of a resource contains a text:
//
//	[!] until RESOURCE[.VERSION.GROUP]/[NAMESPACE/]NAME JSONPATH TEXT
//
// Nothing between the slashes is for resources without a namespace.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: [!] until RESOURCE/NAME JSONPATH TEXT")
	}
	ts.Check(await(ts, args[0], args[1], args[2], neg))
}

var plurals = map[string]schema.GroupVersionResource{
	"ks":         {Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"},
	"gitrepo":    {Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"},
	"bucket":     {Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "buckets"},
	"ea":         {Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "externalartifacts"},
	"ocirepo":    {Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "ocirepositories"},
	"hr":         {Group: "helm.toolkit.fluxcd.io", Version: "v2", Resource: "helmreleases"},
	"helmchart":  {Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "helmcharts"},
	"helmrepo":   {Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "helmrepositories"},
	"hc":         {Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "helmcharts"},
	"app":        {Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"},
	"appset":     {Group: "argoproj.io", Version: "v1alpha1", Resource: "applicationsets"},
	"cm":         {Version: "v1", Resource: "configmaps"},
	"deployment": {Group: "apps", Version: "v1", Resource: "deployments"},
	"service":    {Version: "v1", Resource: "services"},
	"secret":     {Version: "v1", Resource: "secrets"},
	"namespace":  {Version: "v1", Resource: "namespaces"},
}

// resourceNamed is what scripts call RESOURCE/NAME or RESOURCE/NAMESPACE/NAME:
// where it is served, and its name.
func resourceNamed(ts *testscript.TestScript, resource string) (dynamic.ResourceInterface, string, error) {
	kind, name, _ := strings.Cut(resource, "/")
	gvr, ok := plurals[kind]
	if resource, gv, long := strings.Cut(kind, "."); long {
		version, group, _ := strings.Cut(gv, ".")
		gvr, ok = schema.GroupVersionResource{Group: group, Version: version, Resource: resource}, true
	}
	if !ok {
		return nil, "", fmt.Errorf("%q is none of the known kinds", kind)
	}
	config, err := clientcmd.BuildConfigFromFlags("", ts.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, "", err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, "", err
	}
	namespace, name := namespaced(ts, name)
	return client.Resource(gvr).Namespace(namespace), name, nil
}

func await(ts *testscript.TestScript, resource, path, want string, absent bool) error {
	api, name, err := resourceNamed(ts, resource)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), sandboxtest.Patience)
	defer cancel()
	last := "no such object"
	seen := map[string]any{}
	check := func(u *unstructured.Unstructured) bool {
		u.SetManagedFields(nil)
		seen = u.Object
		last = field(u, path)
		return strings.Contains(last, want) != absent
	}
	for {
		found, err := once(ctx, api, name, check)
		switch {
		case found:
			return nil
		case ctx.Err() != nil:
			data, err := yaml.Marshal(object.Redact(seen))
			if err != nil {
				return err
			}
			return fmt.Errorf("%s: %s is %q, wanted %q (absent: %v)\n%s", resource, path, last, want, absent, data)
		case err != nil:
			return err
		}
	}
}

// once follows an object until check says so, or the watch ends, as it does when
// a definition is replaced.
func once(ctx context.Context, api dynamic.ResourceInterface, name string, check func(*unstructured.Unstructured) bool) (bool, error) {
	w, err := api.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return false, err
	}
	defer w.Stop()
	if u, err := api.Get(ctx, name, metav1.GetOptions{}); err == nil && check(u) {
		return true, nil
	}
	for {
		select {
		case ev, open := <-w.ResultChan():
			if !open {
				return false, nil
			}
			if u, is := ev.Object.(*unstructured.Unstructured); is && ev.Type != "DELETED" && check(u) {
				return true, nil
			}
		case <-ctx.Done():
			return false, nil
		}
	}
}

func namespaced(ts *testscript.TestScript, name string) (string, string) {
	if ns, n, ok := strings.Cut(name, "/"); ok {
		return ns, n
	}
	return ts.Getenv("NS"), name
}
