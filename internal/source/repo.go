package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/remote"
)

// errCacheGone says that the repository on disk vanished in the midst of work.
var errCacheGone = errors.New("the cached repository was removed or damaged while in use")

// Repo is one repository on disk, with the remote it comes from. It is made by
// Store.Resolve and may be used at once by many.
type Repo struct {
	store  *Store
	addr   string        // for messages: without credentials
	remote remote.Remote // nil if it holds what was imported
	dir    string

	listing shared[*remote.Listing]
	fetches batches

	found     shared[app.Revision] // of what is imported
	importing sync.Mutex
	damaged   atomic.Bool
	used      atomic.Int64 // unix nanoseconds of the last Resolve

	mu   sync.Mutex
	objs *objects.Store // nil before the first use
	tips tips

	reach reachable
	dirs  directories
}

func newRepo(s *Store, addr string, rem remote.Remote, dir string) *Repo {
	r := &Repo{store: s, addr: addr, remote: rem, dir: dir}
	r.listing.now, r.found.now = s.opt.Now, s.opt.Now
	r.fetches.run = r.runFetch
	r.used.Store(s.opt.Now().UnixNano())
	return r
}

func (r *Repo) idleSince(t time.Time) bool { return r.used.Load() < t.UnixNano() }

// String is the address, without credentials.
func (r *Repo) String() string { return r.addr }

// open gives the objects on disk, anew if they were deleted or damaged. What
// was lost in part is thrown away whole: incremental fetches rely on every
// commit being complete.
func (r *Repo) open() (*objects.Store, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	damaged := r.damaged.Swap(false)
	if r.objs != nil && !damaged && r.objs.Intact() {
		return r.objs, nil
	}
	// Readers may still use the old store's open files; they are closed when
	// the last reader is gone.
	r.objs, r.tips = nil, nil
	if damaged {
		if err := os.RemoveAll(r.dir); err != nil {
			return nil, r.cacheFailure(err)
		}
	}
	objs, err := objects.Open(r.dir, r.store.cache, r.store.opt.Limits)
	if errors.Is(err, objects.ErrDamaged) {
		if err = os.RemoveAll(r.dir); err == nil {
			objs, err = objects.Open(r.dir, r.store.cache, r.store.opt.Limits)
		}
	}
	if err != nil {
		return nil, r.cacheFailure(err)
	}
	r.objs, r.tips = objs, readTips(r.dir, objs)
	return objs, nil
}

func (r *Repo) cacheFailure(err error) error {
	return app.Fail(app.StageFetch, app.ReasonInternal, "%s: cache: %w", r.addr, err).
		WithHint("Check that the cache directory can be written and has space.")
}

// resolve is Store.Resolve for one repository.
func (r *Repo) resolve(ctx context.Context, sel selector, since time.Time, check *verifier) (app.Revision, error) {
	r.used.Store(r.store.opt.Now().UnixNano())
	objs, err := r.open()
	if err != nil {
		return app.Revision{}, err
	}
	if sel.kind == kindCommit && sel.branch == "" {
		if id, ok := r.stored(objs, sel.text); ok {
			return r.verified(objs, target{id: id}, check)
		}
	}
	l, err := r.listing.do(ctx, since, r.remote.List)
	if err != nil {
		return app.Revision{}, r.failed(ctx, err)
	}
	t, err := sel.find(l)
	if err != nil {
		return app.Revision{}, r.located(err)
	}
	if err := check.target(l, &t); err != nil {
		return app.Revision{}, r.located(err)
	}
	if t.prefix != "" {
		if err := r.findCommit(ctx, objs, l, &t); err != nil {
			return app.Revision{}, r.failed(ctx, err)
		}
	} else if err := r.ensure(ctx, objs, l, map[plumbing.Hash]string{t.id: t.name}); err != nil {
		return app.Revision{}, r.failed(ctx, err)
	}
	if sel.branch != "" {
		if err := r.checkBranch(ctx, objs, l, sel.branch, t.id); err != nil {
			return app.Revision{}, r.failed(ctx, err)
		}
	}
	return r.verified(objs, t, check)
}

// failed gives an error of a stage its final form.
func (r *Repo) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return remote.Interrupted(ctx, r)
	}
	if r.lost(err) {
		return fmt.Errorf("%w: %w", errCacheGone, err)
	}
	return r.located(err)
}

// lost reports whether err comes from a cache that is not whole any more.
func (r *Repo) lost(err error) bool {
	if errors.Is(err, objects.ErrMissing) || errors.Is(err, objects.ErrDamaged) {
		r.damaged.Store(true)
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Is(err, os.ErrNotExist) && r.objs != nil && !r.objs.Intact()
}

// located adds the address to failures that do not name it. Those of an
// Upstream are as they should be.
func (r *Repo) located(err error) error {
	if r.remote == nil {
		return err
	}
	var f *app.Failure
	if errors.As(err, &f) && f.Reason == app.ReasonRefNotFound && !errors.Is(err, remote.ErrGone) {
		return &app.Failure{Stage: f.Stage, Reason: f.Reason, Retry: f.Retry, Hint: f.Hint, Err: fmt.Errorf("%s: %w", r.addr, f.Err)}
	}
	return err
}

// stored finds a commit by its full or abbreviated id among what is there.
func (r *Repo) stored(objs *objects.Store, prefix string) (plumbing.Hash, bool) {
	found, err := commitsWithPrefix(objs, prefix)
	if err != nil || len(found) != 1 {
		return plumbing.ZeroHash, false
	}
	return found[0], true
}

// findCommit fetches a commit that is given by id.
func (r *Repo) findCommit(ctx context.Context, objs *objects.Store, l *remote.Listing, t *target) error {
	missing := func(format string, args ...any) error {
		return app.Fail(app.StageFetch, app.ReasonRefNotFound, format, args...).
			WithHint("Check the commit id; a commit that no branch or tag contains cannot be fetched from most servers.")
	}
	if id, ok := r.stored(objs, t.prefix); ok {
		t.id = id
		return nil
	}
	if !t.id.IsZero() {
		return r.ensure(ctx, objs, l, map[plumbing.Hash]string{t.id: ""})
	}
	if len(t.prefix) == fullID && l.AnyCommit() {
		t.id = plumbing.NewHash(t.prefix)
		err := r.fetches.fetch(ctx, l, map[plumbing.Hash]string{t.id: ""}, true)
		if errors.Is(err, remote.ErrGone) {
			return missing("the repository has no commit %s", t.prefix)
		}
		return err
	}
	all := map[plumbing.Hash]string{}
	for name, ref := range l.Refs {
		if isRoot(name) {
			all[ref.Commit()] = name
		}
	}
	if err := r.ensure(ctx, objs, l, all); err != nil {
		return err
	}
	found, err := commitsWithPrefix(objs, t.prefix)
	switch {
	case err != nil:
		return err
	case len(found) == 0:
		return missing("no branch or tag of the repository contains a commit %s", t.prefix)
	case len(found) > 1:
		return app.Fail(app.StageFetch, app.ReasonRefNotFound, "commit %s is ambiguous: %s and %s begin so", t.prefix, found[0], found[1]).
			WithHint("Write more digits of the commit id.")
	}
	t.id = found[0]
	return nil
}

// ensure fetches those of wants that are not there.
func (r *Repo) ensure(ctx context.Context, objs *objects.Store, l *remote.Listing, wants map[plumbing.Hash]string) error {
	needed := map[plumbing.Hash]string{}
	for id, name := range wants {
		if !objs.Has(id) {
			needed[id] = name
		}
	}
	if len(needed) == 0 {
		return nil
	}
	return r.fetches.fetch(ctx, l, needed, false)
}

// runFetch makes one request for a batch.
func (r *Repo) runFetch(ctx context.Context, b *batch) error {
	r.mu.Lock()
	objs, known := r.objs, r.tips.clone()
	r.mu.Unlock()
	if objs == nil {
		return errCacheGone
	}
	var wants []plumbing.Hash
	for id := range b.wants {
		if !objs.Has(id) {
			wants = append(wants, id)
		}
	}
	if len(wants) > 0 {
		if err := r.fetchPack(ctx, b.listing, wants, known.haves(objs, b.wants), objs); err != nil {
			return err
		}
	}
	for _, id := range wants {
		if !objs.Has(id) {
			return app.Fail(app.StageFetch, app.ReasonUnreachable, "%s: the server did not send commit %s", r.addr, id)
		}
	}
	known.update(b)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.objs != objs {
		return errCacheGone
	}
	r.tips = known
	if err := known.write(r.dir); err != nil {
		return r.cacheFailure(err)
	}
	return nil
}

// fetchPack brings what wants need beyond haves into objs.
func (r *Repo) fetchPack(ctx context.Context, l *remote.Listing, wants, haves []plumbing.Hash, objs *objects.Store) error {
	err := r.remote.Fetch(ctx, l, wants, haves, objs.Install)
	if errors.Is(err, objects.ErrNoBase) && len(haves) > 0 {
		// Server and cache disagree about what is had. To one who has nothing
		// the server sends all of it.
		err = r.remote.Fetch(ctx, l, wants, nil, objs.Install)
	}
	if errors.Is(err, objects.ErrNoBase) {
		return app.Fail(app.StageFetch, app.ReasonUnreachable, "%s: the server's answer is incomplete: %w", r.addr, objects.ErrNoBase).
			WithHint("Check the repository on the server with git fsck.")
	}
	return err
}

// checkBranch makes sure that a branch contains a commit.
func (r *Repo) checkBranch(ctx context.Context, objs *objects.Store, l *remote.Listing, branch string, id plumbing.Hash) error {
	t, err := selector{kind: kindBranch, text: branch}.find(l)
	if err != nil {
		return err
	}
	if err := r.ensure(ctx, objs, l, map[plumbing.Hash]string{t.id: t.name}); err != nil {
		return err
	}
	ok, err := r.reach.contains(ctx, objs, t.id, id)
	if err != nil {
		return err
	}
	if !ok {
		return app.Fail(app.StageFetch, app.ReasonRefNotFound, "branch %q does not contain commit %s", branch, id).
			WithHint("Correct ref.branch or ref.commit; the branch may have been rewritten.")
	}
	return nil
}
