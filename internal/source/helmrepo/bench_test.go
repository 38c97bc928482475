package helmrepo

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	repo "helm.sh/helm/v4/pkg/repo/v1"

	"plumb.dev/plumb/internal/source/objects"
)

// writeIndex writes an index of some size, such as one of the large public
// repositories has, and returns its name.
func writeIndex(b *testing.B, size int64) string {
	b.Helper()
	name := filepath.Join(b.TempDir(), "index.yaml")
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprint(w, "apiVersion: v1\nentries:\n")
	written := int64(0)
	for chart := 0; written < size; chart++ {
		n, _ := fmt.Fprintf(w, "  chart-%d:\n", chart)
		written += int64(n)
		for version := range 100 {
			n, _ := fmt.Fprintf(w, `  - annotations:
      category: Database
      licenses: Apache-2.0
    apiVersion: v2
    appVersion: 1.%[2]d.0
    created: "2024-05-01T12:00:00.%[2]d00000000Z"
    dependencies:
    - condition: redis.enabled
      name: redis
      repository: https://charts.example.org/stable
      version: 17.x.x
    - name: common
      repository: https://charts.example.org/stable
      tags:
      - common
      version: 2.x.x
    description: %[4]s
    digest: %064[2]x
    home: https://example.org/chart-%[1]d
    keywords:
    - database
    - sql
    maintainers:
    - name: Someone
      url: https://example.org
    name: chart-%[1]d
    sources:
    - https://example.org/charts/chart-%[1]d
    urls:
    - https://charts.example.org/stable/chart-%[1]d-%[3]d.%[2]d.0.tgz
    version: %[3]d.%[2]d.0
`, chart, version, chart%20, strings.Repeat("What it does, in some words. ", 4))
			written += int64(n)
		}
	}
	fmt.Fprint(w, "generated: \"2024-05-01T12:00:00Z\"\n")
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	return name
}

// peak runs what is measured and tells how much the heap grew at most.
func peak(run func()) float64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before, most := read(), uint64(0)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(time.Millisecond); ; {
			most = max(most, read())
			select {
			case <-done:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	}()
	run()
	close(done)
	<-stopped
	return float64(max(most, before)-before) / (1 << 20)
}

// An index of 30 MB is taken in, and loaded by Helm's library for comparison.
func BenchmarkIndex(b *testing.B) {
	name := writeIndex(b, 30<<20)
	b.Run("lists", func(b *testing.B) {
		most := 0.0
		for b.Loop() {
			store, err := objects.Open(b.TempDir(), objects.NewCache(0), objects.Limits{})
			if err != nil {
				b.Fatal(err)
			}
			build, err := store.Build()
			if err != nil {
				b.Fatal(err)
			}
			f, err := os.Open(name)
			if err != nil {
				b.Fatal(err)
			}
			most = max(most, peak(func() {
				if err := takeIn(f, build); err != nil {
					b.Error(err)
				}
				if _, err := build.Commit(b.Context(), "index", time.Unix(0, 0)); err != nil {
					b.Error(err)
				}
			}))
			f.Close()
			build.Close()
		}
		b.ReportMetric(most, "peak-MB")
	})
	b.Run("helm", func(b *testing.B) {
		most := 0.0
		for b.Loop() {
			var index *repo.IndexFile
			most = max(most, peak(func() {
				var err error
				if index, err = repo.LoadIndexFile(name); err != nil {
					b.Error(err)
				}
			}))
			runtime.KeepAlive(index)
		}
		b.ReportMetric(most, "peak-MB")
	})
}
