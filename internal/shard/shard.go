// Package shard divides work among the replicas of Plumb: which of them owns
// an app or a source (Assign), and when one may begin what another had
// (Handover). It must not know how replicas hear of each other, nor what they
// work on.
package shard

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// Partitions is how many parts the work is divided into. It is much larger
// than any number of replicas, so that parts can be dealt out evenly.
const Partitions = 1024

// scheme names the way in which work is divided. Replicas that divide in
// different ways never agree on a view, and so never both begin something.
const scheme = "1"

// Partition is the part that key belongs to, the same in every process.
func Partition(key string) int {
	sum := sha256.Sum256([]byte(key))
	return int(binary.BigEndian.Uint64(sum[:8]) % Partitions)
}

// Share is a set of partitions. The zero value is none.
type Share [Partitions / 64]uint64

// All is the share of who is alone.
func All() Share {
	var s Share
	for i := range s {
		s[i] = ^uint64(0)
	}
	return s
}

// Owns reports whether the partition of key is in the share.
func (s *Share) Owns(key string) bool { return s.has(Partition(key)) }

// Len is the number of partitions.
func (s *Share) Len() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// And is what both shares hold.
func (s Share) And(other Share) Share {
	for i := range s {
		s[i] &= other[i]
	}
	return s
}

func (s *Share) has(partition int) bool { return s[partition/64]&(1<<(partition%64)) != 0 }
func (s *Share) add(partition int)      { s[partition/64] |= 1 << (partition % 64) }

// Assign deals all partitions out to the members, which are told by name, in
// any order: the same names always give the same shares. No member gets more
// than a quarter above the mean (rounded up), and when one comes or goes,
// little else moves than what it gets or had.
//
// Every pair of a partition and a member has a weight, a hash of both. Pairs
// are taken from the heaviest down; a partition goes to the first member that
// has room for it. Without the bound this is rendezvous hashing.
func Assign(members []string) map[string]Share {
	members = slices.Compact(slices.Sorted(slices.Values(members)))
	shares := make(map[string]Share, len(members))
	if len(members) == 0 {
		return shares
	}
	type pair struct {
		weight            uint64
		partition, member int
	}
	pairs := make([]pair, 0, Partitions*len(members))
	for m, name := range members {
		seed := binary.BigEndian.Uint64(hash("member", name))
		for p := range Partitions {
			pairs = append(pairs, pair{mix(seed ^ mix(uint64(p))), p, m})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		switch {
		case a.weight > b.weight:
			return -1
		case a.weight < b.weight:
			return 1
		case a.partition != b.partition:
			return a.partition - b.partition
		}
		return a.member - b.member
	})
	most := Bound(len(members))
	var dealt Share
	all := make([]Share, len(members))
	load := make([]int, len(members))
	for _, p := range pairs {
		if load[p.member] < most && !dealt.has(p.partition) {
			dealt.add(p.partition)
			all[p.member].add(p.partition)
			load[p.member]++
		}
	}
	for m, name := range members {
		shares[name] = all[m]
	}
	return shares
}

// Bound is the most partitions that one of n members gets: ceil(1.25·P/n).
func Bound(n int) int { return min(Partitions, (5*Partitions+4*n-1)/(4*n)) }

// mix spreads a number over all bits (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func hash(parts ...string) []byte {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return sum[:]
}
