package objects

import (
	"cmp"
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

// maxDepth is how many deltas an object may be away from a whole one for its
// other copies to be left out of a merge.
const maxDepth = 16

// merge joins small packs when there are too many. Sizes are kept in a
// geometric progression, so that every object is copied a logarithmic number
// of times. The caller holds s.install.
//
// Packs are joined by copying their bodies one behind the other: offset deltas
// count backwards within a body and stay true. An object that two packs hold
// is then twice in the pack and its index, which Git allows, but for those that
// completed a thin pack: as they stand at the end of a body, nothing counts
// back over them, and they are left out again.
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
	// From the oldest on: what completed a pack is in one before it.
	slices.SortFunc(small, func(a, b *pack) int { return slices.Index(packs, b) - slices.Index(packs, a) })
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

// part is what a merge takes of a pack.
type part struct {
	*pack
	entries []indexEntry // in the order of the index
	end     int64        // of what is taken of the body
}

// join writes a pack of what packs hold. Of the copies of an object the index
// finds one that is whole, else that of the first pack: so deltas upon deltas
// never lead in a circle, as each leads to its own pack, one before it, or to a
// whole object.
func join(ctx context.Context, f *os.File, packs []*pack) ([]indexEntry, plumbing.Hash, error) {
	var parts []part
	var entries []indexEntry
	at := int64(packHeader)
	for _, p := range packs {
		if _, err := p.header32(); err != nil {
			return nil, plumbing.ZeroHash, err
		}
		next, err := trim(p, parts)
		if err != nil {
			return nil, plumbing.ZeroHash, err
		}
		parts = append(parts, next)
		for _, e := range next.entries {
			e.offset += at - packHeader
			entries = append(entries, e)
		}
		at += next.end - packHeader
	}
	sum := sha1.New()
	out := io.MultiWriter(f, sum)
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(entries)))
	if _, err := out.Write(head); err != nil {
		return nil, plumbing.ZeroHash, err
	}
	for _, p := range parts {
		body := io.NewSectionReader(p.data, packHeader, p.end-packHeader)
		if _, err := io.Copy(out, &contextReader{ctx, body}); err != nil {
			return nil, plumbing.ZeroHash, err
		}
	}
	id := plumbing.Hash(sum.Sum(nil))
	if _, err := f.Write(id[:]); err != nil {
		return nil, plumbing.ZeroHash, err
	}
	err := wholeFirst(&pack{data: f, size: at + packTrailer}, entries)
	return entries, id, err
}

// wholeFirst sorts the entries of a pack by id, and those of one object so that
// a whole one is first.
func wholeFirst(p *pack, entries []indexEntry) error {
	sortEntries(entries)
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && entries[n].id == entries[0].id {
			n++
		}
		for i := 0; n > 1 && i < n; i++ {
			e, err := p.entry(entries[i].offset)
			if err != nil {
				return err
			}
			if !e.kind.IsDelta() {
				entries[0], entries[i] = entries[i], entries[0]
				break
			}
		}
		entries = entries[n:]
	}
	return nil
}

// trim leaves out of a pack the whole objects at its end that parts hold, not
// too many deltas deep.
func trim(p *pack, parts []part) (part, error) {
	all, err := p.entries()
	if err != nil {
		return part{}, err
	}
	taken := part{p, all, p.size - packTrailer}
	if len(parts) == 0 {
		return taken, nil
	}
	placed := slices.Clone(all)
	slices.SortFunc(placed, func(a, b indexEntry) int { return cmp.Compare(b.offset, a.offset) })
	for _, e := range placed {
		head, err := p.entry(e.offset)
		if err != nil {
			return part{}, err
		}
		if head.kind.IsDelta() {
			break
		}
		depth, err := depthOf(parts, e.id)
		if err != nil {
			return part{}, err
		}
		if depth > maxDepth {
			break
		}
		taken.end = e.offset
	}
	taken.entries = slices.DeleteFunc(all, func(e indexEntry) bool { return e.offset >= taken.end })
	return taken, nil
}

// depthOf gives the number of deltas between an object of parts and a whole
// one, or more than maxDepth if parts do not hold it.
func depthOf(parts []part, id plumbing.Hash) (int, error) {
	p, offset, err := locateIn(parts, id)
	for depth := 0; err == nil && p != nil && depth <= maxDepth; depth++ {
		var e entry
		if e, err = p.entry(offset); err != nil || !e.kind.IsDelta() {
			return depth, err
		}
		if e.kind == plumbing.OFSDeltaObject {
			offset = e.base
		} else {
			p, offset, err = locateIn(parts, e.baseID)
		}
	}
	return maxDepth + 1, err
}

// locateIn finds the copy of an object that the index of a merge will find; nil
// if there is none.
func locateIn(parts []part, id plumbing.Hash) (found *pack, place int64, err error) {
	for _, p := range parts {
		offset, ok, err := p.find(id)
		if err != nil {
			return nil, 0, err
		}
		if !ok || offset >= p.end {
			continue
		}
		e, err := p.entry(offset)
		if err != nil {
			return nil, 0, err
		}
		if !e.kind.IsDelta() {
			return p.pack, offset, nil
		}
		if found == nil {
			found, place = p.pack, offset
		}
	}
	return found, place, nil
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
