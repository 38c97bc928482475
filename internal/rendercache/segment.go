package rendercache

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
)

const (
	// magic begins every file and names the version of the format.
	magic = "plumb renderings 1\n"
	// frameMagic begins every frame.
	frameMagic = 0x706c6d62
	headerSize = 64
)

var (
	errDamaged = errors.New("a block of the render cache is damaged")
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// frame describes a block in a file. In the file it is a header of 64 bytes,
// all little endian, that the note and the block follow:
//
//	magic 4 | key 16 | length of the note 4 | of the block 4 |
//	SHA-256, first half, of the note 16 | of the block 16 | CRC-32C of all that 4
type frame struct {
	key               Key
	noteLen, blockLen uint32
	noteSum, blockSum [16]byte
}

func half(data []byte) [16]byte {
	sum := sha256.Sum256(data)
	return [16]byte(sum[:16])
}

func newFrame(key Key, note, block []byte) frame {
	return frame{key: key, noteLen: uint32(len(note)), blockLen: uint32(len(block)), noteSum: half(note), blockSum: half(block)}
}

// length is that of the whole frame in the file.
func (f frame) length() int64 { return headerSize + int64(f.noteLen) + int64(f.blockLen) }

func (f frame) header() []byte {
	h := make([]byte, 0, headerSize)
	h = binary.LittleEndian.AppendUint32(h, frameMagic)
	h = append(h, f.key[:]...)
	h = binary.LittleEndian.AppendUint32(h, f.noteLen)
	h = binary.LittleEndian.AppendUint32(h, f.blockLen)
	h = append(h, f.noteSum[:]...)
	h = append(h, f.blockSum[:]...)
	return binary.LittleEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
}

func parseFrame(h []byte) (frame, bool) {
	if len(h) != headerSize || binary.LittleEndian.Uint32(h) != frameMagic ||
		binary.LittleEndian.Uint32(h[60:]) != crc32.Checksum(h[:60], castagnoli) {
		return frame{}, false
	}
	return frame{
		key: Key(h[4:20]), noteLen: binary.LittleEndian.Uint32(h[20:]), blockLen: binary.LittleEndian.Uint32(h[24:]),
		noteSum: [16]byte(h[28:44]), blockSum: [16]byte(h[44:60]),
	}, true
}

// segment is one file.
type segment struct {
	file *os.File
	size int64 // of what is valid; appended to there
}

// place is where in a segment a frame begins.
type place struct {
	frame
	at int64
}

// openSegment opens a file of an earlier process and finds the frames in it,
// up to the first that is not whole. It gives nil for a file that is none.
func openSegment(path string) (*segment, []place) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, nil
	}
	info, err := file.Stat()
	begin := make([]byte, len(magic))
	if err == nil {
		_, err = file.ReadAt(begin, 0)
	}
	if err == nil {
		err = file.Chmod(0o600)
	}
	if err != nil || string(begin) != magic {
		file.Close()
		return nil, nil
	}
	s := &segment{file: file, size: int64(len(magic))}
	var places []place
	header := make([]byte, headerSize)
	for {
		if _, err := file.ReadAt(header, s.size); err != nil {
			break
		}
		f, ok := parseFrame(header)
		if !ok || s.size+f.length() > info.Size() {
			break
		}
		places = append(places, place{f, s.size})
		s.size += f.length()
	}
	if s.size < info.Size() {
		if err := file.Truncate(s.size); err != nil {
			file.Close()
			return nil, nil
		}
	}
	return s, places
}

func createSegment(path string) (*segment, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := file.WriteAt([]byte(magic), 0); err != nil {
		file.Close()
		os.Remove(path)
		return nil, err
	}
	return &segment{file: file, size: int64(len(magic))}, nil
}

// append writes a frame in one piece.
func (s *segment) append(f frame, note, block []byte) (at int64, err error) {
	data := make([]byte, 0, f.length())
	data = append(append(append(data, f.header()...), note...), block...)
	if _, err := s.file.WriteAt(data, s.size); err != nil {
		_ = s.file.Truncate(s.size) // what is there of it is never looked at
		return 0, err
	}
	at = s.size
	s.size += f.length()
	return at, nil
}

// gone reports whether the file is no longer where it was made.
func (s *segment) gone() bool {
	there, err := os.Stat(s.file.Name())
	if err != nil {
		return true
	}
	mine, err := s.file.Stat()
	return err != nil || !os.SameFile(there, mine)
}

func (s *segment) remove() {
	_ = os.Remove(s.file.Name()) // it may be gone
	s.file.Close()
}

func (e entry) readNote() ([]byte, error) {
	return e.read(e.at+headerSize, e.noteLen, e.noteSum)
}

func (e entry) readBlock() ([]byte, error) {
	return e.read(e.at+headerSize+int64(e.noteLen), e.blockLen, e.blockSum)
}

func (e entry) read(at int64, length uint32, sum [16]byte) ([]byte, error) {
	data := make([]byte, length)
	if _, err := e.in.file.ReadAt(data, at); err != nil {
		return nil, err
	}
	if half(data) != sum {
		return nil, errDamaged
	}
	return data, nil
}
