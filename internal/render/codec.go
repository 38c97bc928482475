package render

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// codecMagic begins every encoded Result. Its last byte is the version: it
// changes with the format, so that a block of another build is refused.
const codecMagic = "plumb-render\x01"

const (
	maxValueDepth = 1000    // maps and lists within each other
	maxValues     = 8 << 20 // of all objects together; each may cost a map
)

// What a value begins with.
const (
	tagNull byte = iota
	tagFalse
	tagTrue
	tagInt    // a zigzag varint
	tagFloat  // 8 bytes, little endian
	tagString // the number of a string
	tagMap    // a count, then as many pairs of the number of a key and a value, keys ascending
	tagList   // a count, then as many values
)

// Encode writes a result as one block of bytes, the same bytes for equal
// results. Decode gives back exactly what was encoded: a number keeps its type,
// an empty map of an object stays apart from none. The block holds the true content of
// Secrets: whoever stores it protects it as it would them.
//
// A block is the magic, then a table of all strings, each once, then what
// refers to them by number: manifests repeat the same few keys. An error means
// that a value is of no JSON type, or nests more than 1000 deep.
func Encode(result Result) ([]byte, error) {
	e := encoder{numbers: map[string]uint64{}}
	e.string(string(result.Mode))
	e.uint(uint64(len(result.Warnings)))
	for _, w := range result.Warnings {
		e.string(w.Field)
		e.string(w.Message)
	}
	e.uint(uint64(len(result.Objects)))
	for _, o := range result.Objects {
		e.string(o.Origin.Path)
		e.body = binary.AppendVarint(e.body, int64(o.Origin.Line))
		if err := e.object(o.Unstructured().Object, 0); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", o.Origin, o, err)
		}
	}
	if e.values > maxValues {
		return nil, fmt.Errorf("%d values, more than the %d that can be encoded", e.values, maxValues)
	}
	size := len(codecMagic) + 2*binary.MaxVarintLen64 + len(e.body)
	for _, s := range e.strings {
		size += len(s) + 3
	}
	block := append(make([]byte, 0, size), codecMagic...)
	block = binary.AppendUvarint(block, uint64(len(e.strings)))
	for _, s := range e.strings {
		block = binary.AppendUvarint(block, uint64(len(s)))
		block = append(block, s...)
	}
	return append(block, e.body...), nil
}

type encoder struct {
	body    []byte
	strings []string
	numbers map[string]uint64 // of strings
	values  int
	keys    []string // of the maps that are being written
}

func (e *encoder) uint(v uint64) { e.body = binary.AppendUvarint(e.body, v) }

func (e *encoder) string(s string) {
	n, ok := e.numbers[s]
	if !ok {
		n = uint64(len(e.strings))
		e.numbers[s] = n
		e.strings = append(e.strings, s)
	}
	e.uint(n)
}

// count writes the length of a map or list that may be nil.
func (e *encoder) count(n int, isNil bool) {
	if isNil {
		e.uint(0)
	} else {
		e.uint(uint64(n) + 1)
	}
}

func (e *encoder) object(m map[string]any, depth int) error {
	e.count(len(m), m == nil)
	from := len(e.keys)
	e.keys = slices.AppendSeq(e.keys, maps.Keys(m))
	slices.Sort(e.keys[from:])
	for i := range len(m) {
		key := e.keys[from+i]
		e.string(key)
		if err := e.value(m[key], depth+1); err != nil {
			return err
		}
	}
	e.keys = e.keys[:from]
	return nil
}

func (e *encoder) value(v any, depth int) error {
	if depth > maxValueDepth {
		return fmt.Errorf("values nest more than %d deep", maxValueDepth)
	}
	e.values++
	switch v := v.(type) {
	case nil:
		e.body = append(e.body, tagNull)
	case bool:
		tag := tagFalse
		if v {
			tag = tagTrue
		}
		e.body = append(e.body, tag)
	case int64:
		e.body = binary.AppendVarint(append(e.body, tagInt), v)
	case float64:
		e.body = binary.LittleEndian.AppendUint64(append(e.body, tagFloat), math.Float64bits(v))
	case string:
		e.body = append(e.body, tagString)
		e.string(v)
	case map[string]any:
		e.body = append(e.body, tagMap)
		return e.object(v, depth)
	case []any:
		e.body = append(e.body, tagList)
		e.count(len(v), v == nil)
		for _, item := range v {
			if err := e.value(item, depth+1); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("a value of type %T is not one of JSON", v)
	}
	return nil
}

// errBlock is what is wrong with a block that Encode did not write.
var errBlock = errors.New("not an encoded rendering, or one that is damaged")

// Decode reads what Encode wrote. It may be given anything: what is not such a
// block, or is cut short, is an error, and the memory that it takes is bounded
// by the length of the block. The result shares no memory with it; where it
// has no objects or no warnings, the slice is nil.
func Decode(block []byte) (Result, error) {
	rest, ok := strings.CutPrefix(string(block[:min(len(block), len(codecMagic))]), codecMagic)
	if !ok || rest != "" {
		return Result{}, errBlock
	}
	d := decoder{rest: block[len(codecMagic):], total: len(block)}
	d.strings = make([]string, 0, d.length(1))
	for range cap(d.strings) {
		d.strings = append(d.strings, string(d.take(d.uint())))
	}
	result := Result{Mode: app.RenderMode(d.string())}
	if n := d.length(2); n > 0 {
		result.Warnings = make([]app.Warning, n)
	}
	for i := range result.Warnings {
		result.Warnings[i] = app.Warning{Field: d.string(), Message: d.string()}
	}
	if n := d.length(3); n > 0 {
		result.Objects = make([]object.Object, n)
	}
	for i := range result.Objects {
		origin := object.Origin{Path: d.string(), Line: int(d.int())}
		result.Objects[i] = object.New(d.object(0), origin)
	}
	if d.failed || len(d.rest) > 0 {
		return Result{}, errBlock
	}
	return result, nil
}

// decoder reads from rest. After a failure it reads zeros.
type decoder struct {
	rest    []byte
	strings []string
	values  int
	claimed int // items that maps and lists say they have
	total   int // bytes of the block
	failed  bool
}

func (d *decoder) fail() {
	d.failed, d.rest = true, nil
}

func (d *decoder) take(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// length reads how many items follow, of which each takes at least size bytes.
func (d *decoder) length(size int) int { return d.claim(d.uint(), size) }

// claim checks a count before memory is taken for it. Each item has a byte of
// its own, so what all counts say together cannot be more than the block.
func (d *decoder) claim(n uint64, size int) int {
	if n > uint64(len(d.rest)/size) || d.claimed+int(n) > d.total {
		d.fail()
		return 0
	}
	d.claimed += int(n)
	return int(n)
}

func (d *decoder) string() string {
	n := d.uint()
	if n >= uint64(len(d.strings)) {
		d.fail()
		return ""
	}
	return d.strings[n]
}

func (d *decoder) object(depth int) map[string]any {
	n := d.uint()
	if n == 0 {
		return nil
	}
	count := d.claim(n-1, 2)
	m := make(map[string]any, count)
	last := ""
	for i := 0; i < count && !d.failed; i++ {
		key := d.string()
		if i > 0 && key <= last {
			d.fail()
		}
		m[key], last = d.value(depth+1), key
	}
	return m
}

func (d *decoder) value(depth int) any {
	d.values++
	tag := d.take(1)
	if depth > maxValueDepth || d.values > maxValues || len(tag) == 0 {
		d.fail()
		return nil
	}
	switch tag[0] {
	case tagNull:
		return nil
	case tagFalse:
		return false
	case tagTrue:
		return true
	case tagInt:
		return d.int()
	case tagFloat:
		if data := d.take(8); len(data) == 8 {
			return math.Float64frombits(binary.LittleEndian.Uint64(data))
		}
	case tagString:
		return d.string()
	case tagMap:
		return d.object(depth)
	case tagList:
		n := d.uint()
		if n == 0 {
			return []any(nil)
		}
		list := make([]any, d.claim(n-1, 1))
		for i := range list {
			if d.failed {
				break
			}
			list[i] = d.value(depth + 1)
		}
		return list
	}
	d.fail()
	return nil
}
