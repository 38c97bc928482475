package worker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A frame is a type, the length of what follows, and that. The parent asks
// with job, answers with answer and data, and the child the other way round.
type frameType byte

const (
	// From the parent.
	frameSettings frameType = iota + 1 // settings, as JSON; once, first
	frameJob                           // job
	frameAnswer                        // answers: to a request, or what ends data
	frameData                          // a part of a file, before its answer
	frameTrim                          // nothing: give memory back
	// From the child.
	frameReady   // Ready, as JSON; once, first
	frameRequest // questions
	frameResult  // an encoded render.Result
	frameFailure // failed, as JSON
)

const (
	headerSize  = 5
	maxSettings = 64 << 10
	maxFailure  = 64 << 10
	maxRequest  = 1 << 20
	maxAnswer   = 64 << 20
	maxData     = 256 << 10
	maxJob      = 16 << 20
)

var errFrame = errors.New("a frame that is not expected, or too long")

// newFrame begins a frame; what is appended to it is its content.
func newFrame(t frameType) []byte { return append(make([]byte, 0, 512), byte(t), 0, 0, 0, 0) }

// writeFrame completes a frame that newFrame began, and writes it at once.
func writeFrame(w io.Writer, frame []byte) error {
	size := len(frame) - headerSize
	if int64(size) > int64(^uint32(0)) {
		return errFrame
	}
	binary.LittleEndian.PutUint32(frame[1:], uint32(size))
	_, err := w.Write(frame)
	return err
}

// readFrame reads one frame of a type that limits names, and of no more bytes
// than it allows for that. Memory is taken as bytes come, not as the other side
// announces them. io.EOF means that there is none.
func readFrame(r io.Reader, limits map[frameType]int) (frameType, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	t, size := frameType(header[0]), int64(binary.LittleEndian.Uint32(header[1:]))
	limit, ok := limits[t]
	if !ok || size > int64(limit) {
		return 0, nil, fmt.Errorf("%w (type %d, %d bytes)", errFrame, t, size)
	}
	const step = 1 << 20
	content := make([]byte, 0, min(size, step))
	for int64(len(content)) < size {
		from := len(content)
		n := int(min(size-int64(from), max(step, int64(from))))
		content = append(content, make([]byte, n)...)
		if _, err := io.ReadFull(r, content[from:]); err != nil {
			return 0, nil, noEOF(err)
		}
	}
	return t, content, nil
}

// noEOF tells a frame that is cut short from the end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
