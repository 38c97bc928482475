// Package world is a cluster, an engine and a repository for tests that harm
// them: the engine is a process of its own that can be killed, and so is the
// API server. Two apps, one of each dialect, deliver ConfigMaps, of which the
// world knows for every commit what they must be; it watches what happens to
// them and what the statuses claim meanwhile, and reads the audit log of the
// API server.
//
// It knows nothing of the harm. Only tests import it.
package world

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/gitserver"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// The resources that the apps are made of.
var (
	GitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	Kustomizations  = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	Applications    = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	ConfigMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	definitions     = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// The apps. Each delivers the ConfigMaps whose names begin with its own, from
// the directory of its name.
const (
	Flux = "flux"
	Argo = "argo"
	// Source is the GitRepository that Flux reads.
	Source = "fleet"
)

// Apps are both.
func Apps() []string { return []string{Flux, Argo} }

// Pins is how many objects of each app every commit holds; they are never to
// be deleted.
const Pins = 4

// Options say how the parts are connected. All may be left out.
type Options struct {
	Namespace string // "" means world
	// Cache is the engine's cache directory; "" is one in the world's own.
	Cache string
	// GitVia gives the address at which the engine finds what serves at url.
	GitVia func(url string) string
	// ClusterVia gives the kubeconfig by which the engine reaches the cluster
	// of a kubeconfig.
	ClusterVia func(kubeconfig string) string
}

// World is made by New.
type World struct {
	// T is the test that failures are told to.
	T       *testing.T
	Dir     string
	Options sandbox.Options
	Cluster *sandbox.Cluster
	Core    *kubernetes.Clientset
	Dynamic dynamic.Interface
	Server  *gitserver.Server
	Repo    *sandboxtest.Repo
	// URL is the repository as the engine sees it.
	URL       string
	Namespace string
	// Files is what Git holds from the next commit on: app, ConfigMap, value.
	Files map[string]map[string]string
	// Killed counts what was killed.
	Killed map[string]int

	root       *testing.T // that New was called with
	cache      string
	kubeconfig string // the engine's
	listen     string
	engine     *engine
	log        *os.File
	uids       map[string]types.UID // of the pinned and the foreign objects
	seq        int
	history    *history

	mu     sync.Mutex
	states []State // in the order of the commits
}

// State is what Git held from a time on.
type State struct {
	Commit string
	At     time.Time // before it could be fetched
	Files  map[string]map[string]string
}

// New starts a world and waits until both apps have delivered a first commit.
func New(t *testing.T, opts Options) *World {
	w := &World{T: t, root: t, Dir: sandboxtest.Dir(t), Namespace: opts.Namespace, uids: map[string]types.UID{},
		Killed: map[string]int{}, Files: map[string]map[string]string{}}
	if w.Namespace == "" {
		w.Namespace = "world"
	}
	w.Options = sandbox.Options{Executable: sandboxtest.Binary(t), Dir: filepath.Join(w.Dir, "kubernetes"),
		AuditLog: filepath.Join(w.Dir, "audit.log")}
	w.Cluster = sandboxtest.Start(t, w.Options)
	w.Core = sandboxtest.Client(t, w.Cluster)
	var err error
	if w.Dynamic, err = dynamic.NewForConfig(sandboxtest.RESTConfig(t, w.Cluster)); err != nil {
		t.Fatal(err)
	}
	if w.log, err = os.Create(filepath.Join(w.Dir, "engine.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	w.kubeconfig = w.Cluster.Kubeconfig
	if opts.ClusterVia != nil {
		w.kubeconfig = opts.ClusterVia(w.kubeconfig)
	}
	if w.cache = opts.Cache; w.cache == "" {
		w.cache = filepath.Join(w.Dir, "cache")
	}
	w.listen = freeAddress(t)
	w.install()
	w.Server = sandboxtest.Git(t)
	w.Repo = sandboxtest.NewRepo(t, w.Server, "fleet")
	if w.URL = w.Repo.URL; opts.GitVia != nil {
		w.URL = strings.Replace(w.Repo.URL, w.Server.URL(), opts.GitVia(w.Server.URL()), 1)
	}
	for _, app := range Apps() {
		w.Files[app] = map[string]string{}
		for i := range Pins {
			w.Files[app][fmt.Sprintf("%s-pin-%d", app, i)] = "0"
		}
	}
	w.namespace()
	w.history = follow(t, w)
	w.Push()
	w.StartEngine()
	t.Cleanup(func() { w.engine.kill() })
	w.create()
	return w
}

// freeAddress is one that nobody listens on, so that the engine has the same
// after every start.
func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *World) install() {
	objects, err := object.Decode("crds.yaml", api.CRDs())
	if err != nil {
		w.T.Fatal(err)
	}
	for _, o := range objects {
		if _, err := w.Dynamic.Resource(definitions).Create(w.T.Context(), o.Unstructured(), metav1.CreateOptions{}); err != nil {
			w.T.Fatal(err)
		}
	}
	w.Eventually("the definitions are served", func(ctx context.Context) error {
		for _, r := range []schema.GroupVersionResource{GitRepositories, Kustomizations, Applications} {
			if _, err := w.Dynamic.Resource(r).List(ctx, metav1.ListOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// namespace makes it, with objects that are nobody's or someone else's.
func (w *World) namespace() {
	ctx := w.T.Context()
	if _, err := w.Core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}, metav1.CreateOptions{}); err != nil {
		w.T.Fatal(err)
	}
	for name, labels := range map[string]map[string]string{
		"foreign-plain": nil,
		"foreign-flux":  {"kustomize.toolkit.fluxcd.io/name": "other", "kustomize.toolkit.fluxcd.io/namespace": w.Namespace},
	} {
		cm, err := w.Core.CoreV1().ConfigMaps(w.Namespace).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: map[string]string{"value": "foreign"}}, metav1.CreateOptions{})
		if err != nil {
			w.T.Fatal(err)
		}
		w.uids[name] = cm.UID
	}
}

// create makes the apps, and waits for the first commit.
func (w *World) create() {
	ctx := w.T.Context()
	for gvr, text := range map[schema.GroupVersionResource]string{
		GitRepositories: `{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: fleet}, spec: {url: "` + w.URL + `", interval: 1h, timeout: 5s, ref: {branch: main}}}`,
		Kustomizations:  `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: flux}, spec: {interval: 1h, prune: true, path: flux, targetNamespace: ` + w.Namespace + `, sourceRef: {kind: GitRepository, name: fleet}}}`,
		Applications:    `{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: argo}, spec: {project: default, source: {repoURL: "` + w.URL + `", path: argo}, destination: {name: in-cluster, namespace: ` + w.Namespace + `}, syncPolicy: {automated: {prune: true, selfHeal: true}, retry: {limit: 2, backoff: {duration: 1s, factor: 2, maxDuration: 4s}}}}}`,
	} {
		objects, err := object.Decode("app.yaml", []byte(text))
		if err != nil {
			w.T.Fatal(err)
		}
		if _, err := w.Dynamic.Resource(gvr).Namespace(w.Namespace).Create(ctx, objects[0].Unstructured(), metav1.CreateOptions{}); err != nil {
			w.T.Fatal(err)
		}
	}
	w.Converged(w.Head())
	for _, app := range Apps() {
		for i := range Pins {
			name := fmt.Sprintf("%s-pin-%d", app, i)
			cm, err := w.Core.CoreV1().ConfigMaps(w.Namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				w.T.Fatalf("%s: %v", app, err)
			}
			w.uids[name] = cm.UID
		}
	}
}

// KillServer kills the API server and starts it again on the same data.
func (w *World) KillServer() {
	w.T.Helper()
	w.StopServer()
	w.RestartServer()
}

// StopServer kills the API server.
func (w *World) StopServer() {
	w.Killed["API server"]++
	w.Cluster.Kill()
	<-w.Cluster.Done()
}

// RestartServer starts it again.
func (w *World) RestartServer() {
	w.T.Helper()
	w.Cluster = sandboxtest.Start(w.root, w.Options) // it is to outlive w.T
}

// Patience is how long Eventually waits: as long as it takes to try again
// after a fault that lasted a while, on a busy machine.
const Patience = 90 * time.Second

// Eventually calls check until it returns nil, and fails the test with its
// last error if that does not happen within Patience.
func (w *World) Eventually(what string, check func(ctx context.Context) error) {
	w.T.Helper()
	sandboxtest.EventuallyWithin(w.T, Patience, func(ctx context.Context) error {
		if err := check(ctx); err != nil {
			return fmt.Errorf("%s: not yet: %w", what, err)
		}
		return nil
	})
}

// clone copies what Git holds.
func clone(files map[string]map[string]string) map[string]map[string]string {
	out := map[string]map[string]string{}
	for app, f := range files {
		out[app] = maps.Clone(f)
	}
	return out
}
