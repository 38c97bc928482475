package objects

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1" // Git's pack trailer
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxBases bounds what is kept in memory of the objects that the deltas of a
// pack build upon, in bytes.
const maxBases = 96 << 20

// incoming is a pack that is being taken in. Each object is inflated once to
// find its end, and a delta once more when what it builds upon is known.
type incoming struct {
	pack
	sum     plumbing.Hash
	entries []indexEntry            // by offset; a delta has its id when it is resolved
	whole   []int                   // the entries that are no deltas
	onPlace map[int64][]int         // deltas by the offset that they build upon
	onID    map[plumbing.Hash][]int // and by the id
	bases   []plumbing.Hash         // the keys of onID, in the order of the pack
	cache   *Cache                  // of what deltas build upon

	// resolved are the entries in an order in which each comes behind the one
	// that it builds upon. Of several with an id, the first is built upon.
	resolved []indexEntry
}

// scan reads a pack of a size from its beginning to its end.
func scan(ctx context.Context, f *os.File, size, maxObject int64) (*incoming, error) {
	in := &incoming{
		pack:    pack{data: f, size: size, maxObject: maxObject, known: map[plumbing.Hash]int64{}},
		onPlace: map[int64][]int{}, onID: map[plumbing.Hash][]int{},
		cache: newCache(maxBases, maxBases/2),
	}
	if size < packHeader+packTrailer {
		return nil, io.ErrUnexpectedEOF
	}
	count, err := in.header32()
	if err != nil {
		return nil, err
	}
	if err := in.checksum(ctx); err != nil {
		return nil, err
	}
	s := newScanner(ctx, &in.pack)
	for range count {
		if err := in.next(s); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("object at offset %d: %w", s.at(), err)
		}
	}
	if s.at() != size-packTrailer {
		return nil, fmt.Errorf("%d bytes follow the last object", size-packTrailer-s.at())
	}
	return in, nil
}

// checksum compares the pack with what stands behind it.
func (in *incoming) checksum(ctx context.Context) error {
	sum := sha1.New()
	if _, err := io.Copy(sum, &contextReader{ctx, io.NewSectionReader(in.data, 0, in.size-packTrailer)}); err != nil {
		return err
	}
	if _, err := in.data.ReadAt(in.sum[:], in.size-packTrailer); err != nil {
		return err
	}
	if !bytes.Equal(sum.Sum(nil), in.sum[:]) {
		return errors.New("the pack is cut off or damaged: it does not have the checksum at its end")
	}
	return nil
}

// scanner reads a pack in one go.
type scanner struct {
	file *io.SectionReader
	buf  *bufio.Reader
	z    io.ReadCloser
	raw  []byte
}

func newScanner(ctx context.Context, p *pack) *scanner {
	file := io.NewSectionReader(p.data, 0, p.size-packTrailer)
	_, _ = file.Seek(packHeader, io.SeekStart) // cannot fail
	return &scanner{file: file, buf: bufio.NewReaderSize(&contextReader{ctx, file}, 64<<10), raw: make([]byte, 32<<10)}
}

// at is the offset of what is read next.
func (s *scanner) at() int64 {
	at, _ := s.file.Seek(0, io.SeekCurrent) // cannot fail
	return at - int64(s.buf.Buffered())
}

// inflate passes on the content of an entry, which must have its size.
func (s *scanner) inflate(e entry, w io.Writer) (err error) {
	if s.z == nil {
		s.z, err = zlib.NewReader(s.buf)
	} else {
		err = s.z.(zlib.Resetter).Reset(s.buf, nil)
	}
	if err != nil {
		return err
	}
	// The checksum stands behind the last byte: read until the end is told.
	n, err := io.CopyBuffer(w, &io.LimitedReader{R: s.z, N: e.size + 1}, s.raw)
	if err == nil && n != e.size {
		err = errMalformed
	}
	return err
}

// next takes in the object that comes next.
func (in *incoming) next(s *scanner) error {
	offset := s.at()
	e, err := in.entry(offset)
	if err != nil {
		return err
	}
	if e.size > in.maxObject {
		return fmt.Errorf("%w: %d bytes inflated, the limit is %d", ErrTooLarge, e.size, in.maxObject)
	}
	if _, err := s.buf.Discard(int(e.data - offset)); err != nil {
		return err
	}
	at := len(in.entries)
	found := indexEntry{offset: offset}
	switch e.kind {
	case plumbing.OFSDeltaObject:
		if _, ok := in.place(e.base); !ok {
			return errMalformed
		}
		in.onPlace[e.base] = append(in.onPlace[e.base], at)
	case plumbing.REFDeltaObject:
		if _, ok := in.onID[e.baseID]; !ok {
			in.bases = append(in.bases, e.baseID)
		}
		in.onID[e.baseID] = append(in.onID[e.baseID], at)
	}
	if e.kind.IsDelta() {
		err = s.inflate(e, io.Discard)
	} else {
		in.whole = append(in.whole, at)
		hash := plumbing.NewHasher(e.kind, e.size)
		err = s.inflate(e, hash)
		found.id = hash.Sum()
	}
	if err != nil {
		return err
	}
	if found.crc, err = in.crc(offset, s.at(), s.raw); err != nil {
		return err
	}
	in.entries = append(in.entries, found)
	return nil
}

// crc is the checksum of a part of the pack, as the index wants it.
func (in *incoming) crc(from, to int64, buf []byte) (uint32, error) {
	var sum uint32
	for from < to {
		n := min(to-from, int64(len(buf)))
		if _, err := in.data.ReadAt(buf[:n], from); err != nil {
			return 0, err
		}
		sum = crc32.Update(sum, crc32.IEEETable, buf[:n])
		from += n
	}
	return sum, nil
}

// place finds the entry that begins at an offset.
func (in *incoming) place(offset int64) (int, bool) {
	return slices.BinarySearchFunc(in.entries, offset, func(e indexEntry, offset int64) int {
		return int(min(max(e.offset-offset, -1), 1))
	})
}

// resolve finds the ids of the deltas that build, over however many others, on
// entries that do not.
func (in *incoming) resolve(ctx context.Context, roots []int) error {
	type step struct{ at, depth int }
	var next []step
	follow := func(at, depth int) {
		e := in.entries[at]
		in.resolved = append(in.resolved, e)
		for _, deltas := range [][]int{in.onPlace[e.offset], in.onID[e.id]} {
			for _, at := range deltas {
				next = append(next, step{at, depth + 1})
			}
		}
		if _, ok := in.known[e.id]; !ok && in.onID[e.id] != nil {
			in.known[e.id] = e.offset
		}
	}
	for _, root := range roots {
		follow(root, 0)
		for len(next) > 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s := next[len(next)-1]
			next = next[:len(next)-1]
			e := &in.entries[s.at]
			if !e.id.IsZero() {
				continue // what it builds upon is there twice
			}
			if s.depth > maxChain {
				return fmt.Errorf("%w: more than %d deltas upon deltas", errMalformed, maxChain)
			}
			o, err := in.read(in.cache, e.offset)
			if err != nil {
				return fmt.Errorf("object at offset %d: %w", e.offset, err)
			}
			e.id = plumbing.ComputeHash(o.Type, o.Data)
			before := len(next)
			if follow(s.at, s.depth); len(next) > before {
				in.cache.put(cacheKey{pack: &in.pack, offset: e.offset}, o)
			}
		}
	}
	return nil
}
