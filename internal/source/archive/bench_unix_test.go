//go:build unix

package archive

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkPack is of 25,000 files in 5000 directories, 37 MB: all of it, and
// again after one file has changed.
func BenchmarkPack(b *testing.B) {
	o := newOrigin(b)
	rnd := rand.New(rand.NewPCG(1, 1))
	name := func(i int) string { return fmt.Sprintf("apps/app%04d/overlays/prod/f%d.yaml", i/5, i%5) }
	for i := range 25_000 {
		o.write(name(i), manifest(rnd, i))
	}
	c := o.commit(nil)
	b.Run("all", func(b *testing.B) {
		var used time.Duration
		for b.Loop() {
			s := newStore(b, "")
			before := cpu(b)
			a := mustMake(b, s, c)
			used += cpu(b) - before
			b.ReportMetric(float64(a.Size)/1e6, "MB")
		}
		b.ReportMetric(used.Seconds()*1e3/float64(b.N), "cpu-ms/op")
	})
	b.Run("one-file", func(b *testing.B) {
		s := newStore(b, "")
		mustMake(b, s, c)
		var used time.Duration
		for b.Loop() {
			b.StopTimer()
			o.write(name(rnd.IntN(25_000)), manifest(rnd, 1))
			c := o.commit(nil)
			before := cpu(b)
			b.StartTimer()
			mustMake(b, s, c)
			used += cpu(b) - before
		}
		b.ReportMetric(used.Seconds()*1e3/float64(b.N), "cpu-ms/op")
	})
	b.Run("nothing", func(b *testing.B) {
		s := newStore(b, "")
		mustMake(b, s, c)
		for b.Loop() {
			mustMake(b, s, c)
		}
	})
}

// manifest is 1.5 kB that look like one.
func manifest(rnd *rand.Rand, i int) string {
	var t strings.Builder
	fmt.Fprintf(&t, "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings-%d\n  labels: {app: app-%d, team: team-%d}\ndata:\n", i, i/5, i%17)
	for t.Len() < 1500 {
		fmt.Fprintf(&t, "  key-%d: value %x\n", rnd.IntN(100), rnd.Uint32())
	}
	return t.String()
}
