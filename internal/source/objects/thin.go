package objects

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1" // Git's pack trailer
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
)

// ErrNoBase says that a pack holds a delta on an object that neither the pack
// nor the store has. Who asks the server again, as one who has nothing, gets a
// pack without such deltas.
var ErrNoBase = errors.New("a delta builds on an object that is neither in the pack nor in the cache")

// deflateFrom is the size in bytes above which an object that completes a pack
// is compressed: 170 KB, a directory of 5000, take 3.5 ms to compress and 0.1 ms
// to write as they are.
const deflateFrom = 1 << 20

// complete makes a thin pack self-contained: of the objects that its deltas
// build upon, those that it lacks and the store has are appended, as
// `git index-pack --fix-thin` does. So every pack can be read, merged and
// checked alone. It gives the entries that were added.
func (s *Store) complete(ctx context.Context, in *incoming) (added []int, err error) {
	var bases []plumbing.Hash
	for _, id := range in.bases {
		if _, ok := in.known[id]; !ok && s.Has(id) {
			bases = append(bases, id)
		}
	}
	if len(bases) == 0 {
		return nil, nil
	}
	f := in.data
	end := in.size - packTrailer
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(in.entries)+len(bases)))
	if _, err := f.WriteAt(head, 0); err != nil {
		return nil, err
	}
	sum := sha1.New()
	if _, err := io.Copy(sum, &contextReader{ctx, io.NewSectionReader(f, 0, end)}); err != nil {
		return nil, err
	}
	for _, id := range bases {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		o, err := s.Get(id, 0)
		if err != nil {
			return nil, err
		}
		raw, err := packEntry(o)
		if err != nil {
			return nil, err
		}
		if end+int64(len(raw)) > s.limit.Pack {
			return nil, fmt.Errorf("%w: pack exceeds %d bytes with what it builds upon", ErrTooLarge, s.limit.Pack)
		}
		if _, err := f.WriteAt(raw, end); err != nil {
			return nil, err
		}
		sum.Write(raw)
		in.cache.put(cacheKey{pack: &in.pack, offset: end}, o)
		added = append(added, len(in.entries))
		in.entries = append(in.entries, indexEntry{id, crc32.ChecksumIEEE(raw), end})
		end += int64(len(raw))
	}
	in.sum = plumbing.Hash(sum.Sum(nil))
	in.size = end + packTrailer
	_, err = f.WriteAt(in.sum[:], end)
	return added, err
}

// packEntry is an object as it stands in a pack.
func packEntry(o Object) ([]byte, error) {
	level := zlib.NoCompression
	if len(o.Data) > deflateFrom {
		level = zlib.BestSpeed
	}
	var b bytes.Buffer
	b.Write(packEntryHead(o.Type, len(o.Data)))
	z, err := zlib.NewWriterLevel(&b, level)
	if err != nil {
		return nil, err
	}
	_, _ = z.Write(o.Data) // into memory: cannot fail
	_ = z.Close()
	return b.Bytes(), nil
}
