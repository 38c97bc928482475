package objects

import (
	"bufio"
	"bytes"
	"crypto/sha1" // Git's index format; nothing here depends on its strength
	"encoding/binary"
	"io"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// indexEntry is one object of a pack.
type indexEntry struct {
	id     plumbing.Hash
	crc    uint32
	offset int64
}

// sortEntries sorts by id; those of one object stay in their order.
func sortEntries(entries []indexEntry) {
	slices.SortStableFunc(entries, func(a, b indexEntry) int { return bytes.Compare(a.id[:], b.id[:]) })
}

// writeIndex writes a version 2 index of the pack with the given checksum. It
// sorts entries; those of one object stay in their order, and the first is the
// one that is found.
func writeIndex(w io.Writer, entries []indexEntry, pack plumbing.Hash) error {
	sortEntries(entries)
	sum := sha1.New()
	out := bufio.NewWriter(io.MultiWriter(w, sum))
	out.WriteString("\xfftOc\x00\x00\x00\x02")

	var b [8]byte
	word := func(v uint32) {
		binary.BigEndian.PutUint32(b[:4], v)
		out.Write(b[:4])
	}
	at := 0
	for first := range 256 {
		for at < len(entries) && int(entries[at].id[0]) == first {
			at++
		}
		word(uint32(at))
	}
	for _, e := range entries {
		out.Write(e.id[:])
	}
	for _, e := range entries {
		word(e.crc)
	}
	var far []int64 // offsets that need 64 bits
	for _, e := range entries {
		if e.offset < 1<<31 {
			word(uint32(e.offset))
			continue
		}
		word(1<<31 | uint32(len(far)))
		far = append(far, e.offset)
	}
	for _, offset := range far {
		binary.BigEndian.PutUint64(b[:], uint64(offset))
		out.Write(b[:])
	}
	out.Write(pack[:])
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := w.Write(sum.Sum(nil))
	return err
}

// entries reads the whole index of a pack.
func (p *pack) entries() ([]indexEntry, error) {
	table := make([]byte, p.count*(idSize+4+4))
	if _, err := p.idx.ReadAt(table, idxIDs); err != nil && p.count > 0 {
		return nil, err
	}
	ids, crcs, offsets := table[:p.count*idSize], table[p.count*idSize:], table[p.count*(idSize+4):]
	all := make([]indexEntry, p.count)
	for i := range all {
		offset, err := p.offset(binary.BigEndian.Uint32(offsets[4*i:]))
		if err != nil {
			return nil, err
		}
		all[i] = indexEntry{plumbing.Hash(ids[i*idSize:][:idSize]), binary.BigEndian.Uint32(crcs[4*i:]), offset}
	}
	return all, nil
}
