// Package objects keeps the Git objects of one repository in pack files, with
// the index beside each, in the layout of a bare repository: stock Git can
// read the directory.
//
// Packs arrive whole (Install), are never changed, and are merged when they
// become many. Reading needs no lock: files are read by offset, and every
// object is checked against its id, so that a damaged cache is noticed rather
// than believed. The package knows nothing of refs, remotes or working trees.
package objects

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
)

// ErrMissing says that an object is not in the store.
var ErrMissing = errors.New("object is not in the cache")

// ErrDamaged says that a pack or index on disk is not what was written.
var ErrDamaged = errors.New("cache is damaged")

// ErrTooLarge says that an object exceeds the limit of the call.
var ErrTooLarge = errors.New("object is too large")

// Store is the objects of one repository.
type Store struct {
	root  string // the bare repository
	cache *Cache
	limit Limits

	install sync.Mutex // one Install or merge at a time

	mu    sync.RWMutex
	packs []*pack // newest first
}

// Limits bound what a pack may hold. Zero fields take the defaults.
type Limits struct {
	Pack   int64 // bytes of one pack as transferred; default 4 GiB
	Object int64 // bytes of one object, inflated; default 256 MiB
	Packs  int   // number of packs that starts a merge; default 16
}

func (l Limits) withDefaults() Limits {
	if l.Pack <= 0 {
		l.Pack = 4 << 30
	}
	if l.Object <= 0 {
		l.Object = 256 << 20
	}
	if l.Packs <= 1 {
		l.Packs = 16
	}
	return l
}

// manifest lists the packs that make the store complete. The name and format
// are Git's own (objects/info/packs).
const manifest = "objects/info/packs"

// Open reads the store of the bare repository at root, creating it when it
// does not exist. A store that misses a pack it once had is ErrDamaged: the
// objects that are left would look complete and not be.
func Open(root string, cache *Cache, limit Limits) (*Store, error) {
	s := &Store{root: root, cache: cache, limit: limit.withDefaults()}
	for _, dir := range []string{"objects/pack", "objects/info", "refs/heads"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			return nil, err
		}
	}
	for file, text := range map[string]string{
		"HEAD":   "ref: refs/heads/main\n",
		"config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n",
	} {
		if err := ensure(filepath.Join(root, file), text); err != nil {
			return nil, err
		}
	}
	listed, err := os.ReadFile(filepath.Join(root, manifest))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(listed)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "P pack-")
		if !ok {
			continue
		}
		p, err := openPack(s.packDir(), strings.TrimSuffix(name, ".pack"), s.limit.Object)
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		s.packs = append(s.packs, p)
	}
	s.sweep()
	return s, nil
}

func ensure(file, text string) error {
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	return os.WriteFile(file, []byte(text), 0o600)
}

func (s *Store) packDir() string { return filepath.Join(s.root, "objects", "pack") }

// sweep removes what an interrupted Install or merge left behind.
func (s *Store) sweep() {
	kept := map[string]bool{}
	for _, p := range s.packs {
		kept["pack-"+p.name+".pack"], kept["pack-"+p.name+".idx"] = true, true
	}
	entries, err := os.ReadDir(s.packDir())
	if err != nil {
		return
	}
	for _, e := range entries {
		if !kept[e.Name()] {
			os.Remove(filepath.Join(s.packDir(), e.Name()))
		}
	}
}

// Close releases the files. Objects that are being read then fail.
func (s *Store) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.packs {
		p.close()
	}
	s.packs = nil
}

// Intact reports whether every pack is still on disk; someone may have
// cleaned the cache directory.
func (s *Store) Intact() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, err := os.Stat(s.packDir()); err != nil {
		return false
	}
	for _, p := range s.packs {
		if !p.onDisk() {
			return false
		}
	}
	return true
}

// Packs gives the number of packs and their bytes.
func (s *Store) Packs() (count int, bytes int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.packs {
		bytes += p.size
	}
	return len(s.packs), bytes
}

// locate finds the pack that holds id and pins it until release is called.
func (s *Store) locate(id plumbing.Hash) (p *pack, offset int64, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, p := range s.packs {
		offset, ok, err := p.find(id)
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if ok {
			p.pin()
			return p, offset, nil
		}
	}
	return nil, 0, fmt.Errorf("%w: %s", ErrMissing, id)
}

// Has reports whether the object is in the store.
func (s *Store) Has(id plumbing.Hash) bool {
	p, _, err := s.locate(id)
	if err != nil {
		return false
	}
	p.release()
	return true
}

// Object is an inflated object. Data is shared and must not be changed.
type Object struct {
	Type plumbing.ObjectType
	Data []byte
}

// Get reads an object. limit bounds its size in bytes; 0 means the limit of
// the store. Errors wrap ErrMissing, ErrDamaged or ErrTooLarge.
func (s *Store) Get(id plumbing.Hash, limit int64) (Object, error) {
	if limit <= 0 || limit > s.limit.Object {
		limit = s.limit.Object
	}
	if o, ok := s.cache.get(cacheKey{store: s, id: id}); ok {
		if int64(len(o.Data)) > limit {
			return Object{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, len(o.Data), limit)
		}
		return o, nil
	}
	p, offset, err := s.locate(id)
	if err != nil {
		return Object{}, err
	}
	defer p.release()
	if _, size, err := p.header(offset); err != nil {
		return Object{}, s.damaged(id, err)
	} else if size > limit {
		return Object{}, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, size, limit)
	}
	o, err := p.read(s.cache, offset)
	if err != nil {
		return Object{}, s.damaged(id, err)
	}
	if plumbing.ComputeHash(o.Type, o.Data) != id {
		return Object{}, fmt.Errorf("%w: object %s does not have the content of its id", ErrDamaged, id)
	}
	s.cache.put(cacheKey{store: s, id: id}, o)
	return o, nil
}

// Stat gives type and size of an object without reading it whole.
func (s *Store) Stat(id plumbing.Hash) (plumbing.ObjectType, int64, error) {
	if o, ok := s.cache.get(cacheKey{store: s, id: id}); ok {
		return o.Type, int64(len(o.Data)), nil
	}
	p, offset, err := s.locate(id)
	if err != nil {
		return 0, 0, err
	}
	defer p.release()
	t, size, err := p.header(offset)
	if err != nil {
		return 0, 0, s.damaged(id, err)
	}
	return t, size, nil
}

func (s *Store) damaged(id plumbing.Hash, err error) error {
	if errors.Is(err, ErrMissing) || errors.Is(err, ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: object %s: %w", ErrDamaged, id, err)
}

// Prefix gives the ids that begin with the hexadecimal digits of prefix, at
// most max of them, sorted and without repetition.
func (s *Store) Prefix(prefix string, max int) ([]plumbing.Hash, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []plumbing.Hash
	for _, p := range s.packs {
		ids, err := p.prefix(prefix, max)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		found = append(found, ids...)
	}
	slices.SortFunc(found, func(a, b plumbing.Hash) int { return strings.Compare(string(a[:]), string(b[:])) })
	found = slices.Compact(found)
	return found[:min(len(found), max)], nil
}
