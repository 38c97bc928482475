package objects

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

const (
	idSize      = 20
	packHeader  = 12
	packTrailer = idSize
	idxFanout   = 8           // offset of the fan-out table
	idxIDs      = 8 + 256*4   // offset of the ids
	maxChain    = 4095        // deltas upon deltas, Git's own ceiling
	maxIndex    = 100_000_000 // objects in a pack
)

// pack is one pack file and its index (version 2), both read by offset and
// hence by any number of goroutines at once. Files stay open while the pack
// is in use, so one that is merged away or deleted can be read to the end.
type pack struct {
	name      string // hexadecimal checksum of the pack
	dir       string
	data, idx *os.File
	size      int64
	count     int64
	fanout    [256]uint32
	maxObject int64

	refs atomic.Int64 // 1 for the store, and 1 for each reader
	once sync.Once
}

func openPack(dir, name string, maxObject int64) (*pack, error) {
	if _, err := hex.DecodeString(name); err != nil || len(name) != 2*idSize {
		return nil, fmt.Errorf("pack name %q is not a checksum", name)
	}
	p := &pack{name: name, dir: dir, maxObject: maxObject}
	p.refs.Store(1)
	if err := p.open(); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pack) open() (err error) {
	base := filepath.Join(p.dir, "pack-"+p.name)
	if p.data, err = os.Open(base + ".pack"); err != nil {
		return err
	}
	if p.idx, err = os.Open(base + ".idx"); err != nil {
		return err
	}
	info, err := p.data.Stat()
	if err != nil {
		return err
	}
	p.size = info.Size()
	var head [idxIDs]byte
	if _, err := p.idx.ReadAt(head[:], 0); err != nil {
		return fmt.Errorf("index of pack %s: %w", p.name, err)
	}
	if !bytes.Equal(head[:8], []byte("\xfftOc\x00\x00\x00\x02")) {
		return fmt.Errorf("index of pack %s is not of version 2", p.name)
	}
	last := uint32(0)
	for i := range p.fanout {
		p.fanout[i] = binary.BigEndian.Uint32(head[idxFanout+4*i:])
		if p.fanout[i] < last {
			return fmt.Errorf("index of pack %s is out of order", p.name)
		}
		last = p.fanout[i]
	}
	p.count = int64(last)
	info, err = p.idx.Stat()
	if err != nil {
		return err
	}
	if p.count > maxIndex || info.Size() < idxIDs+p.count*(idSize+8)+2*idSize {
		return fmt.Errorf("index of pack %s is cut off", p.name)
	}
	if p.size < packHeader+packTrailer {
		return fmt.Errorf("pack %s is cut off", p.name)
	}
	var sum [idSize]byte
	if _, err := p.data.ReadAt(sum[:], p.size-packTrailer); err != nil {
		return err
	}
	// The checksum names the file: a pack that was cut off ends in another.
	if hex.EncodeToString(sum[:]) != p.name {
		return fmt.Errorf("pack %s is cut off or another pack", p.name)
	}
	return nil
}

func (p *pack) pin() { p.refs.Add(1) }

func (p *pack) release() {
	if p.refs.Add(-1) == 0 {
		p.once.Do(func() {
			if p.data != nil {
				p.data.Close()
			}
			if p.idx != nil {
				p.idx.Close()
			}
		})
	}
}

// close gives up the store's own hold.
func (p *pack) close() { p.release() }

func (p *pack) onDisk() bool {
	base := filepath.Join(p.dir, "pack-"+p.name)
	info, err := os.Stat(base + ".pack")
	if err != nil || info.Size() != p.size {
		return false
	}
	_, err = os.Stat(base + ".idx")
	return err == nil
}

// span gives the range of index positions whose ids begin with the byte b.
func (p *pack) span(b byte) (lo, hi int64) {
	if b > 0 {
		lo = int64(p.fanout[b-1])
	}
	return lo, int64(p.fanout[b])
}

func (p *pack) idAt(i int64) (id plumbing.Hash, err error) {
	_, err = p.idx.ReadAt(id[:], idxIDs+i*idSize)
	return id, err
}

// search gives the first position whose id is not below target.
func (p *pack) search(target plumbing.Hash) (int64, error) {
	lo, hi := p.span(target[0])
	// Read narrow ranges at once: one system call instead of ten.
	const window = 256
	for hi-lo > window {
		mid := lo + (hi-lo)/2
		id, err := p.idAt(mid)
		if err != nil {
			return 0, err
		}
		if bytes.Compare(id[:], target[:]) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	var buf [window * idSize]byte
	ids := buf[:(hi-lo)*idSize]
	if _, err := p.idx.ReadAt(ids, idxIDs+lo*idSize); err != nil && len(ids) > 0 {
		return 0, err
	}
	for len(ids) > 0 && bytes.Compare(ids[:idSize], target[:]) < 0 {
		ids = ids[idSize:]
		lo++
	}
	return lo, nil
}

// find gives the offset of an object in the pack.
func (p *pack) find(id plumbing.Hash) (offset int64, ok bool, err error) {
	at, err := p.search(id)
	if err != nil || at >= p.count {
		return 0, false, err
	}
	got, err := p.idAt(at)
	if err != nil || got != id {
		return 0, false, err
	}
	offset, err = p.offsetAt(at)
	return offset, err == nil, err
}

func (p *pack) offsetAt(i int64) (int64, error) {
	var b [8]byte
	offsets := idxIDs + p.count*(idSize+4)
	if _, err := p.idx.ReadAt(b[:4], offsets+4*i); err != nil {
		return 0, err
	}
	offset := int64(binary.BigEndian.Uint32(b[:4]))
	if offset >= 1<<31 {
		if _, err := p.idx.ReadAt(b[:], offsets+4*p.count+8*(offset-1<<31)); err != nil {
			return 0, err
		}
		offset = int64(binary.BigEndian.Uint64(b[:]))
	}
	if offset < packHeader || offset >= p.size-packTrailer {
		return 0, fmt.Errorf("index of pack %s points outside of the pack", p.name)
	}
	return offset, nil
}

func (p *pack) prefix(prefix string, max int) ([]plumbing.Hash, error) {
	padded := prefix
	for len(padded) < 2*idSize {
		padded += "0"
	}
	at, err := p.search(plumbing.NewHash(padded))
	var found []plumbing.Hash
	for ; err == nil && at < p.count && len(found) < max; at++ {
		var id plumbing.Hash
		if id, err = p.idAt(at); err != nil || id.String()[:len(prefix)] != prefix {
			break
		}
		found = append(found, id)
	}
	return found, err
}

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
