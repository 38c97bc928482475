package objects

import (
	"context"
	"crypto/sha1" // Git's pack trailer
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxMerge bounds the bytes that one merge copies.
const maxMerge = 512 << 20

// merge joins small packs when there are too many. Sizes are kept in a
// geometric progression, so that every object is copied a logarithmic number
// of times. The caller holds s.install.
//
// Packs are joined by copying their bodies one behind the other: offset deltas
// count backwards within a body and stay true. An object that two packs hold
// is then twice in the pack and its index, which Git allows.
func (s *Store) merge(ctx context.Context) error {
	s.mu.RLock()
	packs := slices.Clone(s.packs)
	s.mu.RUnlock()
	if len(packs) <= s.limit.Packs {
		return nil
	}
	small := selectMerge(packs)
	if len(small) < 2 {
		return nil
	}
	tmp, err := os.CreateTemp(s.packDir(), "tmp_pack_")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	entries, sum, err := join(ctx, tmp, small)
	if err != nil {
		return fmt.Errorf("merging packs: %w", err)
	}
	p, err := s.place(tmp, sum, entries)
	if err != nil {
		return fmt.Errorf("merging packs: %w", err)
	}
	kept := slices.DeleteFunc(packs, func(p *pack) bool { return slices.Contains(small, p) })
	kept = append(kept, p)
	// The manifest first: a process that dies between the two steps leaves
	// files that Open sweeps away, never a manifest without its packs.
	if err := s.writeManifest(kept); err != nil {
		p.close()
		return err
	}
	s.mu.Lock()
	s.packs = kept
	s.mu.Unlock()
	for _, old := range small {
		old.close()
		for _, f := range []*os.File{old.data, old.idx} {
			os.Remove(f.Name())
		}
	}
	return nil
}

// selectMerge gives the packs to join: from the smallest upwards, as far as a
// pack is smaller than twice what is already chosen.
func selectMerge(packs []*pack) []*pack {
	sorted := slices.Clone(packs)
	slices.SortFunc(sorted, func(a, b *pack) int { return int(min(max(a.size-b.size, -1), 1)) })
	total, n := sorted[0].size, 1
	for n < len(sorted) {
		size := sorted[n].size
		// At least half of the packs, whatever their sizes: their number is
		// what is being reduced.
		if n >= len(sorted)/2 && size >= 2*total {
			break
		}
		if total+size > maxMerge {
			break
		}
		total += size
		n++
	}
	return sorted[:n]
}

func join(ctx context.Context, w io.Writer, packs []*pack) ([]indexEntry, plumbing.Hash, error) {
	var entries []indexEntry
	var count int64
	for _, p := range packs {
		n, err := p.header32()
		if err != nil {
			return nil, plumbing.ZeroHash, err
		}
		count += int64(n)
	}
	sum := sha1.New()
	out := io.MultiWriter(w, sum)
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(count))
	if _, err := out.Write(head); err != nil {
		return nil, plumbing.ZeroHash, err
	}
	at := int64(packHeader)
	for _, p := range packs {
		own, err := p.entries()
		if err != nil {
			return nil, plumbing.ZeroHash, err
		}
		for _, e := range own {
			e.offset += at - packHeader
			entries = append(entries, e)
		}
		body := io.NewSectionReader(p.data, packHeader, p.size-packHeader-packTrailer)
		n, err := io.Copy(out, &contextReader{ctx, body})
		if err != nil {
			return nil, plumbing.ZeroHash, err
		}
		at += n
	}
	id := plumbing.Hash(sum.Sum(nil))
	_, err := w.Write(id[:])
	return entries, id, err
}

// header32 reads the number of objects that the pack itself states.
func (p *pack) header32() (uint32, error) {
	var head [packHeader]byte
	if _, err := p.data.ReadAt(head[:], 0); err != nil {
		return 0, err
	}
	if string(head[:8]) != "PACK\x00\x00\x00\x02" {
		return 0, fmt.Errorf("pack %s is not of version 2", p.name)
	}
	return binary.BigEndian.Uint32(head[8:]), nil
}
