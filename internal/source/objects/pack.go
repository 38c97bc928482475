package objects

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing"
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

	// known has the offsets of objects while there is no index yet.
	known map[plumbing.Hash]int64

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
	if p.idx == nil {
		offset, ok = p.known[id]
		return offset, ok, nil
	}
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
	var b [4]byte
	if _, err := p.idx.ReadAt(b[:], idxIDs+p.count*(idSize+4)+4*i); err != nil {
		return 0, err
	}
	return p.offset(binary.BigEndian.Uint32(b[:]))
}

// offset gives the offset that an index states in 32 bits, or says in them
// where its 64 bits are.
func (p *pack) offset(stated uint32) (int64, error) {
	offset := int64(stated)
	if offset >= 1<<31 {
		var b [8]byte
		if _, err := p.idx.ReadAt(b[:], idxIDs+p.count*(idSize+8)+8*(offset-1<<31)); err != nil {
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
