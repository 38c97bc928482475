package shard

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func names(random *rand.Rand, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("plumb-%x", random.Uint64())
	}
	return out
}

// Every partition has exactly one owner, no member more than the bound, and
// the order in which members are told does not matter.
func TestAssign(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= 40; n++ {
		members := names(random, n)
		shares := Assign(members)
		random.Shuffle(n, func(i, j int) { members[i], members[j] = members[j], members[i] })
		again := Assign(append(members, members[0]))
		total := 0
		var union Share
		for name, s := range shares {
			if s.Len() > Bound(n) {
				t.Errorf("%d members: one has %d partitions, more than %d", n, s.Len(), Bound(n))
			}
			if again[name] != s {
				t.Errorf("%d members: the order matters", n)
			}
			total += s.Len()
			for i := range union {
				union[i] |= s[i]
			}
		}
		if total != Partitions || union != All() {
			t.Errorf("%d members: %d partitions dealt out, %d different ones", n, total, union.Len())
		}
	}
	if len(Assign(nil)) != 0 {
		t.Error("shares of nobody")
	}
}

// When a member comes, it gets no more than the bound, and of what the others
// had little moves among them: only what the smaller bound pushes out.
func TestLittleMoves(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for n := 1; n <= 24; n++ {
		needless, moved := 0, 0
		const rounds = 8
		for range rounds {
			members := names(random, n+1)
			before, after := Assign(members[:n]), Assign(members)
			for p := range Partitions {
				var was, is string
				for _, m := range members {
					if s := before[m]; s.has(p) {
						was = m
					}
					if s := after[m]; s.has(p) {
						is = m
					}
				}
				if was != is {
					moved++
					if is != members[n] {
						needless++
					}
				}
			}
		}
		if moved > rounds*(Bound(n+1)+Partitions/20) {
			t.Errorf("%d → %d members: %d partitions move on average", n, n+1, moved/rounds)
		}
		if needless > rounds*Partitions/20 {
			t.Errorf("%d → %d members: %d partitions move on average between members that stay", n, n+1, needless/rounds)
		}
	}
}

func TestPartitionsAreEven(t *testing.T) {
	var load [Partitions]int
	const keys = 64 * Partitions
	for i := range keys {
		load[Partition(fmt.Sprintf("Kustomization/team-%d/app-%d", i%97, i))]++
	}
	for p, n := range load {
		if n < 16 || n > 160 {
			t.Errorf("partition %d has %d of %d keys", p, n, keys)
		}
	}
}

// Replicas of different versions have to agree on it.
func TestPartitionStays(t *testing.T) {
	for key, want := range map[string]int{"Kustomization/apps/shop": 376, "Application/argocd/shop": 697} {
		if got := Partition(key); got != want {
			t.Errorf("%s is in partition %d, it was in %d", key, got, want)
		}
	}
}
