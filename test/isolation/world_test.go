// Package isolation runs one engine over several clusters and harms some of
// them: what it delivers to the others must not notice (I4). Nothing here is
// judged by the time it takes: only by what is there, in which order it came,
// and how many requests it took.
package isolation

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/child"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/up"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

const delivered = "delivered" // the namespace that everything goes to, in every cluster

// cluster is a Kubernetes of the test's own.
type cluster struct {
	*sandbox.Cluster
	t       *testing.T
	options sandbox.Options
	core    *kubernetes.Clientset
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	return startClusterWith(t, sandbox.Options{})
}

func startClusterWith(t *testing.T, options sandbox.Options) *cluster {
	t.Helper()
	dir := sandboxtest.Dir(t)
	options.Executable, options.Dir, options.AuditLog = sandboxtest.Binary(t), filepath.Join(dir, "kubernetes"), filepath.Join(dir, "audit.log")
	c := &cluster{t: t, options: options}
	c.start()
	c.makeNamespace(delivered)
	return c
}

func (c *cluster) start() {
	c.t.Helper()
	c.Cluster = sandboxtest.Start(c.t, c.options)
	c.core = sandboxtest.Client(c.t, c.Cluster)
}

func (c *cluster) makeNamespace(name string) {
	c.t.Helper()
	_, err := c.core.CoreV1().Namespaces().Create(c.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
}

// kubeconfig is the administrator's, as a Secret would hold it.
func (c *cluster) kubeconfig() []byte {
	c.t.Helper()
	data, err := os.ReadFile(c.Kubeconfig)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// value is what a ConfigMap in the cluster holds, "" if it is not there.
func (c *cluster) value(ctx context.Context, name string) (string, error) {
	cm, err := c.core.CoreV1().ConfigMaps(delivered).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return cm.Data["value"], nil
}

// holds waits until a ConfigMap in the cluster has a value.
func (c *cluster) holds(name, want string) {
	c.t.Helper()
	sandboxtest.Eventually(c.t, func(ctx context.Context) error {
		got, err := c.value(ctx, name)
		if err == nil && got != want {
			err = fmt.Errorf("%s is %q, want %q", name, got, want)
		}
		return err
	})
}

// request is one that the audit log tells of.
type request struct {
	Verb, UserAgent, RequestURI string
	Stage                       string
	ResponseStatus              struct{ Code int }
}

// writes are the engine's writes of ConfigMaps, in their order.
func (c *cluster) writes() []request {
	c.t.Helper()
	return c.requests(func(r request) bool {
		return r.Stage == "ResponseComplete" && slices.Contains([]string{"patch", "create", "update", "delete"}, r.Verb) &&
			strings.Contains(r.RequestURI, "/configmaps/") && !strings.Contains(r.RequestURI, "dryRun")
	})
}

// requests are those of the engine's requests that count, in their order.
func (c *cluster) requests(counts func(request) bool) []request {
	c.t.Helper()
	data, err := os.ReadFile(c.options.AuditLog)
	if err != nil {
		c.t.Fatal(err)
	}
	var out []request
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		if json.Unmarshal(lines.Bytes(), &r) == nil && strings.HasPrefix(r.UserAgent, "plumb-engine/") && counts(r) {
			out = append(out, r)
		}
	}
	return out
}

// world is an engine in the home cluster, and a repository.
type world struct {
	t       *testing.T
	home    *cluster
	dynamic dynamic.Interface
	engine  *child.Process
	http    string
	log     *os.File
	repo    *sandboxtest.Repo
}

var (
	gitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	kustomizations  = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	applications    = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	events          = schema.GroupVersionResource{Version: "v1", Resource: "events"}
	helmReleases    = schema.GroupVersionResource{Group: "helm.toolkit.fluxcd.io", Version: "v2", Resource: "helmreleases"}
	definitions     = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

func begin(t *testing.T) *world {
	t.Helper()
	return beginIn(startCluster(t))
}

// beginIn makes a world of a cluster that nothing is in.
func beginIn(home *cluster) *world {
	t := home.t
	t.Helper()
	w := &world{t: t, home: home}
	var err error
	if w.dynamic, err = dynamic.NewForConfig(w.config()); err != nil {
		t.Fatal(err)
	}
	objects, err := object.Decode("crds.yaml", api.CRDs())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if _, err := w.dynamic.Resource(definitions).Create(t.Context(), o.Unstructured(), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		for _, r := range []schema.GroupVersionResource{gitRepositories, kustomizations, helmReleases, applications} {
			if _, err := w.dynamic.Resource(r).List(ctx, metav1.ListOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	w.home.makeNamespace("team")
	w.home.makeNamespace("argocd")
	w.repo = sandboxtest.NewRepo(t, sandboxtest.Git(t), "fleet")
	if w.log, err = os.Create(filepath.Join(filepath.Dir(w.home.options.AuditLog), "engine.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.log.Close() })
	w.startEngine()
	t.Cleanup(func() { w.engine.Kill() })
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the engine's log ends with:\n%s", w.tail())
		}
	})
	return w
}

func (w *world) config() *rest.Config { return sandboxtest.RESTConfig(w.t, w.home.Cluster) }

func (w *world) startEngine() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	engine, ready, err := child.Start[up.EngineReady](ctx, child.Options{
		Name: "engine", Executable: w.home.options.Executable, Stderr: w.log,
		Args: []string{"serve", "--kubeconfig", w.home.Kubeconfig, "--listen", "127.0.0.1:0",
			"--cache", filepath.Join(filepath.Dir(w.home.options.AuditLog), "cache"), "--until-stdin-closes"},
	})
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.tail())
	}
	w.engine, w.http = engine, ready.HTTP
}

func (w *world) logged() string {
	data, err := os.ReadFile(w.log.Name())
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func (w *world) tail() string {
	text := w.logged()
	return text[max(0, len(text)-5000):]
}

// create makes custom resources, or Secrets, of a YAML stream.
func (w *world) create(text string) {
	w.t.Helper()
	objects, err := object.Decode("resources.yaml", []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, o := range objects {
		u := o.Unstructured()
		resource, ok := map[string]schema.GroupVersionResource{
			"GitRepository": gitRepositories, "Kustomization": kustomizations, "HelmRelease": helmReleases, "Application": applications,
		}[u.GetKind()]
		if !ok {
			w.t.Fatalf("%s?", u.GetKind())
		}
		if _, err := w.dynamic.Resource(resource).Namespace(u.GetNamespace()).Create(w.t.Context(), u, metav1.CreateOptions{}); err != nil {
			w.t.Fatal(err)
		}
	}
}

// source makes the GitRepository that Kustomizations deliver from.
func (w *world) source(namespace string) {
	w.t.Helper()
	w.create(`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: fleet, namespace: ` + namespace + `},
		spec: {url: "` + w.repo.URL + `", interval: 1h, ref: {branch: main}}}`)
}

// kustomization makes one that delivers a directory of its own name; secret, if
// any, names the cluster.
func (w *world) kustomization(namespace, name, secret string) {
	w.t.Helper()
	there := ""
	if secret != "" {
		there = ", kubeConfig: {secretRef: {name: " + secret + "}}"
	}
	w.create(`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: ` + name + `, namespace: ` + namespace + `},
		spec: {interval: 1h, retryInterval: 1h, prune: true, path: ` + name + `, targetNamespace: ` + delivered + `, sourceRef: {kind: GitRepository, name: fleet}` + there + `}}`)
}

// application makes one that delivers a directory of its own name.
func (w *world) application(name, destination string) {
	w.t.Helper()
	w.create(`{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: ` + name + `, namespace: argocd},
		spec: {project: default, source: {repoURL: "` + w.repo.URL + `", path: ` + name + `}, destination: {` + destination + `, namespace: ` + delivered + `},
		syncPolicy: {automated: {prune: true, selfHeal: true}}}}`)
}

func (w *world) secret(namespace, name string, labels map[string]string, data map[string][]byte) {
	w.t.Helper()
	secrets := w.home.core.CoreV1().Secrets(namespace)
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Data: data}
	_, err := secrets.Create(w.t.Context(), s, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = secrets.Update(w.t.Context(), s, metav1.UpdateOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// registered makes the cluster Secret by which Applications reach a cluster.
func (w *world) registered(name string, config *rest.Config) {
	w.t.Helper()
	type tls struct {
		CA   []byte `json:"caData,omitempty"`
		Cert []byte `json:"certData,omitempty"`
		Key  []byte `json:"keyData,omitempty"`
	}
	data, err := json.Marshal(map[string]any{"bearerToken": config.BearerToken,
		"tlsClientConfig": tls{config.CAData, config.CertData, config.KeyData}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.secret("argocd", "cluster-"+name, map[string]string{"argocd.argoproj.io/secret-type": "cluster"},
		map[string][]byte{"name": []byte(name), "server": []byte(config.Host), "config": data})
}

// commit sets a ConfigMap in each of the directories, all to one value, pushes,
// and tells the engine.
func (w *world) commit(value string, dirs ...string) string {
	w.t.Helper()
	files := map[string]string{}
	for _, dir := range dirs {
		files[dir+"/cm.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {value: %q}\n", dir, value)
		files[dir+"/kept.yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s-kept}\ndata: {value: always}\n", dir)
	}
	w.repo.Write(files)
	return w.commitOnly()
}

// commitOnly pushes the files as they are, and tells the engine.
func (w *world) commitOnly() string {
	w.t.Helper()
	head := w.repo.Push("change")
	body := fmt.Sprintf(`{"url":%q,"ref":"refs/heads/main"}`, w.repo.URL)
	resp, err := http.Post(w.http+"/hooks/push", "application/json", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	return head
}

func (w *world) get(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (*unstructured.Unstructured, error) {
	return w.dynamic.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
}

// ready is the Ready condition of a Kustomization or a HelmRelease.
func (w *world) ready(ctx context.Context, resource schema.GroupVersionResource, namespace, name string) (status, reason, message string, _ error) {
	u, err := w.get(ctx, resource, namespace, name)
	if err != nil {
		return "", "", "", err
	}
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	for _, c := range conditions {
		if m := c.(map[string]any); m["type"] == "Ready" {
			return fmt.Sprint(m["status"]), fmt.Sprint(m["reason"]), fmt.Sprint(m["message"]), nil
		}
	}
	return "", "", "", nil
}

// says waits until the Ready condition of a Kustomization has a status and its
// message some words.
func (w *world) says(namespace, name, status, words string) {
	w.t.Helper()
	w.resourceSays(kustomizations, namespace, name, status, words)
}

func (w *world) resourceSays(resource schema.GroupVersionResource, namespace, name, status, words string) {
	w.t.Helper()
	sandboxtest.Eventually(w.t, func(ctx context.Context) error {
		got, reason, message, err := w.ready(ctx, resource, namespace, name)
		if err == nil && (got != status || !strings.Contains(message, words)) {
			err = fmt.Errorf("%s is Ready=%s %s: %s; want %s and %q", name, got, reason, message, status, words)
		}
		return err
	})
}

// appSays is says for an Application: its sync status, and a word of one of
// its conditions.
func (w *world) appSays(name, sync, words string) {
	w.t.Helper()
	sandboxtest.Eventually(w.t, func(ctx context.Context) error {
		u, err := w.get(ctx, applications, "argocd", name)
		if err != nil {
			return err
		}
		got, _, _ := unstructured.NestedString(u.Object, "status", "sync", "status")
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		if text := fmt.Sprint(conditions); got != sync || !strings.Contains(text, words) {
			return fmt.Errorf("%s is %s: %s; want %s and %q", name, got, text, sync, words)
		}
		return nil
	})
}
