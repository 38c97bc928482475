package objects

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// Install reads one pack, checks and indexes it, and makes its objects readable.
// Deltas in it may build on objects that the store has. Nothing is visible
// before everything is. A pack without objects is no error. Errors wrap
// ErrTooLarge, ErrNoBase, ErrDamaged (of the store), or tell what is wrong with
// the pack.
func (s *Store) Install(ctx context.Context, r io.Reader) error {
	s.install.Lock()
	defer s.install.Unlock()
	tmp, err := os.CreateTemp(s.packDir(), "tmp_pack_")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()

	n, err := io.Copy(tmp, io.LimitReader(&contextReader{ctx: ctx, r: r}, s.limit.Pack+1))
	switch {
	case err != nil:
		return err
	case n > s.limit.Pack:
		return fmt.Errorf("%w: pack exceeds %d bytes", ErrTooLarge, s.limit.Pack)
	case n == 0:
		return nil
	}
	bases, err := checkSizes(ctx, tmp, s.limit.Object)
	if err != nil {
		return fmt.Errorf("reading the pack: %w", err)
	}
	if err := s.complete(ctx, tmp, n, bases); err != nil {
		return fmt.Errorf("completing the pack: %w", err)
	}
	entries, sum, err := index(ctx, tmp)
	if err != nil {
		return fmt.Errorf("indexing the pack: %w", err)
	}
	if len(entries) == 0 {
		return nil
	}
	p, err := s.place(tmp, sum, entries)
	if err != nil {
		return err
	}
	s.mu.Lock()
	packs := append([]*pack{p}, without(s.packs, p.name)...)
	s.packs = packs
	s.mu.Unlock()
	if err := s.writeManifest(packs); err != nil {
		return err
	}
	return s.merge(ctx)
}

func without(packs []*pack, name string) []*pack {
	var kept []*pack
	for _, p := range packs {
		if p.name == name {
			p.close()
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

// place moves a finished pack to its name, writes its index and opens both.
func (s *Store) place(tmp *os.File, sum plumbing.Hash, entries []indexEntry) (*pack, error) {
	name := hex.EncodeToString(sum[:])
	base := filepath.Join(s.packDir(), "pack-"+name)
	idx, err := os.CreateTemp(s.packDir(), "tmp_idx_")
	if err != nil {
		return nil, err
	}
	defer os.Remove(idx.Name())
	defer idx.Close()
	if err := writeIndex(idx, entries, sum); err != nil {
		return nil, err
	}
	if err := os.Rename(idx.Name(), base+".idx"); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp.Name(), base+".pack"); err != nil {
		return nil, err
	}
	return openPack(s.packDir(), name, s.limit.Object)
}

func (s *Store) writeManifest(packs []*pack) error {
	var b bytes.Buffer
	for _, p := range packs {
		fmt.Fprintf(&b, "P pack-%s.pack\n", p.name)
	}
	return WriteFile(filepath.Join(s.root, manifest), b.Bytes())
}

// WriteFile replaces a file in one step.
func WriteFile(name string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".tmp_")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.Write(data); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), name)
}

// contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(b)
}

// contextFile is a contextReader that seeks.
type contextFile struct {
	contextReader
	io.Seeker
}

func rewound(ctx context.Context, f *os.File) (*contextFile, error) {
	_, err := f.Seek(0, io.SeekStart)
	return &contextFile{contextReader{ctx, f}, f}, err
}

// checkSizes refuses packs that hold an object above the limit, before
// anything inflates one of them into memory. It gives the objects that
// reference deltas build upon, each once.
func checkSizes(ctx context.Context, f *os.File, limit int64) (bases []plumbing.Hash, err error) {
	in, err := rewound(ctx, f)
	if err != nil {
		return nil, err
	}
	scan := packfile.NewScanner(in)
	_, count, err := scan.Header()
	if err != nil {
		return nil, err
	}
	seen := map[plumbing.Hash]bool{}
	for range count {
		h, err := scan.NextObjectHeader()
		if err != nil {
			return nil, noEOF(err)
		}
		size := h.Length
		var head headWriter
		if _, _, err := scan.NextObject(&head); err != nil {
			return nil, noEOF(err)
		}
		if h.Type.IsDelta() {
			if _, size, err = deltaSizes(head.b); err != nil {
				return nil, err
			}
		}
		if max(size, h.Length) > limit {
			return nil, fmt.Errorf("%w: %d bytes inflated, the limit is %d", ErrTooLarge, max(size, h.Length), limit)
		}
		if h.Type == plumbing.REFDeltaObject && !seen[h.Reference] {
			seen[h.Reference] = true
			bases = append(bases, h.Reference)
		}
	}
	return bases, nil
}

// headWriter keeps the first bytes that are written to it.
type headWriter struct{ b []byte }

func (w *headWriter) Write(b []byte) (int, error) {
	w.b = append(w.b, b[:min(len(b), 24-len(w.b))]...)
	return len(b), nil
}

// noEOF keeps the end of a cut-off pack from looking like a proper end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// index computes the ids of all objects of a pack.
func index(ctx context.Context, f *os.File) ([]indexEntry, plumbing.Hash, error) {
	in, err := rewound(ctx, f)
	if err != nil {
		return nil, plumbing.ZeroHash, err
	}
	var seen indexObserver
	parser, err := packfile.NewParser(packfile.NewScanner(in), &seen)
	if err != nil {
		return nil, plumbing.ZeroHash, err
	}
	sum, err := parser.Parse()
	if errors.Is(err, packfile.ErrReferenceDeltaNotFound) {
		err = ErrNoBase
	}
	if err != nil {
		return nil, plumbing.ZeroHash, err
	}
	return seen.entries, sum, nil
}

type indexObserver struct{ entries []indexEntry }

func (*indexObserver) OnHeader(uint32) error                                          { return nil }
func (*indexObserver) OnInflatedObjectHeader(plumbing.ObjectType, int64, int64) error { return nil }
func (*indexObserver) OnFooter(plumbing.Hash) error                                   { return nil }

func (o *indexObserver) OnInflatedObjectContent(id plumbing.Hash, offset int64, crc uint32, _ []byte) error {
	o.entries = append(o.entries, indexEntry{id, crc, offset})
	return nil
}
