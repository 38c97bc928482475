package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
)

// Upstream is where the content of a source comes from that is no Git
// repository. Its errors are *app.Failures of the fetch stage, free of
// credentials.
type Upstream interface {
	// String is the address, for messages, without credentials.
	String() string
	// Find tells which revision is there now, at the least cost; what ID names
	// never changes.
	Find(ctx context.Context) (app.Revision, error)
	// Bring writes the files of a revision into an empty build. Of a revision
	// that was given long ago only the ID may be known.
	Bring(ctx context.Context, rev app.Revision, into *objects.Build) error
}

// Part is a source that another is made of, as it is now.
type Part struct {
	Source   app.Source
	Revision app.Revision
	// Files is the content, what the source excludes left out; nil of one that is
	// static.
	Files fs.FS
}

const (
	// importedPrefix names the commits that imports were made into.
	importedPrefix = "refs/plumb/imported/"
	// maxImports is how many revisions a repository takes in before it is begun
	// anew: nothing is ever taken out of one.
	maxImports = 50
)

// importFrom is Resolve for what is no Git repository.
func (s *Store) importFrom(ctx context.Context, up Upstream, src app.Source, since time.Time) (app.Revision, *Repo, error) {
	if f := src.Auth.Refusal(up.String()); f != nil {
		return app.Revision{}, nil, f
	}
	repo := s.imports(importName(src), up.String())
	rev, err := repo.resolveImport(ctx, up, src.Ref.Commit, since)
	if errors.Is(err, errCacheGone) {
		rev, err = repo.resolveImport(ctx, up, src.Ref.Commit, since)
	}
	if err != nil {
		return app.Revision{}, nil, app.AsFailure(err, app.StageFetch)
	}
	return rev, repo, nil
}

func (s *Store) imports(name, title string) *Repo {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.repos[name]
	if !ok {
		r = newRepo(s, title, nil, filepath.Join(s.opt.Dir, name))
		s.repos[name] = r
	}
	return r
}

// resolveImport finds the revision that is there now, or takes the one that is
// pinned, and brings it in.
func (r *Repo) resolveImport(ctx context.Context, up Upstream, pinned string, since time.Time) (app.Revision, error) {
	r.used.Store(r.store.opt.Now().UnixNano())
	objs, err := r.open()
	if err != nil {
		return app.Revision{}, err
	}
	rev := app.Revision{Commit: pinned}
	if pinned == "" {
		if rev, err = r.found.do(ctx, since, up.Find); err != nil {
			return app.Revision{}, r.failed(ctx, err)
		}
	}
	// One import at a time: whoever waits finds it done.
	r.importing.Lock()
	defer r.importing.Unlock()
	if id, ok := r.imported(rev.ID()); ok && objs.Has(id) {
		known, err := importedRevision(objs, id)
		if err == nil && pinned == "" {
			known = rev // tags and annotations may be others by now
		}
		return known, r.importFailure(ctx, err)
	}
	if r.importCount() >= maxImports {
		r.damaged.Store(true)
		if objs, err = r.open(); err != nil {
			return app.Revision{}, err
		}
	}
	return rev, r.importFailure(ctx, r.bring(ctx, up.Bring, rev, objs))
}

func (r *Repo) importFailure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return r.failed(ctx, err)
}

// bring imports a revision that is not there.
func (r *Repo) bring(ctx context.Context, files func(context.Context, app.Revision, *objects.Build) error, rev app.Revision, objs *objects.Store) error {
	b, err := objs.Build()
	if err != nil {
		return r.cacheFailure(err)
	}
	defer b.Close()
	if err := files(ctx, rev, b); err != nil {
		return err
	}
	text, err := json.Marshal(rev)
	if err != nil {
		return err
	}
	if !isHex(rev.ID()) {
		return app.Fail(app.StageFetch, app.ReasonInternal, "%s: %q does not name a revision", r.addr, rev.ID())
	}
	id, err := b.Commit(ctx, fmt.Sprintf("%s\n\n%s\n", r.addr, text), time.Unix(max(rev.Time.Unix(), 0), 0))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: %w", errCacheGone, err)
		}
		return r.cacheFailure(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.objs != objs {
		return errCacheGone
	}
	r.tips = r.tips.clone()
	r.tips[importedPrefix+rev.ID()] = id
	if err := r.tips.write(r.dir); err != nil {
		return r.cacheFailure(err)
	}
	return nil
}

// imported gives the commit that a revision was imported into.
func (r *Repo) imported(revision string) (plumbing.Hash, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, ok := r.tips[importedPrefix+revision]
	return id, ok
}

func (r *Repo) importCount() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for name := range r.tips {
		if strings.HasPrefix(name, importedPrefix) {
			n++
		}
	}
	return n
}

// importedRevision reads what a commit was made of.
func importedRevision(objs *objects.Store, id plumbing.Hash) (app.Revision, error) {
	c, err := commitAt(objs, id)
	if err != nil {
		return app.Revision{}, err
	}
	_, text, _ := strings.Cut(c.Message, "\n\n")
	var rev app.Revision
	if err := json.Unmarshal([]byte(text), &rev); err != nil {
		return app.Revision{}, fmt.Errorf("%w: commit %s: %w", objects.ErrDamaged, id, err)
	}
	return rev, nil
}
