package objects

import (
	"bufio"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// entry is the head of an object in the pack.
type entry struct {
	kind   plumbing.ObjectType
	size   int64         // of the object, or of the delta
	data   int64         // offset of the compressed data
	base   int64         // offset of the base of an offset delta
	baseID plumbing.Hash // of a reference delta
}

var errMalformed = errors.New("malformed pack entry")

func (p *pack) entry(offset int64) (e entry, err error) {
	var buf [64]byte
	n, err := p.data.ReadAt(buf[:min(int64(len(buf)), p.size-packTrailer-offset)], offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return e, err
	}
	b := buf[:n]
	next := func() byte {
		if len(b) == 0 {
			err = errMalformed
			return 0
		}
		c := b[0]
		b = b[1:]
		return c
	}
	c := next()
	e.kind = plumbing.ObjectType(c >> 4 & 7)
	e.size = int64(c & 15)
	for shift := 4; c&0x80 != 0 && shift < 57; shift += 7 {
		c = next()
		e.size |= int64(c&0x7f) << shift
	}
	switch e.kind {
	case plumbing.OFSDeltaObject:
		c = next()
		back := int64(c & 0x7f)
		for i := 0; c&0x80 != 0 && i < 8; i++ {
			c = next()
			back = (back+1)<<7 | int64(c&0x7f)
		}
		e.base = offset - back
		if back <= 0 || e.base < packHeader {
			err = errMalformed
		}
	case plumbing.REFDeltaObject:
		if len(b) < idSize {
			return e, errMalformed
		}
		e.baseID = plumbing.Hash(b[:idSize])
		b = b[idSize:]
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
	default:
		err = errMalformed
	}
	e.data = offset + int64(n-len(b))
	if err == nil || errors.Is(err, io.EOF) {
		return e, nil
	}
	return e, err
}

// inflaters are reused: a zlib reader costs 40 KiB.
var inflaters = sync.Pool{New: func() any { return &inflater{buf: bufio.NewReaderSize(nil, 4<<10)} }}

type inflater struct {
	buf *bufio.Reader
	z   io.ReadCloser
}

// inflate reads size bytes of the entry's content, or all of it for size < 0
// up to the entry's own size.
func (p *pack) inflate(e entry, size int64) ([]byte, error) {
	if e.size > p.maxObject {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, e.size, p.maxObject)
	}
	whole := size < 0 || size >= e.size
	if whole {
		size = e.size
	}
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	f.buf.Reset(io.NewSectionReader(p.data, e.data, p.size-packTrailer-e.data))
	var err error
	if f.z == nil {
		f.z, err = zlib.NewReader(f.buf)
	} else {
		err = f.z.(zlib.Resetter).Reset(f.buf, nil)
	}
	if err != nil {
		f.z = nil
		return nil, err
	}
	out := make([]byte, size)
	if _, err := io.ReadFull(f.z, out); err != nil {
		return nil, err
	}
	if whole { // the checksum stands behind the last byte
		if n, err := f.z.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			return nil, errMalformed
		}
	}
	return out, nil
}

// baseOf gives the entry that a delta builds upon. Packs are whole: the base
// is in the same one.
func (p *pack) baseOf(e entry) (int64, error) {
	if e.kind == plumbing.OFSDeltaObject {
		return e.base, nil
	}
	offset, ok, err := p.find(e.baseID)
	if err == nil && !ok {
		err = fmt.Errorf("%w: %s, the base of a delta", ErrMissing, e.baseID)
	}
	return offset, err
}

// header gives the type and the inflated size of the object at offset.
func (p *pack) header(offset int64) (plumbing.ObjectType, int64, error) {
	e, err := p.entry(offset)
	if err != nil {
		return 0, 0, err
	}
	size := e.size
	if e.kind.IsDelta() {
		head, err := p.inflate(e, 24)
		if err != nil {
			return 0, 0, err
		}
		if _, size, err = deltaSizes(head); err != nil {
			return 0, 0, err
		}
	}
	for depth := 0; e.kind.IsDelta(); depth++ {
		if depth > maxChain {
			return 0, 0, errMalformed
		}
		base, err := p.baseOf(e)
		if err != nil {
			return 0, 0, err
		}
		if e, err = p.entry(base); err != nil {
			return 0, 0, err
		}
	}
	return e.kind, size, nil
}

// deltaSizes reads the sizes of base and result at the head of a delta.
func deltaSizes(delta []byte) (base, result int64, err error) {
	b, n := binary.Uvarint(delta)
	if n <= 0 || b > 1<<62 {
		return 0, 0, errMalformed
	}
	r, m := binary.Uvarint(delta[n:])
	if m <= 0 || r > 1<<62 {
		return 0, 0, errMalformed
	}
	return int64(b), int64(r), nil
}

// read inflates the object at offset, resolving deltas. Bases on the way are
// cached: neighbours in a pack are built upon the same ones.
func (p *pack) read(c *Cache, offset int64) (Object, error) {
	var deltas [][]byte
	var bases []int64 // bases[i] is what deltas[i] builds upon
	var o Object
	for {
		if cached, ok := c.get(cacheKey{pack: p, offset: offset}); ok {
			o = cached
			break
		}
		e, err := p.entry(offset)
		if err != nil {
			return Object{}, err
		}
		data, err := p.inflate(e, -1)
		if err != nil {
			return Object{}, err
		}
		if !e.kind.IsDelta() {
			o = Object{Type: e.kind, Data: data}
			break
		}
		if _, result, err := deltaSizes(data); err != nil {
			return Object{}, err
		} else if result > p.maxObject {
			return Object{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, result, p.maxObject)
		}
		if deltas = append(deltas, data); len(deltas) > maxChain {
			return Object{}, errMalformed
		}
		if offset, err = p.baseOf(e); err != nil {
			return Object{}, err
		}
		bases = append(bases, offset)
	}
	for i := len(deltas) - 1; i >= 0; i-- {
		c.put(cacheKey{pack: p, offset: bases[i]}, o)
		data, err := packfile.PatchDelta(o.Data, deltas[i])
		if err != nil {
			return Object{}, err
		}
		o.Data = data
	}
	return o, nil
}
