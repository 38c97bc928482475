package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// format is part of every key: it changes when the same content is to give
// other bytes, or an index to mean something else.
const format = "1"

// The sizes, in bytes of tar, that decide how content is divided into members.
// Small ones compress worse, large ones make a small change cost more.
const (
	maxUnit     = 128 << 10 // a directory that is larger is looked into
	leastMember = 64 << 10
	mostMember  = 512 << 10
	// oneIn is how many of the paths may end a member of leastMember.
	oneIn = 4
)

// blockSize is that of tar.
const blockSize = 512

// What is in an archive is bounded: a few objects of Git can stand for
// billions of files.
const (
	maxDirs    = 256 // how deep directories lie
	maxEntries = 1_000_000
	maxBytes   = 8 << 30
)

// key names content: of a unit, a member or all of an archive.
type key [16]byte

// unit is what is not divided: a file, or a directory that is small or whose
// entry alone is meant.
type unit struct {
	path  string
	entry source.Entry
	alone bool // a directory without what is in it
	key   key
	size  int64
}

// member is some units that are compressed together.
type member struct {
	key    key
	offset int64
	length int64
}

// opened is an archive with its file, nil if it has no members.
type opened struct {
	*index
	file *os.File
}

func (o *opened) close() {
	if o.file != nil {
		o.file.Close()
	}
}

func contentKey(c Content) (string, error) {
	if p := c.Prefix; p != "" && (!fs.ValidPath(p) || p == "." || strings.ContainsAny(p, "/\\\x00")) {
		return "", fmt.Errorf("%q is no name of a directory", p)
	}
	rules, err := rulesOf(c.Filter, ".")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(format + "\x00" + rules + "\x00" + c.Prefix + "\x00" + c.Tree.Root().String()))
	return hex.EncodeToString(sum[:16]), nil
}

func rulesOf(f source.Filter, dir string) (string, error) {
	if f == nil {
		return "", nil
	}
	return f.Rules(dir)
}

// pack writes an archive, with what old has of it, and gives its index.
func pack(ctx context.Context, out io.Writer, c Content, old *opened) (*index, error) {
	d := &divider{ctx: ctx, Content: c, known: old.sizes, sizes: map[key]int64{}, seen: map[key]int64{}}
	if err := d.directory(".", c.Tree.Root()); err != nil {
		return nil, err
	}
	before := map[key]member{}
	for _, m := range old.members {
		before[m.key] = m
	}
	h := sha256.New()
	p := &packer{Content: c, gz: gzip.NewWriter(io.Discard), out: io.MultiWriter(out, h)}
	made := &index{sizes: d.sizes}
	for units := d.units; len(units) > 0; {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		n := memberOf(units)
		m := member{key: keyOfMember(units[:n]), offset: p.written}
		if at, ok := before[m.key]; ok {
			if err := p.copy(old.file, at); err != nil {
				return nil, err
			}
		} else if err := p.member(units[:n]); err != nil {
			return nil, err
		}
		m.length = p.written - m.offset
		made.members = append(made.members, m)
		units = units[n:]
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	made.digest, made.size = digestOf(h.Sum(nil)), p.written
	return made, nil
}

// divider finds the units of a tree.
type divider struct {
	Content
	ctx   context.Context
	known map[key]int64 // sizes that are known, 0 of what is hidden
	sizes map[key]int64 // those of this tree, in directories that are divided
	seen  map[key]int64 // those that were measured
	units []unit

	entries int
	bytes   int64
}

// rules names what decides about the entries of a directory besides
// themselves.
func (d *divider) rules(dir string) (string, error) {
	rules, err := rulesOf(d.Filter, dir)
	return rules + "\x00" + d.Prefix, err
}

// directory adds the units below a directory that is divided.
func (d *divider) directory(dir string, id plumbing.Hash) error {
	if d.ctx.Err() != nil {
		return context.Cause(d.ctx)
	}
	entries, err := d.Tree.List(id)
	if err != nil {
		return err
	}
	rules, err := d.rules(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		u := unit{path: path.Join(dir, e.Name), entry: e}
		u.key = keyOfEntry(rules, u.path, e)
		size, err := d.size(u.key, u.path, e, 0)
		if err != nil {
			return err
		}
		u.size = size
		d.sizes[u.key] = size
		if !e.Mode.IsDir() || size <= maxUnit {
			d.bytes += size
		}
		if d.bytes > maxBytes || len(d.units) > maxEntries {
			return tooLarge()
		}
		switch {
		case size == 0:
		case e.Mode.IsDir() && size > maxUnit:
			head := sha256.Sum256([]byte("directory\x00" + d.Prefix + "\x00" + u.path))
			d.units = append(d.units, unit{path: u.path, entry: e, alone: true, key: key(head[:16]), size: blockSize})
			if err := d.directory(u.path, e.ID); err != nil {
				return err
			}
		default:
			d.units = append(d.units, u)
		}
	}
	return nil
}

// size is about how many bytes of tar an entry takes, with all below it; 0
// means that it is left out. What was the same in the archive before is not
// looked into.
func (d *divider) size(k key, name string, e source.Entry, depth int) (int64, error) {
	for _, sizes := range []map[key]int64{d.known, d.seen} {
		if size, ok := sizes[k]; ok {
			return size, nil
		}
	}
	size, err := d.measure(name, e, depth)
	if err == nil {
		d.seen[k] = size
	}
	return size, err
}

func (d *divider) measure(name string, e source.Entry, depth int) (int64, error) {
	if skipped(e.Mode) {
		return 0, nil
	}
	if d.entries++; d.entries > maxEntries {
		return 0, tooLarge()
	}
	hidden, err := hides(d.Filter, name, e.Mode.IsDir())
	if err != nil || hidden {
		return 0, err
	}
	if !e.Mode.IsDir() {
		n, err := d.Tree.Size(e.ID)
		return blockSize + (n+blockSize-1)/blockSize*blockSize, err
	}
	if depth > maxDirs {
		return 0, fmt.Errorf("%s is deeper than %d directories", name, maxDirs)
	}
	entries, err := d.Tree.List(e.ID)
	if err != nil {
		return 0, err
	}
	rules, err := d.rules(name)
	if err != nil {
		return 0, err
	}
	total := int64(blockSize)
	for _, below := range entries {
		to := path.Join(name, below.Name)
		n, err := d.size(keyOfEntry(rules, to, below), to, below, depth+1)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func tooLarge() error {
	return app.Fail(app.StageArchive, app.ReasonInternal, "there is too much for an archive: the limits are %d files and %d bytes", maxEntries, int64(maxBytes)).
		WithHint("leave files out with spec.ignore or a .sourceignore file")
}

// skipped reports whether no kind of source passes on what has a mode: links,
// as in Flux.
func skipped(mode fs.FileMode) bool { return !mode.IsDir() && !mode.IsRegular() }

func hides(f source.Filter, name string, isDir bool) (bool, error) {
	if f == nil {
		return false, nil
	}
	return f.Hides(name, isDir)
}

func keyOfEntry(rules, name string, e source.Entry) key {
	text := make([]byte, 0, 128)
	text = append(text, format...)
	text = append(text, rules...)
	text = append(text, 0)
	text = append(text, name...)
	text = append(text, 0)
	text = binary.BigEndian.AppendUint32(text, uint32(e.Mode))
	text = append(text, e.ID[:]...)
	sum := sha256.Sum256(text)
	return key(sum[:16])
}

func keyOfMember(units []unit) key {
	h := sha256.New()
	for _, u := range units {
		h.Write(u.key[:])
	}
	return key(h.Sum(nil)[:16])
}

// memberOf is how many of the units make the next member. It depends on what
// comes before the end alone, and is the same again soon after a difference.
func memberOf(units []unit) int {
	var size int64
	for i, u := range units {
		size += u.size
		if size < leastMember {
			continue
		}
		h := fnv.New32a()
		_, _ = io.WriteString(h, u.path)
		if size >= mostMember || h.Sum32()%oneIn == 0 {
			return i + 1
		}
	}
	return len(units)
}

// packer writes members one after the other.
type packer struct {
	Content
	out     io.Writer
	gz      *gzip.Writer
	buf     bytes.Buffer
	written int64
}

func (p *packer) copy(from *os.File, m member) error {
	n, err := io.Copy(p.out, io.NewSectionReader(from, m.offset, m.length))
	p.written += n
	if err == nil && n != m.length {
		err = io.ErrUnexpectedEOF
	}
	return err
}

func (p *packer) member(units []unit) error {
	return p.compress(func(w io.Writer) error {
		t := tar.NewWriter(w)
		for _, u := range units {
			if err := p.entry(t, u.path, u.entry, u.alone); err != nil {
				return err
			}
		}
		return t.Flush() // what ends a tar comes once, at the very end
	})
}

// end writes the two empty blocks that end a tar.
func (p *packer) end() error {
	return p.compress(func(w io.Writer) error { return tar.NewWriter(w).Close() })
}

// compress writes one gzip member.
func (p *packer) compress(write func(io.Writer) error) error {
	p.buf.Reset()
	p.gz.Reset(&p.buf) // no name, no time
	if err := write(p.gz); err != nil {
		return err
	}
	if err := p.gz.Close(); err != nil {
		return err
	}
	n, err := p.out.Write(p.buf.Bytes())
	p.written += int64(n)
	return err
}

// entry writes what stands at a path, a directory with what is in it unless
// alone.
func (p *packer) entry(t *tar.Writer, name string, e source.Entry, alone bool) error {
	if !e.Mode.IsDir() {
		return p.file(t, name, e)
	}
	if err := p.head(t, name, e.Mode, 0); err != nil || alone {
		return err
	}
	entries, err := p.Tree.List(e.ID)
	if err != nil {
		return err
	}
	for _, below := range entries {
		to := path.Join(name, below.Name)
		hidden, err := hides(p.Filter, to, below.Mode.IsDir())
		if err == nil && !hidden && !skipped(below.Mode) {
			err = p.entry(t, to, below, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) head(t *tar.Writer, name string, mode fs.FileMode, size int64) error {
	name = path.Join(p.Prefix, name)
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: int64(mode.Perm()), Size: size, ModTime: time.Unix(0, 0)}
	if mode.IsDir() {
		h.Name, h.Typeflag = name+"/", tar.TypeDir
	}
	return t.WriteHeader(h)
}

func (p *packer) file(t *tar.Writer, name string, e source.Entry) error {
	data, err := p.Tree.Blob(e.ID)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := p.head(t, name, e.Mode, int64(len(data))); err != nil {
		return err
	}
	_, err = t.Write(data)
	return err
}
