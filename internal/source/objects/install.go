package objects

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
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
	in, err := s.index(ctx, tmp, n)
	if err != nil {
		return fmt.Errorf("reading the pack: %w", err)
	}
	if len(in.resolved) == 0 {
		return nil
	}
	p, err := s.place(tmp, in.sum, in.resolved)
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

// index finds the ids of all objects of a pack of a size, and completes it.
func (s *Store) index(ctx context.Context, f *os.File, size int64) (*incoming, error) {
	in, err := scan(ctx, f, size, s.limit.Object)
	if err != nil {
		return nil, err
	}
	if err := in.resolve(ctx, in.whole); err != nil {
		return nil, err
	}
	if len(in.resolved) < len(in.entries) {
		added, err := s.complete(ctx, in)
		if err != nil {
			return nil, err
		}
		if err := in.resolve(ctx, added); err != nil {
			return nil, err
		}
	}
	if len(in.resolved) < len(in.entries) {
		return nil, ErrNoBase
	}
	return in, nil
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
