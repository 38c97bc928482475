package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// index says what is where in an archive, so that the next one can be made from
// it.
type index struct {
	digest  string
	size    int64
	members []member
	sizes   map[key]int64 // of the entries of divided directories
}

const (
	magic    = "plumb archive " + format + "\n"
	maxIndex = 64 << 20 // bytes
)

var errIndex = errors.New("no index of an archive")

// write stores an index in a file; a checksum ends it.
func (x *index) write(file string) error {
	b := []byte(magic)
	b = append(b, byte(len(x.digest)))
	b = append(b, x.digest...)
	b = binary.BigEndian.AppendUint64(b, uint64(x.size))
	b = binary.BigEndian.AppendUint32(b, uint32(len(x.members)))
	for _, m := range x.members { // they follow one another
		b = append(b, m.key[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(m.length))
	}
	for k, size := range x.sizes {
		b = append(b, k[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(size))
	}
	sum := sha256.Sum256(b)
	tmp, err := os.CreateTemp(filepath.Dir(file), "tmp-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // of no effect after success
	_, err = tmp.Write(append(b, sum[:]...))
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}

// readIndex reads one. What is cut short, damaged or foreign is an error.
func readIndex(file string) (*index, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIndex))
	if err != nil {
		return nil, err
	}
	return parseIndex(b)
}

func parseIndex(b []byte) (*index, error) {
	if len(b) < len(magic)+1+sha256.Size || string(b[:len(magic)]) != magic {
		return nil, errIndex
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if is := sha256.Sum256(body); !bytes.Equal(is[:], sum) {
		return nil, errIndex
	}
	body = body[len(magic):]
	n := int(body[0])
	if len(body) < 1+n+8+4 {
		return nil, errIndex
	}
	x := &index{digest: string(body[1 : 1+n]), sizes: map[key]int64{}}
	body = body[1+n:]
	x.size = int64(binary.BigEndian.Uint64(body))
	count := int(binary.BigEndian.Uint32(body[8:]))
	body = body[12:]
	const record = len(key{}) + 8
	if len(body)%record != 0 || len(body)/record < count {
		return nil, errIndex
	}
	var offset int64
	for i := 0; len(body) > 0; i++ {
		k, value := key(body), int64(binary.BigEndian.Uint64(body[len(key{}):]))
		body = body[record:]
		if value < 0 || i < count && value > x.size-offset {
			return nil, errIndex
		}
		if i >= count {
			x.sizes[k] = value
			continue
		}
		x.members = append(x.members, member{k, offset, value})
		offset += value
	}
	return x, nil
}
