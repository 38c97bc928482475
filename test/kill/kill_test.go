// Package kill kills the engine and the API server at random moments while
// commits flow, and then looks whether the cluster is what Git says (design:
// the world is the state).
package kill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/child"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/up"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

const (
	kills     = 56
	namespace = "killed"
	pins      = 4 // objects that every commit holds
)

func TestKills(t *testing.T) {
	w := begin(t)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for n := range kills {
		w.commit(random)
		pause := time.NewTimer(time.Duration(random.IntN(400)) * time.Millisecond)
		<-pause.C
		if n%5 == 4 {
			w.killServer()
		} else {
			w.killEngine()
		}
	}
	head := w.commit(random)
	w.converged(head)
	w.compare()
	w.restartWritesNothing(random)
	w.idleAsksNothing()
}

// world is a cluster, an engine and a repository.
type world struct {
	t       *testing.T
	dir     string
	options sandbox.Options
	cluster *sandbox.Cluster
	engine  *child.Process
	http    string
	log     *os.File
	core    *kubernetes.Clientset
	dynamic dynamic.Interface
	repo    *sandboxtest.Repo
	files   map[string]map[string]string // app → ConfigMap → value
	uids    map[string]types.UID         // of the pinned and the foreign objects
	kills   map[string]int
	seq     int
}

func begin(t *testing.T) *world {
	w := &world{t: t, dir: sandboxtest.Dir(t), uids: map[string]types.UID{}, kills: map[string]int{},
		files: map[string]map[string]string{"flux": {}, "argo": {}}}
	w.options = sandbox.Options{Executable: sandboxtest.Binary(t), Dir: filepath.Join(w.dir, "kubernetes"),
		AuditLog: filepath.Join(w.dir, "audit.log")}
	w.cluster = sandboxtest.Start(t, w.options)
	w.core = sandboxtest.Client(t, w.cluster)
	var err error
	if w.dynamic, err = dynamic.NewForConfig(sandboxtest.RESTConfig(t, w.cluster)); err != nil {
		t.Fatal(err)
	}
	if w.log, err = os.Create(filepath.Join(w.dir, "engine.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	w.install()
	git := sandboxtest.Git(t)
	w.repo = sandboxtest.NewRepo(t, git, "fleet")
	for app := range w.files {
		for i := range pins {
			w.files[app][fmt.Sprintf("%s-pin-%d", app, i)] = "0"
		}
	}
	w.push()
	w.startEngine()
	t.Cleanup(func() { w.engine.Kill() })
	w.create()
	return w
}

var (
	gitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	kustomizations  = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	applications    = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	definitions     = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

func (w *world) install() {
	objects, err := object.Decode("crds.yaml", api.CRDs())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range objects {
		if _, err := w.dynamic.Resource(definitions).Create(w.t.Context(), o.Unstructured(), metav1.CreateOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
	sandboxtest.Eventually(w.t, func(ctx context.Context) error {
		for _, r := range []schema.GroupVersionResource{gitRepositories, kustomizations, applications} {
			if _, err := w.dynamic.Resource(r).List(ctx, metav1.ListOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// create makes the apps, and objects that are nobody's or someone else's.
func (w *world) create() {
	ctx := w.t.Context()
	if _, err := w.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
	for name, labels := range map[string]map[string]string{
		"foreign-plain": nil,
		"foreign-flux":  {"kustomize.toolkit.fluxcd.io/name": "other", "kustomize.toolkit.fluxcd.io/namespace": namespace},
	} {
		cm, err := w.core.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: map[string]string{"value": "foreign"}}, metav1.CreateOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		w.uids[name] = cm.UID
	}
	for gvr, text := range map[schema.GroupVersionResource]string{
		gitRepositories: `{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: fleet}, spec: {url: "` + w.repo.URL + `", interval: 1h, ref: {branch: main}}}`,
		kustomizations:  `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: flux}, spec: {interval: 1h, prune: true, path: flux, targetNamespace: killed, sourceRef: {kind: GitRepository, name: fleet}}}`,
		applications:    `{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: argo}, spec: {project: default, source: {repoURL: "` + w.repo.URL + `", path: argo}, destination: {name: in-cluster, namespace: killed}, syncPolicy: {automated: {prune: true, selfHeal: true}}}}`,
	} {
		objects, err := object.Decode("app.yaml", []byte(text))
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.dynamic.Resource(gvr).Namespace(namespace).Create(ctx, objects[0].Unstructured(), metav1.CreateOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
	w.converged(strings.TrimSpace(w.repo.Git("rev-parse", "HEAD")))
	for app, files := range w.files {
		for name := range files {
			cm, err := w.core.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				w.t.Fatalf("%s: %v", app, err)
			}
			w.uids[name] = cm.UID
		}
	}
}

func (w *world) startEngine() {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	var ready up.EngineReady
	var err error
	w.engine, ready, err = child.Start[up.EngineReady](ctx, child.Options{
		Name: "engine", Executable: w.options.Executable, Stderr: w.log,
		Args: []string{"serve", "--kubeconfig", w.cluster.Kubeconfig, "--listen", "127.0.0.1:0",
			"--cache", filepath.Join(w.dir, "cache"), "--until-stdin-closes"},
	})
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.tail())
	}
	w.http = ready.HTTP
}

func (w *world) tail() string {
	data, err := os.ReadFile(w.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-6000):])
}

func (w *world) killEngine() {
	w.kills["engine"]++
	w.engine.Kill()
	w.startEngine()
}

func (w *world) killServer() {
	w.kills["API server"]++
	w.cluster.Kill()
	<-w.cluster.Done()
	w.cluster = sandboxtest.Start(w.t, w.options)
}

// commit changes a few objects at random, pushes, and tells the engine; that
// the engine may be dead at the time is part of the test.
func (w *world) commit(random *rand.Rand) string {
	for app, files := range w.files {
		for range 1 + random.IntN(3) {
			name := fmt.Sprintf("%s-%d", app, random.IntN(12))
			if _, there := files[name]; there && random.IntN(3) == 0 {
				delete(files, name)
				continue
			}
			w.seq++
			files[name] = fmt.Sprint(w.seq)
		}
		files[fmt.Sprintf("%s-pin-%d", app, random.IntN(pins))] = fmt.Sprint(w.seq)
	}
	head := w.push()
	body := fmt.Sprintf(`{"url":%q,"ref":"refs/heads/main"}`, w.repo.URL)
	if resp, err := http.Post(w.http+"/hooks/push", "application/json", strings.NewReader(body)); err == nil {
		resp.Body.Close()
	}
	return head
}

func (w *world) push() string {
	for app, files := range w.files {
		if err := os.RemoveAll(filepath.Join(w.repo.Dir, app)); err != nil {
			w.t.Fatal(err)
		}
		out := map[string]string{}
		for name, value := range files {
			out[app+"/"+name+".yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %q\n", name, value)
		}
		w.repo.Write(out)
	}
	return w.repo.Push("change")
}

// converged waits until both apps say that they deliver head.
func (w *world) converged(head string) {
	w.t.Helper()
	sandboxtest.Eventually(w.t, func(ctx context.Context) error {
		ks, err := w.dynamic.Resource(kustomizations).Namespace(namespace).Get(ctx, "flux", metav1.GetOptions{})
		if err != nil {
			return err
		}
		app, err := w.dynamic.Resource(applications).Namespace(namespace).Get(ctx, "argo", metav1.GetOptions{})
		if err != nil {
			return err
		}
		applied, _, _ := unstructured.NestedString(ks.Object, "status", "lastAppliedRevision")
		revision, _, _ := unstructured.NestedString(app.Object, "status", "sync", "revision")
		synced, _, _ := unstructured.NestedString(app.Object, "status", "sync", "status")
		if !strings.HasSuffix(applied, head) || revision != head || synced != "Synced" {
			return fmt.Errorf("want %s; the Kustomization has %q, the Application %q and is %s\nengine log:\n%s", head, applied, revision, synced, w.tail())
		}
		return nil
	})
}

// compare looks whether the cluster holds what Git holds, no more, no less,
// and whether anything was deleted that never should have been.
func (w *world) compare() {
	list, err := w.core.CoreV1().ConfigMaps(namespace).List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	live := map[string]corev1.ConfigMap{}
	for _, cm := range list.Items {
		live[cm.Name] = cm
	}
	for _, files := range w.files {
		for name, value := range files {
			if got := live[name].Data["value"]; got != value {
				w.t.Errorf("%s is %q, Git says %q", name, got, value)
			}
		}
	}
	for name := range live {
		app, _, _ := strings.Cut(name, "-")
		if files, ours := w.files[app]; ours {
			if _, there := files[name]; !there {
				w.t.Errorf("%s is in the cluster and not in Git; what happened to it:\n%s", name, w.story(name))
			}
		}
	}
	for name, uid := range w.uids {
		if live[name].UID != uid {
			w.t.Errorf("%s was deleted, or deleted and made anew (uid %q, then %q)", name, uid, live[name].UID)
		}
	}
	w.t.Logf("killed: %v; %d objects compared", w.kills, len(live))
}

// story is what the audit log tells of a ConfigMap, and what the statuses
// remember of it.
func (w *world) story(name string) string {
	var out strings.Builder
	data, err := os.ReadFile(w.options.AuditLog)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(data)) {
		var event struct {
			Verb, UserAgent, RequestURI, RequestReceivedTimestamp string
			ResponseStatus                                        struct{ Code int }
		}
		if json.Unmarshal([]byte(line), &event) == nil && (strings.Contains(event.RequestURI, "/configmaps/"+name) || strings.Contains(event.RequestURI, "/applications/") && event.Verb == "patch") {
			fmt.Fprintf(&out, "%s %s %s %d\n", event.RequestReceivedTimestamp, event.Verb, event.RequestURI, event.ResponseStatus.Code)
		}
	}
	for _, gvr := range []schema.GroupVersionResource{kustomizations, applications} {
		list, err := w.dynamic.Resource(gvr).Namespace(namespace).List(w.t.Context(), metav1.ListOptions{})
		if err != nil {
			return err.Error()
		}
		for _, u := range list.Items {
			objects, _, _ := unstructured.NestedStringSlice(u.Object, "status", "plumb", "objects")
			fmt.Fprintf(&out, "%s remembers:\n  %s\n", u.GetName(), strings.Join(objects, "\n  "))
		}
	}
	return out.String()
}

// restartWritesNothing reads the API server's own count of requests around a
// restart of an engine that has nothing to do, and then around a commit, which
// it must show.
func (w *world) restartWritesNothing(random *rand.Rand) {
	w.engine.Kill()
	before := w.settled()
	w.startEngine()
	after := w.settled()
	if writes := written(before, after); len(writes) > 0 {
		w.t.Errorf("a restart with nothing to do wrote: %v\n%s", writes, w.tail())
	}
	w.converged(w.commit(random))
	if writes := written(after, w.settled()); len(writes) == 0 {
		w.t.Error("a commit shows no write: the count is not one")
	}
}

// idleAsksNothing reads the API server's audit log: an engine with nothing to
// do makes no request but watches.
func (w *world) idleAsksNothing() {
	w.settled()
	log, err := os.Open(w.options.AuditLog)
	if err != nil {
		w.t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.Seek(0, io.SeekEnd); err != nil {
		w.t.Fatal(err)
	}
	idle := time.NewTimer(15 * time.Second)
	<-idle.C
	data, err := io.ReadAll(log)
	if err != nil {
		w.t.Fatal(err)
	}
	others := 0
	for line := range strings.Lines(string(data)) {
		var event struct {
			Verb, UserAgent, RequestURI string
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			w.t.Fatalf("%q: %v", line, err)
		}
		switch {
		case !strings.HasPrefix(event.UserAgent, "plumb-engine/"):
			others++
		case event.Verb != "watch":
			w.t.Errorf("idle, the engine asks: %s %s", event.Verb, event.RequestURI)
		}
	}
	if others == 0 {
		w.t.Error("the audit log shows nobody: it is not one")
	}
}

func written(before, after map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for key, n := range after {
		if n != before[key] && isWrite(key) {
			out[key] = n - before[key]
		}
	}
	return out
}

// settled reads the counters until they have not moved for two seconds, apart
// from what goes on all the time.
func (w *world) settled() map[string]float64 {
	w.t.Helper()
	const calm = 2 * time.Second
	var last map[string]float64
	since := time.Now()
	sandboxtest.Eventually(w.t, func(ctx context.Context) error {
		now, err := w.requests(ctx)
		if err != nil {
			return err
		}
		for key, n := range now {
			if last[key] != n {
				last, since = now, time.Now()
				break
			}
		}
		if time.Since(since) < calm {
			return errors.New("requests are still being made")
		}
		return nil
	})
	return last
}

// requests reads apiserver_request_total, leases and the reading itself left
// out.
func (w *world) requests(ctx context.Context) (map[string]float64, error) {
	data, err := w.core.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "apiserver_request_total{") || strings.Contains(line, `resource="leases"`) || strings.Contains(line, `subresource="/metrics"`) {
			continue
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		var n float64
		if _, err := fmt.Sscan(value, &n); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		out[key] = n
	}
	return out, nil
}

func isWrite(key string) bool {
	if strings.Contains(key, `dry_run="All"`) {
		return false
	}
	for _, verb := range []string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"} {
		if strings.Contains(key, `verb="`+verb+`"`) {
			return true
		}
	}
	return false
}
