package source

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
	"testing/fstest"
	"time"

	"plumb.dev/plumb/internal/app"
)

// fleet is a repository of many overlays with five files each.
func fleet(b *testing.B, apps int) (*origin, *Store, app.Source) {
	o := newOrigin(b)
	rnd := rand.New(rand.NewPCG(1, 1))
	files := map[string]string{}
	for i := range apps {
		for j := range 5 {
			files[overlay(i, j)] = noise(rnd, 1500)
		}
	}
	o.commit("fleet", files)
	o.push("main")
	s := newStore(b)
	return o, s, o.source(app.GitRef{Branch: "main"})
}

func overlay(i, j int) string { return fmt.Sprintf("apps/app%04d/overlays/prod/f%d.yaml", i, j) }

func BenchmarkPollWithoutNews(b *testing.B) {
	_, s, src := fleet(b, 500)
	resolve(b, s, src)
	for b.Loop() {
		resolve(b, s, src)
	}
}

func BenchmarkResolveKnownListing(b *testing.B) {
	_, s, src := fleet(b, 500)
	resolve(b, s, src)
	for b.Loop() {
		if _, _, err := s.Resolve(b.Context(), src, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFetchOneCommit(b *testing.B) {
	for _, apps := range []int{500, 5000} {
		b.Run(fmt.Sprint(apps), func(b *testing.B) { fetchOneCommit(b, apps) })
	}
}

func fetchOneCommit(b *testing.B, apps int) {
	o, s, src := fleet(b, apps)
	resolve(b, s, src)
	o.bytes.Store(0)
	i := 0
	var server int64
	for b.Loop() {
		b.StopTimer()
		i++
		o.commit("change", map[string]string{overlay(i%apps, 0): fmt.Sprint(i)})
		o.push("main")
		o.spent.Store(0)
		b.StartTimer()
		resolve(b, s, src)
		server += o.spent.Load()
	}
	b.ReportMetric(float64(o.bytes.Load())/float64(i), "wire-B/op")
	b.ReportMetric(float64(server)/float64(i), "server-ns/op")
}

func BenchmarkReadOverlay(b *testing.B) {
	_, s, src := fleet(b, 500)
	tree := treeOf(b, s, src)
	read := func(b *testing.B, tree *Tree, i int) Closure {
		rec := Record(tree)
		fsys := Exclude(rec, nil)
		for j := range 5 {
			if _, err := fs.ReadFile(fsys, overlay(i, j)); err != nil {
				b.Fatal(err)
			}
		}
		return rec.Closure()
	}
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			read(b, tree, 7)
		}
	})
	b.Run("disk", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			cold := treeOf(b, Open(Options{Dir: s.opt.Dir}), src)
			b.StartTimer()
			read(b, cold, 7)
		}
	})
	b.Run("holds", func(b *testing.B) {
		c := read(b, tree, 7)
		for b.Loop() {
			if !c.Holds(tree) {
				b.Fatal("does not hold")
			}
		}
	})
}

func BenchmarkReadThousandBlobs(b *testing.B) {
	_, s, src := fleet(b, 200)
	resolve(b, s, src)
	for _, warm := range []bool{false, true} {
		b.Run(map[bool]string{false: "disk", true: "cached"}[warm], func(b *testing.B) {
			tree := treeOf(b, s, src)
			for b.Loop() {
				if !warm {
					b.StopTimer()
					tree = treeOf(b, Open(Options{Dir: s.opt.Dir}), src)
					b.StartTimer()
				}
				for i := range 200 {
					for j := range 5 {
						if _, err := tree.ReadFile(overlay(i, j)); err != nil {
							b.Fatal(err)
						}
					}
				}
			}
		})
	}
}

// BenchmarkWhomACommitTouches is what a one-file commit costs before anything
// is rendered: comparing the trees and finding the readers.
func BenchmarkWhomACommitTouches(b *testing.B) {
	for _, apps := range []int{50, 200, 1000, 5000} {
		b.Run(fmt.Sprint(apps), func(b *testing.B) {
			o, s, src := fleet(b, apps)
			before := treeOf(b, s, src)
			var index Index[int]
			for i := range apps {
				rec := Record(before)
				fsys := Exclude(rec, nil)
				for j := range 5 {
					if _, err := fs.ReadFile(fsys, overlay(i, j)); err != nil {
						b.Fatal(err)
					}
				}
				index.Put(i, rec.Closure())
			}
			o.commit("change", map[string]string{overlay(apps/2, 3): "changed"})
			o.push("main")
			after := treeOf(b, s, src)
			for b.Loop() {
				changes, err := after.Changes(before)
				if err != nil {
					b.Fatal(err)
				}
				if got := index.Touched(changes); len(got) != 1 {
					b.Fatalf("touched are %v", got)
				}
			}
		})
	}
}

// BenchmarkExclude is of one file system, asked about all of a fleet as
// whoever packs it does.
func BenchmarkExclude(b *testing.B) {
	var names []string
	for i := range 1000 {
		for j := range 5 {
			names = append(names, overlay(i, j))
		}
	}
	text := "/*\n!/apps\n*.md\n"
	for name, ignore := range map[string]*string{"defaults": nil, "given": &text} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				filter := Exclude(fstest.MapFS{}, ignore).(Filter)
				for _, name := range names {
					if hidden, err := filter.Hides(name, false); hidden || err != nil {
						b.Fatal(name, hidden, err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(names)), "ns/path")
		})
	}
}
