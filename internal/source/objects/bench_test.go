package objects

import (
	"fmt"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
)

// BenchmarkInstallThin is a commit below a directory of many, as a server sends
// it, installed and its directory read.
func BenchmarkInstallThin(b *testing.B) {
	for _, entries := range []int{500, 5000} {
		b.Run(fmt.Sprint(entries), func(b *testing.B) { installThin(b, entries) })
	}
}

func installThin(b *testing.B, entries int) {
	const commits = 40
	dir := b.TempDir()
	git(b, dir, "", "init", "--quiet", "--bare", ".")
	var stream strings.Builder
	for c := range commits {
		fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter A <a@b> %d +0000\ndata 1\nx\n", 1700000000+c)
		for i := range entries {
			if c == 0 || c == i {
				text := fmt.Sprint(c, i)
				fmt.Fprintf(&stream, "M 644 inline apps/app%04d/f\ndata %d\n%s\n", i, len(text), text)
			}
		}
	}
	git(b, dir, stream.String(), "fast-import", "--quiet")
	var trees []plumbing.Hash
	var packs []string
	for c := range commits {
		at := fmt.Sprintf("main~%d", commits-1-c)
		trees = append(trees, plumbing.NewHash(strings.TrimSpace(git(b, dir, "", "rev-parse", at+":apps"))))
		if c == 0 {
			packs = append(packs, whole(b, dir, at))
		} else {
			packs = append(packs, thin(b, dir, at, at+"~1"))
		}
	}
	var s *Store
	for at := 0; b.Loop(); at++ {
		if at %= commits; at == 0 {
			b.StopTimer()
			s = open(b, b.TempDir(), Limits{})
			install(b, s, packs[at])
			if _, err := s.Get(trees[at], 0); err != nil {
				b.Fatal(err)
			}
			at++
			b.StartTimer()
		}
		install(b, s, packs[at])
		if _, err := s.Get(trees[at], 0); err != nil {
			b.Fatal(err)
		}
	}
	n, bytes := s.Packs()
	b.ReportMetric(float64(bytes), "B-of-40-packs")
	b.ReportMetric(float64(n), "packs")
}
