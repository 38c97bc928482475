// Package archive makes what a source shows of a tree into a .tar.gz file, for
// those who fetch sources over HTTP, and keeps it on disk.
//
// Equal content gives equal bytes, whoever packs it and whenever: entries are
// in the order of their paths and have neither times nor owners. An archive
// consists of many gzip members of about a hundred kilobytes each, which is as
// good a .tar.gz as any other; where one member ends and the next begins
// follows from the paths. So an archive is made from the one before by
// copying the members whose content is the same, and a small change to a large
// tree compresses one of them.
//
// The directory is a cache: it may be deleted at any time. The package knows
// trees (package source), but neither how these are fetched, nor resources,
// nor HTTP.
package archive

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// Content is what goes into an archive.
type Content struct {
	Revision app.Revision
	Tree     *source.Tree
	// Filter says what the source leaves out; nil: nothing.
	Filter source.Filter
	// Prefix is a directory that all is put below, as charts have it; "" is none.
	Prefix string
}

// Options configure a Store. Dir must be set.
type Options struct {
	// Dir belongs to one process at a time.
	Dir string
	// Address is where the archives are served, such as
	// http://plumb.plumb-system.svc.cluster.local. without a slash at the end.
	Address string
}

// Store is the archives of all sources: for each the current one, and the one
// before it for those who have begun to fetch it. Its methods may be called at
// once; a nil Store makes none.
type Store struct {
	opt     Options
	packing chan struct{} // has room for one: others need the processors, too

	mu      sync.Mutex
	sources map[app.SourceID]*shelf
}

// shelf is the archives of one source.
type shelf struct {
	dir    string
	making sync.Mutex

	mu      sync.Mutex
	current *book
	before  *book
}

// book is an archive that is there.
type book struct {
	app.Artifact
	key      string // of its content
	verified bool   // made by this process, or read since
}

// keep is how many archives of a source stay on disk.
const keep = 2

// Open makes a Store. It creates nothing before something is packed.
func Open(opt Options) *Store {
	return &Store{opt: opt, packing: make(chan struct{}, 1), sources: map[app.SourceID]*shelf{}}
}

// LatestName is the file name under which the current archive of a source can
// always be had.
const LatestName = "latest.tar.gz"

const suffix = ".tar.gz"

// FileName is that of the archive of a revision.
func FileName(r app.Revision) string { return r.ID() + suffix }

// Path is where the archives of a source are, below the address.
func Path(id app.SourceID) string {
	return strings.ToLower(id.Kind) + "/" + id.Namespace + "/" + id.Name
}

func (s *Store) shelf(id app.SourceID) *shelf {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh := s.sources[id]
	if sh == nil {
		sh = &shelf{dir: filepath.Join(s.opt.Dir, directory(id))}
		s.sources[id] = sh
	}
	return sh
}

// directory is a name for the archives of a source that is no path whatever
// the source is called.
func directory(id app.SourceID) string {
	sum := sha256.Sum256([]byte(id.Kind + "\x00" + id.Namespace + "\x00" + id.Name))
	return hex.EncodeToString(sum[:16])
}

// Made gives the archive of a content if it is there already.
func (s *Store) Made(id app.SourceID, c Content) (app.Artifact, bool) {
	key, err := contentKey(c)
	if err != nil {
		return app.Artifact{}, false
	}
	return s.shelf(id).made(key, s.artifact(id, c.Revision))
}

// Make gives the archive of a content, packing it unless it is there. It
// becomes the current one of the source. Only one is packed at a time. The
// error is an *app.Failure.
func (s *Store) Make(ctx context.Context, id app.SourceID, c Content) (app.Artifact, error) {
	key, err := contentKey(c)
	if err != nil {
		return app.Artifact{}, app.AsFailure(err, app.StageArchive)
	}
	sh := s.shelf(id)
	sh.making.Lock()
	defer sh.making.Unlock()
	known := s.artifact(id, c.Revision)
	if made, ok := sh.made(key, known); ok {
		return made, nil
	}
	select {
	case s.packing <- struct{}{}:
		defer func() { <-s.packing }()
	case <-ctx.Done():
		return app.Artifact{}, app.AsFailure(context.Cause(ctx), app.StageArchive)
	}
	made, err := sh.pack(ctx, key, known, c)
	if errors.Is(err, fs.ErrNotExist) { // someone deleted the directory meanwhile
		made, err = sh.pack(ctx, key, known, c)
	}
	if f := (*app.Failure)(nil); err != nil && !errors.As(err, &f) {
		err = app.Fail(app.StageArchive, app.ReasonInternal, "archive of %s: %w", id, err).
			WithHint("check that the cache directory can be written and has space")
	}
	return made, err
}

// artifact is one whose bytes are not known yet.
func (s *Store) artifact(id app.SourceID, r app.Revision) app.Artifact {
	path := Path(id) + "/" + FileName(r)
	return app.Artifact{Path: path, URL: s.opt.Address + "/" + path, Latest: s.opt.Address + "/" + Path(id) + "/" + LatestName}
}

// Get opens an archive by its path, as Path and the name of its file give it;
// ok is false if it is not there.
func (s *Store) Get(id app.SourceID, file string) (f *os.File, a app.Artifact, ok bool) {
	s.mu.Lock()
	sh := s.sources[id]
	s.mu.Unlock()
	if sh == nil {
		return nil, a, false
	}
	sh.mu.Lock()
	var found *book
	for _, b := range []*book{sh.before, sh.current} {
		if b != nil && (filepath.Base(b.Path) == file || file == LatestName && b == sh.current) {
			found = b
		}
	}
	sh.mu.Unlock()
	if found == nil {
		return nil, a, false
	}
	f, err := sh.open(found)
	return f, found.Artifact, err == nil
}

// Remove deletes the archives of a source.
func (s *Store) Remove(id app.SourceID) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sources, id)
	_ = os.RemoveAll(filepath.Join(s.opt.Dir, directory(id))) // Forget finds what is left
}

// Forget deletes the archives of all sources but these. Archives that are
// being read stay readable.
func (s *Store) Forget(but map[app.SourceID]bool) error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[string]bool{}
	for id := range but {
		kept[directory(id)] = true
	}
	for id := range s.sources {
		if !but[id] {
			delete(s.sources, id)
		}
	}
	entries, err := os.ReadDir(s.opt.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if !kept[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(s.opt.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func (sh *shelf) file(key string) string  { return filepath.Join(sh.dir, key+suffix) }
func (sh *shelf) index(key string) string { return filepath.Join(sh.dir, key+".index") }

// made finds the archive with a key, in memory or on disk, and makes it the
// current one under the name that known has.
func (sh *shelf) made(key string, known app.Artifact) (app.Artifact, bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	found := &book{key: key}
	for _, b := range []*book{sh.before, sh.current} {
		if b != nil && b.key == key {
			found = b
		}
	}
	if found.Digest == "" {
		x, err := readIndex(sh.index(key))
		if err != nil {
			return known, false
		}
		found.Digest, found.Size = x.digest, x.size
	}
	if info, err := os.Stat(sh.file(key)); err != nil || info.Size() != found.Size {
		return known, false
	}
	known.Digest, known.Size = found.Digest, found.Size
	if sh.current == nil || sh.current.key != key || sh.current.Path != known.Path {
		sh.shelve(&book{known, key, found.verified})
	}
	return known, true
}

// shelve makes b the current archive. The caller holds sh.mu.
func (sh *shelf) shelve(b *book) {
	if sh.current != nil && sh.current.Path != b.Path {
		sh.before = sh.current
	}
	sh.current = b
}

// pack makes an archive from the newest one that is there.
func (sh *shelf) pack(ctx context.Context, key string, known app.Artifact, c Content) (app.Artifact, error) {
	if err := os.MkdirAll(sh.dir, 0o700); err != nil {
		return known, err
	}
	old := sh.newest()
	defer old.close()
	tmp, err := os.CreateTemp(sh.dir, "tmp-*")
	if err != nil {
		return known, err
	}
	defer os.Remove(tmp.Name()) // of no effect after success
	defer tmp.Close()
	x, err := pack(ctx, tmp, c, old)
	if err != nil {
		return known, err
	}
	// The index comes last: what has none is not there.
	err = errors.Join(tmp.Close(), os.Rename(tmp.Name(), sh.file(key)), x.write(sh.index(key)))
	if err != nil {
		return known, err
	}
	known.Digest, known.Size = x.digest, x.size
	sh.mu.Lock()
	sh.shelve(&book{known, key, true})
	keys := []string{key}
	if sh.before != nil {
		keys = append(keys, sh.before.key)
	}
	sh.mu.Unlock()
	sh.discard(keys)
	return known, nil
}

// newest opens the archive to copy from; one without members if there is none.
func (sh *shelf) newest() *opened {
	sh.mu.Lock()
	var keys []string
	for _, b := range []*book{sh.current, sh.before} {
		if b != nil {
			keys = append(keys, b.key)
		}
	}
	sh.mu.Unlock()
	if len(keys) == 0 { // what an earlier process left
		keys = sh.onDisk()
	}
	for _, key := range keys {
		x, err := readIndex(sh.index(key))
		if err != nil {
			continue
		}
		if f, err := os.Open(sh.file(key)); err == nil {
			return &opened{index: x, file: f}
		}
	}
	return &opened{index: &index{}}
}

// onDisk lists the keys of the archives in the directory, the newest first.
func (sh *shelf) onDisk() []string {
	entries, err := os.ReadDir(sh.dir)
	if err != nil {
		return nil
	}
	type aged struct {
		key  string
		time int64
	}
	var found []aged
	for _, e := range entries {
		key, ok := strings.CutSuffix(e.Name(), ".index")
		if info, err := e.Info(); ok && err == nil {
			found = append(found, aged{key, info.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(found, func(a, b aged) int { return int(min(max(b.time-a.time, -1), 1)) })
	keys := make([]string, len(found))
	for i, f := range found {
		keys[i] = f.key
	}
	return keys
}

// discard deletes all files but those of keys and, if these are fewer than
// keep, of the newest others.
func (sh *shelf) discard(keys []string) {
	for _, key := range sh.onDisk() {
		if len(keys) < keep && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	entries, err := os.ReadDir(sh.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		key, _, _ := strings.Cut(e.Name(), ".")
		if !slices.Contains(keys, key) {
			_ = os.Remove(filepath.Join(sh.dir, e.Name())) // it is only in the way
		}
	}
}

// open opens an archive. One that an earlier process left is read once before
// it is given to anyone: it is deleted if it is not what it was.
func (sh *shelf) open(b *book) (*os.File, error) {
	f, err := os.Open(sh.file(b.key))
	if err != nil {
		return nil, err
	}
	sh.mu.Lock()
	verified := b.verified
	sh.mu.Unlock()
	if verified {
		return f, nil
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	if err == nil && digestOf(h.Sum(nil)) != b.Digest {
		err = fmt.Errorf("%s is damaged", f.Name())
		_ = os.Remove(sh.index(b.key))
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		sh.mu.Lock()
		defer sh.mu.Unlock()
		for _, at := range []**book{&sh.current, &sh.before} {
			if *at == b {
				*at = nil
			}
		}
		return nil, err
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b.verified = true
	return f, nil
}

func digestOf(sum []byte) string { return "sha256:" + hex.EncodeToString(sum) }
