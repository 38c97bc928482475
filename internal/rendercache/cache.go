// Package rendercache keeps blocks of bytes on disk that can be made again: what
// apps were rendered to. A block is found by a key, of what decides it besides
// files, and by whether a note that was stored with it, of what was read, still
// holds.
//
// It works like a log: blocks are appended to a few files, so that storing one
// costs one write and no new file, and room is made by leaving the oldest file
// behind with what was not used lately. Its directory may be deleted at any
// time. Nothing in it is trusted: what is cut short, damaged or foreign is as
// good as absent, and another program's blocks are never read.
//
// The blocks hold what manifests hold, Secrets included: the directory is for
// its owner only. The package does I/O and must not know what it keeps.
package rendercache

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
)

// Key is a digest of what decides a block besides what the note tells of.
type Key [16]byte

// KeyOf makes a key of a text.
func KeyOf(text []byte) Key {
	sum := sha256.Sum256(text)
	return Key(sum[:16])
}

// Options configure a Cache. Dir and Program must be set.
type Options struct {
	// Dir belongs to one process at a time.
	Dir string
	// Program identifies the program exactly: it never sees what another one
	// stored, and deletes it.
	Program string
	// MaxBytes bounds the files together; 0 means 256 MiB. For moments, while
	// room is made, they may take a sixteenth more.
	MaxBytes int64
}

// maxPerKey bounds the blocks of one key: an app that goes back and forth
// between a few commits finds each of them.
const maxPerKey = 4

// Cache is the blocks in a directory. A nil Cache holds nothing. Its methods
// may be called at once.
type Cache struct {
	dir string // of this program
	max int64

	mu       sync.Mutex
	segments []*segment // oldest first; the last is appended to
	index    map[Key][]*entry
	disk     int64  // bytes of all segments
	live     int64  // those of what index leads to
	clock    uint64 // counts uses
	number   int    // of the newest segment
}

// entry is a block that is there.
type entry struct {
	frame
	in   *segment
	at   int64
	used uint64
}

var programDir = regexp.MustCompile(`^[0-9a-f]{32}$`)

// Open finds what is in a directory, and deletes there what other programs
// stored. It creates nothing; what cannot be read is as good as absent.
func Open(opts Options) *Cache {
	if opts.MaxBytes <= 0 {
		opts.MaxBytes = 256 << 20
	}
	sum := sha256.Sum256([]byte(magic + "\x00" + opts.Program))
	name := hex.EncodeToString(sum[:16])
	c := &Cache{dir: filepath.Join(opts.Dir, name), max: opts.MaxBytes, index: map[Key][]*entry{}}
	others, _ := os.ReadDir(opts.Dir) // it may not be there
	for _, d := range others {
		if d.Name() != name && d.IsDir() && programDir.MatchString(d.Name()) {
			_ = os.RemoveAll(filepath.Join(opts.Dir, d.Name())) // it is only in the way
		}
	}
	c.scan()
	return c
}

// scan takes up what an earlier process left.
func (c *Cache) scan() {
	files, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	for _, f := range files { // sorted by name, and so by age
		number, ok := segmentNumber(f.Name())
		if !ok || !f.Type().IsRegular() {
			continue
		}
		s, frames := openSegment(filepath.Join(c.dir, f.Name()))
		if s == nil {
			_ = os.Remove(filepath.Join(c.dir, f.Name()))
			continue
		}
		c.segments = append(c.segments, s)
		c.number = max(c.number, number)
		c.disk += s.size
		for _, at := range frames {
			c.add(&entry{frame: at.frame, in: s, at: at.at})
		}
	}
}

// add puts an entry before those of its key that are older.
func (c *Cache) add(e *entry) {
	c.clock++
	e.used = c.clock
	c.live += e.length()
	list := slices.Insert(c.index[e.key], 0, e)
	for len(list) > maxPerKey {
		last := len(list) - 1
		c.live -= list[last].length()
		list[last] = nil
		list = list[:last]
	}
	c.index[e.key] = list
}

// drop forgets an entry.
func (c *Cache) drop(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(e)
}

func (c *Cache) dropLocked(e *entry) {
	list := c.index[e.key]
	i := slices.Index(list, e)
	if i < 0 {
		return
	}
	c.live -= e.length()
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(c.index, e.key)
		return
	}
	c.index[e.key] = list
}

// Get gives the newest block of key whose note holds, which the caller decides.
// One that turns out to be damaged is forgotten.
func (c *Cache) Get(key Key, holds func(note []byte) bool) ([]byte, bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	candidates := slices.Clone(c.index[key])
	places := make([]entry, len(candidates)) // as they are now: room is made by moving entries
	for i, e := range candidates {
		places[i] = *e
	}
	c.mu.Unlock()
	for i, e := range candidates {
		note, err := places[i].readNote()
		if err == nil && !holds(note) {
			continue
		}
		var block []byte
		if err == nil {
			block, err = places[i].readBlock()
		}
		if err != nil {
			if !errors.Is(err, fs.ErrClosed) { // otherwise it has been moved this moment
				c.drop(e)
			}
			continue
		}
		c.mu.Lock()
		c.clock++
		e.used = c.clock
		c.mu.Unlock()
		return block, true
	}
	return nil, false
}

// Forget drops what is stored for a key, for a caller that found a block to be
// of no use.
func (c *Cache) Forget(key Key) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range slices.Clone(c.index[key]) {
		c.dropLocked(e)
	}
}

// Put stores a block under a key with a note of what it was made of. What is
// larger than a sixteenth of the bound is not stored. After an error the cache
// holds what it held before.
func (c *Cache) Put(key Key, note, block []byte) error {
	if c == nil {
		return nil
	}
	f := newFrame(key, note, block)
	if f.length() > c.max/16 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.segments); n > 0 && c.segments[n-1].gone() {
		c.forgetAll() // the directory was deleted: begin anew, where it can be found again
		c.scan()
	}
	for _, e := range c.index[key] {
		if e.frame == f {
			c.clock++
			e.used = c.clock
			return nil
		}
	}
	e, err := c.append(f, note, block)
	if err != nil {
		return err
	}
	c.add(e)
	return c.makeRoom()
}

// append writes a block to the newest segment, or to a new one.
func (c *Cache) append(f frame, note, block []byte) (*entry, error) {
	if n := len(c.segments); n == 0 || c.segments[n-1].size+f.length() > c.max/16 {
		if err := c.rotate(); err != nil {
			return nil, err
		}
	}
	s := c.segments[len(c.segments)-1]
	at, err := s.append(f, note, block)
	if err != nil {
		return nil, err
	}
	c.disk += f.length()
	return &entry{frame: f, in: s, at: at}, nil
}

// rotate begins a new segment.
func (c *Cache) rotate() error {
	for _, dir := range []string{filepath.Dir(c.dir), c.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o700); err != nil { // it may have been there
			return err
		}
	}
	c.number++
	s, err := createSegment(filepath.Join(c.dir, segmentName(c.number)))
	if err != nil {
		return err
	}
	c.segments = append(c.segments, s)
	c.disk += s.size
	return nil
}

// makeRoom holds the bound: what was not used for longest is forgotten, then
// the oldest segments are left behind, and what is alive in them is kept.
func (c *Cache) makeRoom() error {
	if c.disk <= c.max {
		return nil
	}
	if enough := c.max / 4 * 3; c.live > enough {
		var all []*entry
		for _, list := range c.index {
			all = append(all, list...)
		}
		slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.used, b.used) })
		for _, e := range all {
			if c.live <= enough {
				break
			}
			c.dropLocked(e)
		}
	}
	for c.disk > c.max && len(c.segments) > 1 {
		oldest := c.segments[0]
		if err := c.leave(oldest); err != nil {
			return err
		}
	}
	return nil
}

// leave copies what is alive in the oldest segment and deletes it.
func (c *Cache) leave(oldest *segment) error {
	c.segments = c.segments[1:]
	c.disk -= oldest.size
	defer oldest.remove()
	var alive []*entry
	for _, list := range c.index {
		for _, e := range list {
			if e.in == oldest {
				alive = append(alive, e)
			}
		}
	}
	slices.SortFunc(alive, func(a, b *entry) int { return cmp.Compare(a.at, b.at) })
	var failed error
	for _, e := range alive {
		note, err := e.readNote()
		var block []byte
		if err == nil {
			block, err = e.readBlock()
		}
		if err == nil && failed == nil {
			var moved *entry
			if moved, failed = c.append(e.frame, note, block); failed == nil {
				e.in, e.at = moved.in, moved.at
				continue
			}
		}
		c.dropLocked(e)
	}
	return failed
}

// forgetAll drops everything, without touching what is on disk.
func (c *Cache) forgetAll() {
	for _, s := range c.segments {
		s.file.Close()
	}
	c.segments, c.index, c.disk, c.live = nil, map[Key][]*entry{}, 0, 0
}

// Size tells how many blocks there are, and how many bytes the files take.
func (c *Cache) Size() (blocks int, bytes int64) {
	if c == nil {
		return 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, list := range c.index {
		blocks += len(list)
	}
	return blocks, c.disk
}

// Close closes the files. The Cache holds nothing any more.
func (c *Cache) Close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetAll()
}

func segmentName(number int) string { return fmt.Sprintf("%010d.seg", number) }

func segmentNumber(name string) (int, bool) {
	var n int
	if _, err := fmt.Sscanf(name, "%010d.seg", &n); err != nil || segmentName(n) != name {
		return 0, false
	}
	return n, true
}
