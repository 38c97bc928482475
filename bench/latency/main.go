// Command latency measures what a user of plumb up waits for: a commit until
// it is live, drift until it is undone, and what both cost. It drives the
// binary it is given through stock git and the Kubernetes API only.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/bench/internal/meter"
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
	up      *meter.Up
	dir     string
	server  *meter.Server
	dynamic dynamic.Interface
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
	dir, err := os.MkdirTemp(meter.Scratch(), "plumb-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir}
	began := time.Now()
	if b.up, err = meter.StartUp(ctx, binary, dir); err != nil {
		return err
	}
	defer b.up.Stop()
	fmt.Printf("plumb up --no-sample ready: %.1f s\n", time.Since(began).Seconds())
	config, err := clientcmd.BuildConfigFromFlags("", b.up.Kubeconfig)
	if err != nil {
		return err
	}
	if b.server, config, err = meter.NewServer(config); err != nil {
		return err
	}
	if b.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	if err := b.one(ctx, tries); err != nil {
		return err
	}
	if apps == 0 {
		return nil
	}
	return b.many(ctx, apps, idle)
}

// one measures an app of one Deployment and one ConfigMap.
func (b *bench) one(ctx context.Context, tries int) error {
	repo, err := meter.Init(filepath.Join(b.dir, "one"), b.up.Git+"/one.git")
	if err != nil {
		return err
	}
	if err := repo.Write(map[string]string{"app/value.yaml": value(0), "app/web.yaml": web}); err != nil {
		return err
	}
	if _, err := repo.Commit(); err != nil {
		return err
	}
	if err := repo.Push(); err != nil {
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
	if _, err := b.server.Quiet(ctx, 3*time.Second, 2*time.Minute); err != nil {
		return err
	}
	before, err := b.server.Read(ctx)
	if err != nil {
		return err
	}
	var live, pushes meter.Times
	for n := 1; n <= tries; n++ {
		if err := repo.Write(map[string]string{"app/value.yaml": value(n)}); err != nil {
			return err
		}
		if _, err := repo.Commit(); err != nil {
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
		if err := repo.Push(); err != nil {
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
	if _, err := b.server.Quiet(ctx, 3*time.Second, 2*time.Minute); err != nil {
		return err
	}
	after, err := b.server.Read(ctx)
	if err != nil {
		return err
	}
	fmt.Println("requests to the API server per one-object commit (the bench's own left out):")
	each := after.Since(before).Times(1 / float64(tries))
	for _, key := range each.Keys() {
		if each[key] >= 0.1 {
			fmt.Printf("  %-40s %.2f\n", key, each[key])
		}
	}
	return b.drift(ctx, tries)
}

func (b *bench) drift(ctx context.Context, tries int) error {
	var restored meter.Times
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
	repo, err := meter.Init(filepath.Join(b.dir, "many"), b.up.Git+"/many.git")
	if err != nil {
		return err
	}
	files := map[string]string{}
	for i := range apps {
		for name, content := range fiveObjects(i) {
			files[fmt.Sprintf("apps/%04d/%s.yaml", i, name)] = content
		}
	}
	if err := repo.Write(files); err != nil {
		return err
	}
	if _, err := repo.Commit(); err != nil {
		return err
	}
	if err := repo.Push(); err != nil {
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
	if _, err := b.server.Quiet(ctx, 10*time.Second, 2*time.Minute); err != nil {
		return err
	}
	used, err := meter.Read(b.up.PIDs.Engine)
	if err != nil {
		return err
	}
	before, err := b.server.Read(ctx)
	if err != nil {
		return err
	}
	timer := time.NewTimer(idle)
	<-timer.C
	then, err := meter.Read(b.up.PIDs.Engine)
	if err != nil {
		return err
	}
	after, err := b.server.Read(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("engine RSS with %d apps of 5 objects: %d MB\n", apps, used.RSS>>20)
	fmt.Printf("idle for %s: %.2f CPU-s of the engine; requests of all clients but for watches and leases:\n", idle, (then.CPU - used.CPU).Seconds())
	asked := after.Since(before)
	for _, key := range asked.Keys() {
		fmt.Printf("  %-40s %.0f\n", key, asked[key])
	}
	return nil
}

// report prints the median and the tail.
func report(what string, all meter.Times) {
	at := func(q float64) float64 { return float64(all.Quantile(q).Microseconds()) / 1000 }
	fmt.Printf("%s: median %.1f ms, p99 %.1f ms, most %.1f ms (n=%d)\n", what, at(0.5), at(0.99), at(1), len(all))
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
