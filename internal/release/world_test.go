package release

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render/worker"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// asWorker makes the test binary a process that renders.
const asWorker = "render-worker"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == asWorker {
		os.Exit(worker.Main(os.Stdin, os.Stdout))
	}
	Prepare()
	sandboxtest.Main(m)
}

// pool renders for all tests; its processes end with this one.
var pool = sync.OnceValue(func() *worker.Pool { return worker.New(worker.Options{Args: []string{asWorker}}) })

// world is a release in a namespace of its own, and what is remembered of it.
type world struct {
	testing.TB
	client     *Client
	kube       *kubernetes.Clientset
	kubeconfig string
	namespace  string

	release    app.Release
	generation int64
	chart      *Chart
	inline     map[string]any
	from       []Fetched
	exprs      []app.HealthExpr
}

// newWorld has the release web, with policies as Flux has them by default.
func newWorld(t testing.TB) *world {
	t.Helper()
	cluster := sandboxtest.Cluster(t)
	client, err := Open(Options{Config: sandboxtest.RESTConfig(t, cluster), Render: pool().Render, Logger: slog.New(slog.NewTextHandler(testWriter{t}, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ns := sandboxtest.Namespace(t, cluster)
	w := &world{TB: t, client: client, kube: sandboxtest.Client(t, cluster), kubeconfig: cluster.Kubeconfig, namespace: ns, generation: 1}
	w.release = app.Release{
		Name: "web", Namespace: ns, StorageNamespace: ns, MaxHistory: 5, Timeout: time.Minute,
		Install: app.InstallPolicy{CRDs: app.CRDsCreate},
		Upgrade: app.UpgradePolicy{CRDs: app.CRDsSkip},
		Origin:  map[string]string{"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": ns},
	}
	w.chart = load(t, os.DirFS("testdata/web"))
	return w
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(p []byte) (int, error) { w.Logf("%s", p); return len(p), nil }

func load(t testing.TB, fsys fs.FS) *Chart {
	t.Helper()
	c, err := LoadChart(fsys, "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// edited is a chart of testdata with some files replaced, or gone where the
// text is "".
func edited(t testing.TB, name string, files map[string]string) fs.FS {
	t.Helper()
	out := fstest.MapFS{}
	root := os.DirFS(path.Join("testdata", name))
	err := fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, p)
		out[p] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for p, text := range files {
		if out[p] = (&fstest.MapFile{Data: []byte(text)}); text == "" {
			delete(out, p)
		}
	}
	return out
}

// version is the chart web with another version.
func version(t testing.TB, v string) *Chart {
	return load(t, edited(t, "web", map[string]string{"Chart.yaml": "apiVersion: v2\nname: web\nversion: " + v + "\n"}))
}

func (w *world) values() map[string]any {
	w.Helper()
	values, err := Compose(w.inline, w.from)
	if err != nil {
		w.Fatal(err)
	}
	return values
}

// decide looks and decides, as a run does at its beginning.
func (w *world) decide() Decision {
	w.Helper()
	digest := ConfigDigest(w.values())
	w.release.Memory, _ = Renew(w.release, app.ReleaseAttempt{
		Revision: w.chart.Version, RevisionDigest: w.chart.Digest, Generation: w.generation, ConfigDigest: digest})
	storage, err := w.client.Look(w.Context(), w.release)
	if err != nil {
		w.Fatal(err)
	}
	return Decide(Situation{Release: w.release, Generation: w.generation, Storage: storage,
		ChartName: w.chart.Name, ChartVersion: w.chart.Version, ConfigDigest: digest})
}

// act runs one action.
func (w *world) act(ctx context.Context, action app.ReleaseAction, because string) (Outcome, error) {
	w.Helper()
	out, err := w.client.Run(ctx, action, Request{Release: w.release, Chart: w.chart, Values: w.values(), From: w.from,
		HealthExprs: w.exprs, Because: because})
	w.release.Memory = out.Memory
	if f := out.Result.Failure; f != nil {
		w.Logf("%s failed: %s/%s: %v", action, f.Stage, f.Reason, f)
	}
	return out, err
}

// run does what the engine does in one run: all that is to be done, until it is
// done, fails without a trace, or waits for the next run.
func (w *world) run() (done []app.ReleaseAction, last Decision, outs []Outcome) {
	w.Helper()
	for {
		last = w.decide()
		w.release.Memory = last.Memory
		w.Logf("state %s (%s): action %q", last.State, last.Because, last.Action)
		if last.Failure != nil {
			w.Logf("refused: %v", last.Failure)
		}
		if last.Action == app.ReleaseNone || !Follows(done, last.Action) {
			if last.Action == app.ReleaseNone && last.Failure == nil {
				w.release.Memory.Generation = w.generation
			}
			w.release.Force, w.release.Reset = "", ""
			return done, last, outs
		}
		out, err := w.act(w.Context(), last.Action, last.Because)
		w.release.Force, w.release.Reset = "", ""
		done, outs = append(done, last.Action), append(outs, out)
		if err != nil {
			return done, last, outs
		}
	}
}

// wants runs once and holds what was done against what is wanted.
func (w *world) wants(state app.ReleaseState, actions ...app.ReleaseAction) []Outcome {
	w.Helper()
	done, last, outs := w.run()
	if len(done) != len(actions) {
		w.Fatalf("did %v, want %v (then %s: %s)", done, actions, last.State, last.Because)
	}
	for i := range done {
		if done[i] != actions[i] {
			w.Fatalf("did %v, want %v", done, actions)
		}
	}
	if last.State != state {
		w.Fatalf("the state is %q (%s), want %q", last.State, last.Because, state)
	}
	return outs
}

// configMap gives the data of a ConfigMap, nil if there is none.
func (w *world) configMap(name string) map[string]string {
	w.Helper()
	cm, err := w.kube.CoreV1().ConfigMaps(w.namespace).Get(w.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return cm.Data
}

// records are the names of Helm's records.
func (w *world) records() (names []string) {
	w.Helper()
	list, err := w.kube.CoreV1().Secrets(w.namespace).List(w.Context(), metav1.ListOptions{LabelSelector: "owner=helm"})
	if err != nil {
		w.Fatal(err)
	}
	for _, s := range list.Items {
		names = append(names, s.Name+" "+s.Labels["status"])
	}
	return names
}

func read(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(path.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
