// Command render measures what rendering in worker processes costs against
// rendering in this process, for a small overlay: five objects in a base, and
// a patch, an image and a generator in the overlay.
//
//	go build -o /tmp/plumb ./cmd/plumb
//	go run ./bench/render --binary /tmp/plumb
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing/fstest"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/render/worker"
)

func main() {
	binary := flag.String("binary", "bin/plumb", "the plumb `FILE` to start")
	n := flag.Int("n", 2000, "renderings of each kind")
	flag.Parse()
	if err := measure(*binary, *n); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(binary string, n int) error {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	spec := app.Render{Path: "overlay", Mode: app.RenderKustomize}
	tree := overlay()
	opts := worker.Options{Executable: binary, Args: []string{"render-worker"}, Workers: 2}
	var starts []time.Duration
	for range 7 {
		pool := worker.New(opts)
		begin := time.Now()
		if _, err := pool.Render(context.Background(), tree, spec); err != nil {
			return err
		}
		starts = append(starts, time.Since(begin))
		pool.Close()
	}
	fmt.Printf("cold: start of a process and first rendering   %s\n", quantiles(starts))

	pool := worker.New(opts)
	defer pool.Close()
	inPool := func() error { _, err := pool.Render(context.Background(), tree, spec); return err }
	here := func() error { _, err := render.Render(context.Background(), tree, spec); return err }
	for _, kind := range []struct {
		name string
		do   func() error
	}{{"warm, in this process", here}, {"warm, in a worker", inPool}} {
		times, err := repeat(n, kind.do)
		if err != nil {
			return err
		}
		fmt.Printf("%-46s %s\n", kind.name, quantiles(times))
	}
	for _, kind := range []struct {
		name string
		do   func() error
	}{{"16 at a time, in this process, each", here}, {"16 at a time, in 2 workers, each", inPool}} {
		begin := time.Now()
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() { _, _ = repeat(n/16, kind.do) })
		}
		wg.Wait()
		fmt.Printf("%-46s %s\n", kind.name, (time.Since(begin) / time.Duration(n/16*16)).Round(time.Microsecond))
	}
	// Long enough for all but one process to end, and that to be trimmed.
	<-time.After(25 * time.Second)
	if err := residents("idle"); err != nil {
		return err
	}
	times, err := repeat(1, inPool)
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %s\n", "first rendering after that", quantiles(times))
	return nil
}

func repeat(n int, do func() error) ([]time.Duration, error) {
	times := make([]time.Duration, 0, n)
	for range n {
		begin := time.Now()
		if err := do(); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin))
	}
	return times, nil
}

func quantiles(times []time.Duration) string {
	slices.Sort(times)
	round := func(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
	return fmt.Sprintf("median %s, p99 %s", round(times[len(times)/2]), round(times[len(times)*99/100]))
}

// residents prints what the children of this process hold in memory.
func residents(when string) error {
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return err
	}
	for _, list := range lists {
		pids, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, pid := range strings.Fields(string(pids)) {
			status, err := os.ReadFile("/proc/" + pid + "/status")
			if err != nil {
				continue
			}
			fmt.Printf("%s:", when)
			for line := range strings.Lines(string(status)) {
				if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "Rss") || strings.HasPrefix(line, "Threads") {
					fmt.Print(" ", strings.Join(strings.Fields(line), " "))
				}
			}
			fmt.Println()
		}
	}
	return nil
}

func overlay() fstest.MapFS {
	tree := fstest.MapFS{}
	file := func(name, text string) { tree[name] = &fstest.MapFile{Data: []byte(text)} }
	file("base/kustomization.yaml", "resources: [account.yaml, service.yaml, deployment.yaml, config.yaml, ingress.yaml]\n")
	file("base/account.yaml", "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: web, labels: {app: web}}\n")
	file("base/service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web, labels: {app: web}}\nspec: {selector: {app: web}, ports: [{port: 80}]}\n")
	file("base/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, labels: {app: web}}\n")
	file("base/ingress.yaml", "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, labels: {app: web}}\n")
	file("base/deployment.yaml", `apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: frontend:latest, envFrom: [{configMapRef: {name: settings}}]}
`)
	file("overlay/kustomization.yaml", `resources: [../base]
patches:
- path: replicas.yaml
images:
- {name: frontend, newTag: v1.2.3}
configMapGenerator:
- name: settings
  literals: [A=1, B=2]
`)
	file("overlay/replicas.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 5}\n")
	return tree
}
