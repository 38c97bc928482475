// Package restart restarts the engine and looks what that costs: neither a
// rendering nor a write, whatever was done to the render cache in between
// costs renderings only.
package restart

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/child"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/up"
)

var apps = flag.Int("apps", 60, "how many apps there are")

func TestMain(m *testing.M) { sandboxtest.Main(m) }

func TestRestart(t *testing.T) {
	f := begin(t)
	f.startEngine()
	f.ready()
	if rendered, stored := f.renders(); rendered < *apps || stored > rendered {
		t.Fatalf("%d renderings for %d new apps, %d stored ones used: the count is not one", rendered, *apps, stored)
	}
	f.settled()

	f.restart("nothing done", 0, 0)

	f.engine.Kill()
	for _, file := range f.segments() {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(file, info.Size()/2); err != nil {
			t.Fatal(err)
		}
	}
	f.restart("half of the cache gone", *apps/4, *apps*3/4)
	f.restart("nothing done after that", 0, 0)

	f.engine.Kill()
	if err := os.RemoveAll(filepath.Join(f.cache, "rendered")); err != nil {
		t.Fatal(err)
	}
	f.restart("all of the cache gone", *apps, *apps)
	if err := os.RemoveAll(filepath.Join(f.cache, "rendered")); err != nil { // while the engine runs
		t.Fatal(err)
	}
	f.repo.Write(map[string]string{"base/cm.yaml": configMap("two")}).Push("two")
	f.push()
	f.delivered("two")
	f.settled()
	f.restart("deleted while running, and everything rendered anew since", 0, 0)
}

// restart restarts the engine and compares what it rendered. It must not write.
func (f *fleet) restart(what string, least, most int) {
	f.t.Helper()
	f.engine.Kill()
	before, looks := f.writes(), f.looks
	f.startEngine()
	f.worked()
	f.settled()
	rendered, stored := f.renders()
	if rendered < least || rendered > most || rendered+stored < *apps {
		f.t.Errorf("%s: %d renderings, wanted %d to %d; %d stored ones\n%s", what, rendered, least, most, stored, f.tail())
	}
	if n := f.looks - looks; n < *releases {
		f.t.Errorf("%s: %d looks at %d releases", what, n, *releases)
	}
	if n := f.writes() - before; n != 0 {
		f.t.Errorf("%s: %d writes, the latest %s\n%s", what, n, f.latest, f.tail())
	}
	f.t.Logf("%s: %d renderings, %d stored ones", what, rendered, stored)
}

// fleet is apps of one repository, half of them of each dialect.
type fleet struct {
	t       *testing.T
	cache   string
	binary  string
	audit   string
	cluster *sandbox.Cluster
	dynamic dynamic.Interface
	repo    *sandboxtest.Repo
	engine  *child.Process
	http    string
	log     *os.File

	counted int64 // bytes of the audit log that have been looked at
	written int   // writes of the engine in them
	latest  string
	looks   int // looks of the engine at what Helm stores
}

var (
	gitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	kustomizations  = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	helmReleases    = schema.GroupVersionResource{Group: "helm.toolkit.fluxcd.io", Version: "v2", Resource: "helmreleases"}
	secrets         = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	applications    = schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"}
	definitions     = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

const namespace = "restarted"

func configMap(value string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cm}\ndata: {v: " + value + "}\n"
}

func begin(t *testing.T) *fleet {
	dir := sandboxtest.Dir(t)
	f := &fleet{t: t, binary: sandboxtest.Binary(t), cache: filepath.Join(dir, "cache"), audit: filepath.Join(dir, "audit.log")}
	f.cluster = sandboxtest.Start(t, sandbox.Options{Executable: f.binary, Dir: filepath.Join(dir, "kubernetes"), AuditLog: f.audit})
	var err error
	if f.log, err = os.Create(filepath.Join(dir, "engine.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.log.Close() })
	if f.dynamic, err = dynamic.NewForConfig(sandboxtest.RESTConfig(t, f.cluster)); err != nil {
		t.Fatal(err)
	}
	crds, err := object.Decode("crds.yaml", api.CRDs())
	if err != nil {
		t.Fatal(err)
	}
	for _, crd := range crds {
		f.create(definitions, "", crd)
	}
	sandboxtest.Eventually(t, func(ctx context.Context) error {
		for _, r := range []schema.GroupVersionResource{gitRepositories, kustomizations, helmReleases, applications} {
			if _, err := f.dynamic.Resource(r).List(ctx, metav1.ListOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	if _, err := sandboxtest.Client(t, f.cluster).CoreV1().Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.repo = sandboxtest.NewRepo(t, sandboxtest.Git(t), "fleet")
	files := map[string]string{"base/kustomization.yaml": "resources: [cm.yaml]\n", "base/cm.yaml": configMap("one")}
	for i := range *apps {
		files[fmt.Sprintf("apps/%d/kustomization.yaml", i)] = fmt.Sprintf("namePrefix: app-%d-\nresources: [../../base]\nconfigMapGenerator: [{name: own, literals: [n=%d]}]\n", i, i)
	}
	for name, text := range chart {
		files["chart/"+name] = text
	}
	f.repo.Write(files).Push("one")
	f.create(gitRepositories, namespace, f.parse(`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: fleet}, spec: {url: "%s", interval: 1h, ref: {branch: main}}}`, f.repo.URL))
	for i := range *apps {
		if i%2 == 0 {
			f.create(kustomizations, namespace, f.parse(`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: app-%d}, spec: {interval: 1h, prune: true, path: apps/%d, targetNamespace: %s, sourceRef: {kind: GitRepository, name: fleet}}}`, i, i, namespace))
		} else {
			f.create(applications, namespace, f.parse(`{apiVersion: argoproj.io/v1alpha1, kind: Application, metadata: {name: app-%d}, spec: {project: default, source: {repoURL: "%s", path: apps/%d}, destination: {name: in-cluster, namespace: %s}, syncPolicy: {automated: {prune: true, selfHeal: true}}}}`, i, f.repo.URL, i, namespace))
		}
	}
	for i := range *releases {
		f.create(helmReleases, namespace, f.parse(`{apiVersion: helm.toolkit.fluxcd.io/v2, kind: HelmRelease, metadata: {name: release-%d}, spec: {interval: 1h, chart: {spec: {chart: chart, sourceRef: {kind: GitRepository, name: fleet}}}, driftDetection: {mode: enabled}, test: {enable: true}, values: {n: "%d"}}}`, i, i))
	}
	return f
}

// They are of the same chart.
var releases = flag.Int("releases", 5, "how many Helm releases there are")

var chart = map[string]string{
	"Chart.yaml":            "apiVersion: v2\nname: app\nversion: 1.0.0\n",
	"templates/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}}\nstringData: {n: {{ .Values.n | quote }}}\n",
	"templates/deployment.yaml": `apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {matchLabels: {app: {{ .Release.Name }}}}
  template: {metadata: {labels: {app: {{ .Release.Name }}}}, spec: {containers: [{name: app, image: nginx}]}}
`,
}

func (f *fleet) parse(format string, args ...any) object.Object {
	f.t.Helper()
	objects, err := object.Decode("app.yaml", fmt.Appendf(nil, format, args...))
	if err != nil {
		f.t.Fatal(err)
	}
	return objects[0]
}

func (f *fleet) create(gvr schema.GroupVersionResource, namespace string, o object.Object) {
	f.t.Helper()
	if _, err := f.dynamic.Resource(gvr).Namespace(namespace).Create(f.t.Context(), o.Unstructured(), metav1.CreateOptions{}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) startEngine() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	// Statuses name the address of artifacts: the port of each start would be news.
	process, ready, err := child.Start[up.EngineReady](ctx, child.Options{Name: "engine", Executable: f.binary, Stderr: f.log,
		Args: []string{"serve", "--kubeconfig", f.cluster.Kubeconfig, "--listen", "127.0.0.1:0", "--artifact-address", "http://plumb.invalid", "--cache", f.cache, "--until-stdin-closes"}})
	if err != nil {
		f.t.Fatalf("%v\n%s", err, f.tail())
	}
	f.engine, f.http = process, ready.HTTP
	f.t.Cleanup(process.Kill)
}

func (f *fleet) tail() string {
	data, err := os.ReadFile(f.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-4000):])
}

func (f *fleet) segments() []string {
	found, err := filepath.Glob(filepath.Join(f.cache, "rendered", "*", "*.seg"))
	if err != nil || len(found) == 0 {
		f.t.Fatal("nothing is kept on disk", err)
	}
	return found
}

// push tells the engine of a push.
func (f *fleet) push() {
	f.t.Helper()
	resp, err := http.Post(f.http+"/hooks/push", "application/json", strings.NewReader(fmt.Sprintf(`{"url":%q,"ref":"refs/heads/main"}`, f.repo.URL)))
	if err != nil {
		f.t.Fatal(err)
	}
	resp.Body.Close()
}

// ready waits until all apps are delivered.
func (f *fleet) ready() {
	f.t.Helper()
	sandboxtest.Eventually(f.t, func(ctx context.Context) error {
		for gvr, path := range map[schema.GroupVersionResource][]string{
			kustomizations: {"status", "lastAppliedRevision"}, applications: {"status", "sync", "revision"},
			helmReleases: {"status", "lastAppliedRevision"},
		} {
			list, err := f.dynamic.Resource(gvr).Namespace(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return err
			}
			for _, u := range list.Items {
				if revision, _, _ := unstructured.NestedString(u.Object, path...); revision == "" {
					return fmt.Errorf("%s is not delivered\n%s", u.GetName(), f.tail())
				}
			}
		}
		return nil
	})
}

// delivered waits until all apps delivered a value of the base.
func (f *fleet) delivered(value string) {
	f.t.Helper()
	configMaps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	sandboxtest.Eventually(f.t, func(ctx context.Context) error {
		list, err := f.dynamic.Resource(configMaps).Namespace(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		n := 0
		for _, u := range list.Items {
			if v, _, _ := unstructured.NestedString(u.Object, "data", "v"); v == value {
				n++
			}
		}
		if n != *apps {
			return fmt.Errorf("%d of %d apps deliver %q\n%s", n, *apps, value, f.tail())
		}
		return nil
	})
}

// worked waits until the engine has looked at every app.
func (f *fleet) worked() {
	f.t.Helper()
	sandboxtest.Eventually(f.t, func(context.Context) error {
		if rendered, stored := f.renders(); rendered+stored < *apps {
			return fmt.Errorf("%d renderings, %d stored ones, for %d apps\n%s", rendered, stored, *apps, f.tail())
		}
		return nil
	})
}

// renders reads from the engine where its renderings came from.
func (f *fleet) renders() (rendered, stored int) {
	f.t.Helper()
	resp, err := http.Get(f.http + "/metrics")
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	found := map[string]int{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if series, value, ok := strings.Cut(lines.Text(), " "); ok && strings.HasPrefix(series, "plumb_renders_total{") {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				f.t.Fatal(err)
			}
			found[series] = int(n)
		}
	}
	if len(found) != 2 {
		f.t.Fatalf("metrics: %v", found)
	}
	return found[`plumb_renders_total{from="render"}`], found[`plumb_renders_total{from="disk"}`]
}

// writes counts in the audit log what the engine has changed.
func (f *fleet) writes() int {
	f.t.Helper()
	log, err := os.Open(f.audit)
	if err != nil {
		f.t.Fatal(err)
	}
	defer log.Close()
	data, err := io.ReadAll(io.NewSectionReader(log, f.counted, 1<<40))
	if err != nil {
		f.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if !strings.HasSuffix(line, "\n") {
			break // being written
		}
		f.counted += int64(len(line))
		var event struct{ Verb, UserAgent, RequestURI string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			f.t.Fatalf("%q: %v", line, err)
		}
		switch event.Verb {
		case "list":
			if strings.HasPrefix(event.UserAgent, "plumb-engine/") && strings.Contains(event.RequestURI, "owner%3Dhelm") {
				f.looks++
			}
		case "create", "update", "patch", "delete", "deletecollection":
			if strings.HasPrefix(event.UserAgent, "plumb-engine/") && !strings.Contains(event.RequestURI, "/leases") {
				f.written++
				f.latest = event.Verb + " " + event.RequestURI
			}
		}
	}
	return f.written
}

// settled waits until the engine has written nothing for two seconds.
func (f *fleet) settled() {
	f.t.Helper()
	last, since := -1, time.Now()
	sandboxtest.Eventually(f.t, func(context.Context) error {
		if n := f.writes(); n != last {
			last, since = n, time.Now()
		}
		if calm := time.Since(since); calm < 2*time.Second {
			return fmt.Errorf("it wrote %s ago, %d times in all", calm, last)
		}
		return nil
	})
}
