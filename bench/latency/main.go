// Command latency measures what a user of plumb up waits for: a commit until
// it is live, drift until it is undone, and what both cost. It drives the
// binary it is given through stock git and the Kubernetes API only.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

func main() {
	binary := flag.String("binary", "bin/plumb", "plumb to measure")
	tries := flag.Int("tries", 100, "commits, and drifts")
	apps := flag.Int("apps", 200, "apps of 5 objects for the memory and idle figures; 0 leaves these out")
	idle := flag.Duration("idle", time.Minute, "how long to watch the idle engine")
	flag.Parse()
	if err := run(context.Background(), *binary, *tries, *apps, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		os.Exit(1)
	}
}

// bench is a running plumb up.
type bench struct {
	up      up
	dir     string
	core    *kubernetes.Clientset
	dynamic dynamic.Interface
}

// up is what `plumb up -o json` prints.
type up struct {
	Kubeconfig string `json:"kubeconfig"`
	Git        string `json:"git"`
	HTTP       string `json:"http"`
	PIDs       struct {
		Engine     int `json:"engine"`
		Kubernetes int `json:"kubernetes"`
	} `json:"pids"`
}

const namespace = "bench"

var (
	gitRepositories = schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
	kustomizations  = schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	deployments     = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
)

func run(ctx context.Context, binary string, tries, apps int, idle time.Duration) error {
	dir, err := os.MkdirTemp(scratch(), "plumb-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, stop, err := start(ctx, binary, dir)
	if err != nil {
		return err
	}
	defer stop()
	if err := b.one(ctx, tries); err != nil {
		return err
	}
	if apps == 0 {
		return nil
	}
	return b.many(ctx, apps, idle)
}

// scratch is memory where the machine has it: disks differ too much.
func scratch() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return ""
}

func start(ctx context.Context, binary, dir string) (*bench, func(), error) {
	began := time.Now()
	cmd := exec.CommandContext(ctx, binary, "up", "-o", "json", "--no-sample", "--data", filepath.Join(dir, "data"))
	log, err := os.Create(filepath.Join(dir, "up.log"))
	if err != nil {
		return nil, nil, err
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	stop := func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	}
	b := &bench{dir: dir}
	if err := json.NewDecoder(out).Decode(&b.up); err != nil {
		stop()
		return nil, nil, fmt.Errorf("plumb up did not become ready: %w", err)
	}
	fmt.Printf("plumb up --no-sample ready: %.1f s\n", time.Since(began).Seconds())
	config, err := clientcmd.BuildConfigFromFlags("", b.up.Kubeconfig)
	if err != nil {
		return nil, stop, err
	}
	config.QPS = -1
	if b.core, err = kubernetes.NewForConfig(config); err != nil {
		return nil, stop, err
	}
	b.dynamic, err = dynamic.NewForConfig(config)
	return b, stop, err
}

// one measures an app of one Deployment and one ConfigMap.
func (b *bench) one(ctx context.Context, tries int) error {
	repo, err := b.repository("one")
	if err != nil {
		return err
	}
	if err := repo.write(map[string]string{"app/value.yaml": value(0), "app/web.yaml": web}); err != nil {
		return err
	}
	if err := repo.push(); err != nil {
		return err
	}
	if err := b.create(ctx, namespaces, "", manifest(`{apiVersion: v1, kind: Namespace, metadata: {name: bench}}`)); err != nil {
		return err
	}
	if err := b.source(ctx, "one"); err != nil {
		return err
	}
	if err := b.app(ctx, "one", "one", "app"); err != nil {
		return err
	}
	if err := b.until(ctx, configMaps, namespace, "value", func(u *unstructured.Unstructured) bool { return text(u, "data", "value") == "0" }); err != nil {
		return err
	}
	if err := b.quiet(ctx, 3*time.Second); err != nil {
		return err
	}
	before, err := b.requests(ctx)
	if err != nil {
		return err
	}
	var live, pushes []time.Duration
	for n := 1; n <= tries; n++ {
		if err := repo.write(map[string]string{"app/value.yaml": value(n)}); err != nil {
			return err
		}
		if err := repo.commit(); err != nil {
			return err
		}
		want := fmt.Sprint(n)
		watched := make(chan error, 1)
		ready := make(chan struct{})
		var at time.Time
		go func() {
			watched <- b.untilFrom(ctx, configMaps, namespace, "value", ready, func(u *unstructured.Unstructured) bool {
				if text(u, "data", "value") != want {
					return false
				}
				at = time.Now()
				return true
			})
		}()
		<-ready
		began := time.Now()
		if err := repo.git("push", "-q", "origin", "HEAD:main"); err != nil {
			return err
		}
		pushes = append(pushes, time.Since(began))
		if err := <-watched; err != nil {
			return err
		}
		live = append(live, at.Sub(began))
	}
	report("commit → live, from the start of git push", live)
	report("  of which git push itself", pushes)
	if err := b.quiet(ctx, 3*time.Second); err != nil {
		return err
	}
	after, err := b.requests(ctx)
	if err != nil {
		return err
	}
	fmt.Println("requests to the API server per one-object commit (the bench's own watch and reads left out):")
	for _, key := range sortedKeys(after) {
		if d := after[key] - before[key]; d >= float64(tries)/10 && !strings.HasPrefix(key, "GET configmaps") && !strings.HasPrefix(key, "WATCH") && key != "LIST configmaps" {
			fmt.Printf("  %-40s %.2f\n", key, d/float64(tries))
		}
	}
	return b.drift(ctx, tries)
}

func (b *bench) drift(ctx context.Context, tries int) error {
	var restored []time.Duration
	for range tries {
		ready := make(chan struct{})
		watched := make(chan error, 1)
		var at time.Time
		drifted := false
		go func() {
			watched <- b.untilFrom(ctx, deployments, namespace, "web", ready, func(u *unstructured.Unstructured) bool {
				n, _, _ := unstructured.NestedInt64(u.Object, "spec", "replicas")
				if n == 5 {
					drifted = true
				}
				if drifted && n == 2 {
					at = time.Now()
					return true
				}
				return false
			})
		}()
		<-ready
		began := time.Now()
		if _, err := b.dynamic.Resource(deployments).Namespace(namespace).Patch(ctx, "web", types.MergePatchType,
			[]byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{FieldManager: "somebody"}); err != nil {
			return err
		}
		if err := <-watched; err != nil {
			return err
		}
		restored = append(restored, at.Sub(began))
	}
	report("drift → restored, from the start of the change", restored)
	return nil
}

// many measures memory and idleness with apps of five objects.
func (b *bench) many(ctx context.Context, apps int, idle time.Duration) error {
	repo, err := b.repository("many")
	if err != nil {
		return err
	}
	files := map[string]string{}
	for i := range apps {
		for name, content := range fiveObjects(i) {
			files[fmt.Sprintf("apps/%04d/%s.yaml", i, name)] = content
		}
	}
	if err := repo.write(files); err != nil {
		return err
	}
	if err := repo.push(); err != nil {
		return err
	}
	if err := b.source(ctx, "many"); err != nil {
		return err
	}
	began := time.Now()
	for i := range apps {
		name := fmt.Sprintf("many-%04d", i)
		if err := b.app(ctx, name, "many", fmt.Sprintf("apps/%04d", i)); err != nil {
			return err
		}
	}
	for i := range apps {
		name := fmt.Sprintf("many-%04d", i)
		if err := b.until(ctx, kustomizations, namespace, name, func(u *unstructured.Unstructured) bool {
			return text(u, "status", "lastAppliedRevision") != ""
		}); err != nil {
			return err
		}
	}
	fmt.Printf("%d apps of 5 objects delivered: %.1f s from the first one's creation\n", apps, time.Since(began).Seconds())
	if err := b.quiet(ctx, 10*time.Second); err != nil {
		return err
	}
	rss, cpu, err := usage(b.up.PIDs.Engine)
	if err != nil {
		return err
	}
	before, err := b.requests(ctx)
	if err != nil {
		return err
	}
	timer := time.NewTimer(idle)
	<-timer.C
	_, cpuAfter, err := usage(b.up.PIDs.Engine)
	if err != nil {
		return err
	}
	after, err := b.requests(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("engine RSS with %d apps of 5 objects: %d MB\n", apps, rss>>20)
	fmt.Printf("idle for %s: %.2f CPU-s of the engine; requests of all clients but for watches and leases:\n", idle, cpuAfter-cpu)
	for _, key := range sortedKeys(after) {
		if d := after[key] - before[key]; d > 0 && !strings.HasPrefix(key, "WATCH") {
			fmt.Printf("  %-40s %.0f\n", key, d)
		}
	}
	return nil
}

// report prints the median and the tail.
func report(what string, all []time.Duration) {
	slices.Sort(all)
	at := func(q float64) float64 {
		return float64(all[min(len(all)-1, int(q*float64(len(all))))].Microseconds()) / 1000
	}
	fmt.Printf("%s: median %.1f ms, p99 %.1f ms, most %.1f ms (n=%d)\n", what, at(0.5), at(0.99), at(1), len(all))
}

// repository is a clone.
type repository struct{ dir string }

func (b *bench) repository(name string) (repository, error) {
	r := repository{filepath.Join(b.dir, name)}
	if err := exec.Command("git", "init", "-q", "--initial-branch=main", r.dir).Run(); err != nil {
		return r, err
	}
	return r, r.git("remote", "add", "origin", b.up.Git+"/"+name+".git")
}

func (r repository) git(args ...string) error {
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git %s: %w\n%s", args[0], err, out)
	}
	return nil
}

func (r repository) write(files map[string]string) error {
	for name, content := range files {
		path := filepath.Join(r.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (r repository) commit() error {
	return errors.Join(r.git("add", "-A"), r.git("commit", "-q", "-m", "bench"))
}

func (r repository) push() error {
	return errors.Join(r.commit(), r.git("push", "-q", "origin", "HEAD:main"))
}

func (b *bench) source(ctx context.Context, name string) error {
	return b.create(ctx, gitRepositories, namespace, manifest(fmt.Sprintf(
		`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: %s}, spec: {url: "%s/%s.git", interval: 10m, ref: {branch: main}}}`, name, b.up.Git, name)))
}

func (b *bench) app(ctx context.Context, name, source, path string) error {
	return b.create(ctx, kustomizations, namespace, manifest(fmt.Sprintf(
		`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: %s}, spec: {interval: 10m, prune: true, path: %s, targetNamespace: bench, sourceRef: {kind: GitRepository, name: %s}}}`, name, path, source)))
}

func manifest(text string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		panic(err) // the manifests are ours
	}
	return u
}

func (b *bench) create(ctx context.Context, gvr schema.GroupVersionResource, ns string, u *unstructured.Unstructured) error {
	_, err := b.dynamic.Resource(gvr).Namespace(ns).Create(ctx, u, metav1.CreateOptions{})
	return err
}

// until waits until an object is as wanted, by a watch.
func (b *bench) until(ctx context.Context, gvr schema.GroupVersionResource, ns, name string, ok func(*unstructured.Unstructured) bool) error {
	return b.untilFrom(ctx, gvr, ns, name, make(chan struct{}), ok)
}

// untilFrom closes ready when the watch stands.
func (b *bench) untilFrom(ctx context.Context, gvr schema.GroupVersionResource, ns, name string, ready chan struct{}, ok func(*unstructured.Unstructured) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	w, err := b.dynamic.Resource(gvr).Namespace(ns).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	close(ready)
	if err != nil {
		return err
	}
	defer w.Stop()
	for ev := range w.ResultChan() {
		if u, is := ev.Object.(*unstructured.Unstructured); is && ok(u) {
			return nil
		}
	}
	return fmt.Errorf("%s %s/%s did not become as wanted: %w", gvr.Resource, ns, name, context.Cause(ctx))
}

func text(u *unstructured.Unstructured, path ...string) string {
	s, _, _ := unstructured.NestedString(u.Object, path...)
	return s
}

// requests reads the API server's count of requests, by verb and resource;
// leases and the reading itself are left out.
func (b *bench) requests(ctx context.Context) (map[string]float64, error) {
	data, err := b.core.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(line, "apiserver_request_total{") || strings.Contains(line, `resource="leases"`) || strings.Contains(line, "/metrics") {
			continue
		}
		labels, count, _ := strings.Cut(strings.TrimSpace(line), "} ")
		var n float64
		if _, err := fmt.Sscan(count, &n); err != nil {
			return nil, err
		}
		key := label(labels, "verb") + " " + label(labels, "resource")
		if sub := label(labels, "subresource"); sub != "" {
			key += "/" + sub
		}
		if label(labels, "dry_run") != "" {
			key += " (dry run)"
		}
		out[key] += n
	}
	return out, nil
}

func label(labels, name string) string {
	_, rest, _ := strings.Cut(labels, name+`="`)
	v, _, _ := strings.Cut(rest, `"`)
	return v
}

// quiet waits until no request but watches has been made for a while.
func (b *bench) quiet(ctx context.Context, calm time.Duration) error {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	var last map[string]float64
	var moved []string
	since := time.Now()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); <-tick.C {
		now, err := b.requests(ctx)
		if err != nil {
			return err
		}
		for _, k := range sortedKeys(now) {
			// Discovery is asked for by the controller manager, for ever.
			if !strings.HasPrefix(k, "WATCH") && !strings.HasPrefix(k, "GET /") && now[k] != last[k] {
				moved, since = append(moved, k), time.Now()
			}
		}
		last = now
		if time.Since(since) >= calm {
			return nil
		}
	}
	return fmt.Errorf("the cluster did not become quiet: last there was %s", strings.Join(moved[max(0, len(moved)-5):], ", "))
}

// usage reads resident bytes and CPU seconds of a process.
func usage(pid int) (rss int64, cpu float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if _, err := fmt.Sscan(kb, &rss); err != nil {
				return 0, 0, err
			}
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	var user, system float64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, 0, err
	}
	const ticks = 100 // USER_HZ, fixed on Linux
	return rss << 10, (user + system) / ticks, nil
}

func sortedKeys(m map[string]float64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
