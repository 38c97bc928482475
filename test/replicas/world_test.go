// Package replicas runs several replicas on one cluster while commits flow,
// kills, pauses and adds some, and reads from the API server's audit log that
// no two ever worked on the same app.
package replicas

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/child"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/shard"
	"plumb.dev/plumb/internal/up"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

const (
	namespace = "fleet"
	apps      = 30 // half of them of each dialect
)

var (
	gitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	kustomizations  = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	applications    = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	definitions     = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// world is a cluster, a repository and the replicas.
type world struct {
	t        *testing.T
	dir      string
	options  sandbox.Options
	cluster  *sandbox.Cluster
	audit    string
	core     *kubernetes.Clientset
	dynamic  dynamic.Interface
	repo     *sandboxtest.Repo
	replicas map[string]*running
	// files are what Git holds: app → ConfigMap → value.
	files map[string]map[string]string
	seq   int
}

type running struct {
	*child.Process
	http string
	log  *os.File
}

func begin(t *testing.T) *world {
	w := &world{t: t, dir: sandboxtest.Dir(t), replicas: map[string]*running{}, files: map[string]map[string]string{}}
	w.audit = filepath.Join(w.dir, "audit.log")
	w.options = sandbox.Options{Dir: filepath.Join(w.dir, "kubernetes"), AuditLog: w.audit}
	w.cluster = sandboxtest.Start(t, w.options)
	w.core = sandboxtest.Client(t, w.cluster)
	var err error
	if w.dynamic, err = dynamic.NewForConfig(sandboxtest.RESTConfig(t, w.cluster)); err != nil {
		t.Fatal(err)
	}
	w.repo = sandboxtest.NewRepo(t, sandboxtest.Git(t), "fleet")
	w.define()
	for i := range apps {
		w.files[name(i)] = map[string]string{name(i) + "-pin": "0", name(i) + "-extra": "0"}
	}
	for _, name := range []string{"shared", "both"} {
		w.files[name] = map[string]string{name + "-pin": "0", name + "-extra": "0"}
	}
	w.push()
	return w
}

// name is an app's name: the even ones are Kustomizations, the odd ones
// Applications.
func name(i int) string { return fmt.Sprintf("app%02d", i) }

func (w *world) define() {
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
	if _, err := w.core.CoreV1().Namespaces().Create(w.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// ownedBy gives the name of an app of a kind that a replica owns as long as
// there are three.
func ownedBy(replica, kind, prefix string) string {
	share := shard.Assign([]string{"plumb-one", "plumb-two", "plumb-three"})[replica]
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s%d", prefix, i); share.Owns(kind + "/" + namespace + "/" + name) {
			return name
		}
	}
}

// create makes the custom resources. Every third Kustomization depends on the
// one before it, which another replica may have. Two that different replicas
// have deliver the same objects, and so do a Kustomization and an Application:
// as in one process, the later has them.
func (w *world) create() {
	for _, name := range []string{ownedBy("plumb-one", "Kustomization", "shared"), ownedBy("plumb-two", "Kustomization", "shared")} {
		w.makeKustomization(name, "shared", "")
	}
	w.makeKustomization(ownedBy("plumb-one", "Kustomization", "both"), "both", "")
	w.makeApplication(ownedBy("plumb-two", "Application", "both"), "both")
	w.make(gitRepositories, `{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: fleet}, spec: {url: "`+w.repo.URL+`", interval: 1h, ref: {branch: main}}}`)
	for i := range apps {
		if i%2 == 1 {
			w.makeApplication(name(i), name(i))
			continue
		}
		depends := ""
		if i%6 == 4 {
			depends = `, dependsOn: [{name: ` + name(i-2) + `}]`
		}
		w.makeKustomization(name(i), name(i), depends)
	}
}

func (w *world) makeKustomization(name, path, more string) {
	w.t.Helper()
	w.make(kustomizations, `{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: `+name+`}, spec: {interval: 1h, prune: true, path: `+path+`, targetNamespace: fleet, sourceRef: {kind: GitRepository, name: fleet}`+more+`}}`)
}

func (w *world) makeApplication(name, path string) {
	w.t.Helper()
	w.make(applications, `{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: `+name+`}, spec: {project: default, source: {repoURL: "`+w.repo.URL+`", path: `+path+`}, destination: {name: in-cluster, namespace: fleet}, syncPolicy: {automated: {prune: true, selfHeal: true}}}}`)
}

func (w *world) make(gvr schema.GroupVersionResource, text string) {
	w.t.Helper()
	objects, err := object.Decode("app.yaml", []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.dynamic.Resource(gvr).Namespace(namespace).Create(w.t.Context(), objects[0].Unstructured(), metav1.CreateOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// start starts a replica and waits until it delivers.
func (w *world) start(id string) {
	w.t.Helper()
	log, err := os.Create(filepath.Join(w.dir, id+".log"))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	process, ready, err := child.Start[up.EngineReady](ctx, child.Options{
		Name: id, Executable: sandboxtest.Binary(w.t), Stderr: log,
		Args: []string{"serve", "--kubeconfig", w.cluster.Kubeconfig, "--listen", "127.0.0.1:0", "--replica-id", id,
			"--cache", filepath.Join(w.dir, "cache-"+id), "--until-stdin-closes"},
	})
	r := &running{process, ready.HTTP, log}
	if err != nil {
		w.t.Fatalf("%v\n%s", err, r.tail())
	}
	w.replicas[id] = r
	w.t.Cleanup(func() {
		process.Kill()
		log.Close()
	})
}

func (r *running) tail() string {
	data, err := os.ReadFile(r.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4000):])
}

func (w *world) signal(id string, s syscall.Signal) {
	if err := syscall.Kill(w.replicas[id].PID, s); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) kill(id string) {
	w.replicas[id].Kill()
	delete(w.replicas, id)
}

// commit changes every app, deletes and creates objects, pushes, and tells one
// replica.
func (w *world) commit(tell string) string {
	w.seq++
	for app, files := range w.files {
		files[app+"-pin"] = fmt.Sprint(w.seq)
		if _, there := files[app+"-extra"]; there {
			delete(files, app+"-extra")
		} else {
			files[app+"-extra"] = fmt.Sprint(w.seq)
		}
	}
	head := w.push()
	body := fmt.Sprintf(`{"url":%q,"ref":"refs/heads/main"}`, w.repo.URL)
	resp, err := http.Post(w.replicas[tell].http+"/hooks/push", "application/json", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
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

// converged waits until all apps say that they deliver head, and the cluster
// holds what Git holds, no more, no less.
func (w *world) converged(head string) {
	w.t.Helper()
	sandboxtest.Eventually(w.t, func(ctx context.Context) error {
		if err := w.delivered(ctx, head); err != nil {
			var logs strings.Builder
			for id, r := range w.replicas {
				fmt.Fprintf(&logs, "\n%s:\n%s", id, r.tail())
			}
			return fmt.Errorf("%w%s", err, logs.String())
		}
		return nil
	})
}

func (w *world) delivered(ctx context.Context, head string) error {
	list, err := w.core.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	live := map[string]string{}
	for _, cm := range list.Items {
		live[cm.Name] = cm.Data["value"]
	}
	delete(live, "kube-root-ca.crt")
	for _, files := range w.files {
		for name, value := range files {
			if live[name] != value {
				return fmt.Errorf("%s is %q, Git says %q", name, live[name], value)
			}
			delete(live, name)
		}
	}
	if len(live) > 0 {
		return fmt.Errorf("in the cluster and not in Git: %v", live)
	}
	return errors.Join(w.saying(ctx, kustomizations, head, "status", "lastAppliedRevision"), w.saying(ctx, applications, head, "status", "sync", "revision"))
}

func (w *world) saying(ctx context.Context, gvr schema.GroupVersionResource, head string, field ...string) error {
	list, err := w.dynamic.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, u := range list.Items {
		if got, _, _ := unstructured.NestedString(u.Object, field...); !strings.HasSuffix(got, head) {
			return fmt.Errorf("%s says %q, not %s", u.GetName(), got, head)
		}
	}
	return nil
}
