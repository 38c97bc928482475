package objects

import (
	"bytes"
	"cmp"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

const (
	maxBuildFiles = 100_000
	maxBuildDepth = 64
)

// Build makes objects of files that do not come from Git, and a commit of
// them. Nothing is visible before Commit, and then everything is. A Build is
// for one goroutine; Close must be called.
type Build struct {
	store *Store
	tmp   *os.File // compressed objects, one after the other
	out   *zlib.Writer
	count uint32
	known map[plumbing.Hash]bool
	root  buildDir
	files int
	bytes int64
	note  []byte // for the next build; nil: what was noted stays
}

// buildDir is a directory in the making: its entries by name.
type buildDir map[string]buildEntry

type buildEntry struct {
	mode string // as Git writes it
	id   plumbing.Hash
	dir  buildDir // of a directory, unless it is as from has it
	from *Store   // that has id
}

// Build begins one.
func (s *Store) Build() (*Build, error) {
	tmp, err := os.CreateTemp(s.packDir(), "tmp_build_")
	if err != nil {
		return nil, err
	}
	return &Build{store: s, tmp: tmp, out: zlib.NewWriter(io.Discard), known: map[plumbing.Hash]bool{}, root: buildDir{}}, nil
}

// Close lets go of what was not committed.
func (b *Build) Close() {
	b.tmp.Close()
	os.Remove(b.tmp.Name())
}

// File takes in a file at a path; directories come by themselves. What is at
// the path already is replaced. The errors for a path that is none, for too
// many files and too much content say so.
func (b *Build) File(name string, executable bool, r io.Reader) error {
	_, err := b.FileID(name, executable, r)
	return err
}

// FileID is File, and gives the id of the file's object.
func (b *Build) FileID(name string, executable bool, r io.Reader) (plumbing.Hash, error) {
	var data bytes.Buffer
	room := min(b.store.limit.Object, b.store.limit.Pack-b.bytes)
	n, err := io.Copy(&data, io.LimitReader(r, room+1))
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("%s: %w", name, err)
	}
	if n > room {
		return plumbing.ZeroHash, fmt.Errorf("%s: %w: a file may have %d bytes, all files together %d", name, ErrTooLarge, b.store.limit.Object, b.store.limit.Pack)
	}
	mode := "100644"
	if executable {
		mode = "100755"
	}
	return b.entry(name, mode, data.Bytes())
}

// Link takes in a symbolic link. Where it may lead is for readers to say.
func (b *Build) Link(name, target string) error {
	_, err := b.entry(name, "120000", []byte(target))
	return err
}

// Blob takes in a file that the store has, by its object, and reports whether
// it has it.
func (b *Build) Blob(name string, id plumbing.Hash) (bool, error) {
	kind, size, err := b.store.Stat(id)
	if err != nil || kind != plumbing.BlobObject {
		return false, nil
	}
	return true, b.place(name, "100644", id, size)
}

// noteFile has what SetNote was given.
const noteFile = "note"

// Note is what the last build that was committed had noted; nil if there is
// nothing, or it was lost.
func (b *Build) Note() []byte {
	data, err := os.ReadFile(filepath.Join(b.store.root, noteFile))
	if err != nil {
		return nil
	}
	return data
}

// SetNote leaves a note for the next build.
func (b *Build) SetNote(data []byte) { b.note = data }

// Files takes in all of a file system below a directory.
func (b *Build) Files(ctx context.Context, at string, files fs.FS) error {
	return fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		to := path.Join(at, name)
		switch {
		case d.IsDir():
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			target, err := fs.ReadLink(files, name)
			if err != nil {
				return err
			}
			return b.Link(to, target)
		case !d.Type().IsRegular():
			return fmt.Errorf("%s is neither a file, a directory nor a link", name)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f, err := files.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return b.File(to, info.Mode()&0o111 != 0, f)
	})
}

func (b *Build) entry(name, mode string, data []byte) (plumbing.Hash, error) {
	if err := b.check(name); err != nil {
		return plumbing.ZeroHash, err
	}
	id, err := b.add(plumbing.BlobObject, data)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return id, b.place(name, mode, id, int64(len(data)))
}

func (b *Build) check(name string) error {
	if !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%q is no path of a file", name)
	}
	return nil
}

// place puts an object of a size at a path.
func (b *Build) place(name, mode string, id plumbing.Hash, size int64) error {
	if err := b.check(name); err != nil {
		return err
	}
	if b.files++; b.files > maxBuildFiles {
		return fmt.Errorf("%w: more than %d files", ErrTooLarge, maxBuildFiles)
	}
	if b.bytes += size; b.bytes > b.store.limit.Pack {
		return fmt.Errorf("%w: all files together may have %d bytes", ErrTooLarge, b.store.limit.Pack)
	}
	dir, base, err := b.parent(name)
	if err != nil {
		return err
	}
	dir[base] = buildEntry{mode: mode, id: id}
	return nil
}

// Remove takes out what is at a path, with all that is below it.
func (b *Build) Remove(name string) {
	dir := b.root
	parts := strings.Split(name, "/")
	for _, part := range parts[:len(parts)-1] {
		below, err := b.open(dir, part)
		if err != nil || below == nil {
			return // what cannot be read shows when it is
		}
		dir = below
	}
	delete(dir, parts[len(parts)-1])
}

// Commit makes what was taken in readable, as a commit with a message. Equal
// files, messages and times give the same id.
func (b *Build) Commit(ctx context.Context, message string, when time.Time) (plumbing.Hash, error) {
	tree, err := b.tree(b.root)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	who := fmt.Sprintf("Plumb <plumb@localhost> %d +0000", when.Unix())
	text := fmt.Sprintf("tree %s\nauthor %s\ncommitter %s\n\n%s", tree, who, who, message)
	id, err := b.add(plumbing.CommitObject, []byte(text))
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if b.count > 0 { // otherwise all of it was there
		pack, err := b.pack()
		if err != nil {
			return plumbing.ZeroHash, err
		}
		if err := b.store.Install(ctx, pack); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	if b.note != nil {
		if err := WriteFile(filepath.Join(b.store.root, noteFile), b.note); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	return id, nil
}

func (b *Build) tree(dir buildDir) (plumbing.Hash, error) {
	type named struct {
		name string
		buildEntry
	}
	entries := make([]named, 0, len(dir))
	for name, e := range dir {
		if e.dir != nil {
			var err error
			if e.id, err = b.tree(e.dir); err != nil {
				return plumbing.ZeroHash, err
			}
		}
		entries = append(entries, named{name, e})
	}
	// Git sorts directories as if their names ended in a slash.
	key := func(e named) string {
		if e.mode == modeDir {
			return e.name + "/"
		}
		return e.name
	}
	slices.SortFunc(entries, func(x, y named) int { return cmp.Compare(key(x), key(y)) })
	var data bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&data, "%s %s\x00", e.mode, e.name)
		data.Write(e.id[:])
	}
	return b.add(plumbing.TreeObject, data.Bytes())
}

// add writes an object, unless the store has it.
func (b *Build) add(kind plumbing.ObjectType, data []byte) (plumbing.Hash, error) {
	id := plumbing.ComputeHash(kind, data)
	if b.known[id] || b.store.Has(id) {
		return id, nil
	}
	var compressed bytes.Buffer
	compressed.Write(packEntryHead(kind, len(data)))
	b.out.Reset(&compressed)
	_, _ = b.out.Write(data) // into memory: cannot fail
	_ = b.out.Close()
	if _, err := b.tmp.Write(compressed.Bytes()); err != nil {
		return plumbing.ZeroHash, err
	}
	b.known[id] = true
	b.count++
	return id, nil
}

// packEntryHead is the type and size before an object of a pack.
func packEntryHead(kind plumbing.ObjectType, size int) []byte {
	head := []byte{byte(kind)<<4 | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		head[len(head)-1] |= 0x80
		head = append(head, byte(size&0x7f))
	}
	return head
}

// pack is what was written so far as a pack.
func (b *Build) pack() (io.Reader, error) {
	if _, err := b.tmp.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	head := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), b.count)
	sum := sha1.New()
	body := io.TeeReader(io.MultiReader(bytes.NewReader(head), b.tmp), sum)
	return io.MultiReader(body, &lazy{make: func() []byte { return sum.Sum(nil) }}), nil
}

// lazy is a reader of what is known only when it is read.
type lazy struct {
	make func() []byte
	r    *bytes.Reader
}

func (l *lazy) Read(p []byte) (int, error) {
	if l.r == nil {
		l.r = bytes.NewReader(l.make())
	}
	return l.r.Read(p)
}
