// Package source fetches Git repositories and serves the files of a commit as
// a file system, without a checkout. What comes from elsewhere (an Upstream) is
// taken in as Git objects, a commit for each revision, so that everything but
// the fetch is the same for it.
//
// A Store keeps one bare repository on disk for each pair of URL and
// credentials, however many sources read it. Looking is cheap: one request
// for the list of refs, shared by all who ask at once, and a fetch of what is
// missing only when the wanted commit is not there yet. The directory is a
// cache: it may be deleted at any time.
//
// What was read can be recorded as a Closure, which tells of another commit
// whether reading the same would give the same.
//
// The package knows sources (app.Source) but nothing of apps, rendering or
// clusters, and reads no configuration but its Options: no environment, no
// Git configuration, no SSH agent.
package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/bucket"
	"plumb.dev/plumb/internal/source/giturl"
	"plumb.dev/plumb/internal/source/helmrepo"
	"plumb.dev/plumb/internal/source/keyless"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/oci"
	"plumb.dev/plumb/internal/source/remote"
)

// DefaultTimeout bounds one look at a source that sets no timeout, as in Flux.
const DefaultTimeout = 60 * time.Second

// Options configure a Store. Only Dir must be set.
type Options struct {
	// Dir holds the repositories. It belongs to one process at a time and may
	// be deleted whenever one likes.
	Dir string
	// Local permits file URLs; see remote.Options.
	Local bool
	// Proxy chooses the proxy of http and https requests; nil means none.
	Proxy func(*http.Request) (*url.URL, error)
	// CacheBytes bounds the objects kept in memory; default 32 MiB.
	CacheBytes int64
	// MaxFile bounds a file that is read from a tree, in bytes; default 32 MiB.
	MaxFile int64
	// Limits bound what a fetch may bring.
	Limits objects.Limits
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Store is the Git repositories that are fetched. Its methods may be called
// at once.
type Store struct {
	opt     Options
	dialer  *remote.Dialer
	oci     *oci.Client
	cache   *objects.Cache
	helm    *helmrepo.Client
	buckets *bucket.Client

	mu    sync.Mutex
	repos map[string]*Repo // by directory name
}

// Open makes a Store. It creates nothing on disk before something is fetched.
func Open(opt Options) *Store {
	if opt.MaxFile <= 0 {
		opt.MaxFile = 32 << 20
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	dialer := remote.NewDialer(remote.Options{Local: opt.Local, Proxy: opt.Proxy, Scratch: opt.Dir, Now: opt.Now})
	return &Store{
		opt:     opt,
		dialer:  dialer,
		oci:     oci.NewClient(oci.Options{Transport: dialer.Transport, Public: keyless.PublicOptions{Dir: opt.Dir, Now: opt.Now}}),
		helm:    helmrepo.NewClient(dialer, opt.Dir),
		cache:   objects.NewCache(opt.CacheBytes),
		repos:   map[string]*Repo{},
		buckets: bucket.NewClient(bucket.Options{Transport: dialer.Transport, Excluded: excludedObjects, IgnoreFile: ignoreFile, Now: opt.Now}),
	}
}

// Canonical gives a key that is equal for all addresses of a repository; see
// giturl.Canonical. It is "" for text that is no address.
func Canonical(url string) string { return giturl.Canonical(url) }

// Resolve finds the commit that src.Ref selects now, brings it into the
// repository, and returns both.
//
// since says how fresh the answer must be: a listing of the remote that was
// begun at since or later is good enough. Callers of one repository that pass
// the same instant (of a push event, of a tick) share one request; the current
// time forces a look; the zero time takes whatever is known. The failure of a
// shared look is shared, too. A full or unambiguous short commit id that is
// already in the repository needs no look at all.
//
// With src.Verify, a commit whose signature is not found good is a failure;
// what was resolved before stays readable by its id.
//
// parts are the sources that src is made of (app.Source.Uses), in their order.
//
// The error is an *app.Failure of the fetch stage.
func (s *Store) Resolve(ctx context.Context, src app.Source, since time.Time, parts ...Part) (app.Revision, *Repo, error) {
	timeout := src.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	// What the resource asks for cannot be done: no credentials are missing.
	if f := app.AsFailure(src.Auth.Err, app.StageFetch); f != nil && (f.Reason == app.ReasonInvalidSpec || f.Reason == app.ReasonUnsupported) {
		return app.Revision{}, nil, f
	}
	up, err := s.upstream(src, parts)
	switch {
	case err != nil:
		return app.Revision{}, nil, app.AsFailure(err, app.StageFetch)
	case up != nil:
		return s.importFrom(ctx, up, src, since)
	}
	resolve := s.resolveGit
	if composed(src) {
		resolve = func(ctx context.Context, src app.Source, since time.Time) (app.Revision, *Repo, error) {
			return s.resolveComposed(ctx, src, since, parts)
		}
	}
	rev, repo, err := resolve(ctx, src, since)
	if err == nil {
		err = sparseThere(src, rev, repo)
	}
	if err != nil {
		return app.Revision{}, nil, app.AsFailure(err, app.StageFetch)
	}
	return rev, repo, nil
}

func (s *Store) resolveGit(ctx context.Context, src app.Source, since time.Time) (app.Revision, *Repo, error) {
	addr, err := giturl.Parse(src.URL)
	if err != nil {
		f := app.Fail(app.StageFetch, app.ReasonInvalidSpec, "%w", err).
			WithHint("Write https://HOST/PATH, ssh://USER@HOST/PATH, or USER@HOST:PATH.")
		f.Retry.Never = true
		return app.Revision{}, nil, f
	}
	return s.resolveAt(ctx, addr, src, since)
}

// resolveAt is resolveGit for the repository of an address.
func (s *Store) resolveAt(ctx context.Context, addr giturl.Address, src app.Source, since time.Time) (app.Revision, *Repo, error) {
	sel, err := selection(src.Ref)
	if err != nil {
		f := app.AsFailure(err, app.StageFetch)
		f.Retry.Never = true
		return app.Revision{}, nil, f
	}
	check, err := newVerifier(src.Verify, sel, s.opt.Now())
	if err != nil {
		return app.Revision{}, nil, app.AsFailure(err, app.StageFetch)
	}
	repo, err := s.repo(addr, src.Auth)
	if err != nil {
		return app.Revision{}, nil, app.AsFailure(err, app.StageFetch)
	}
	rev, err := repo.resolve(ctx, sel, since, check)
	if errors.Is(err, remote.ErrGone) || errors.Is(err, errCacheGone) {
		// A push, or someone who cleaned the cache, overtook us: once more.
		rev, err = repo.resolve(ctx, sel, s.opt.Now(), check)
	}
	if err != nil {
		return app.Revision{}, nil, app.AsFailure(err, app.StageFetch)
	}
	return rev, repo, nil
}

// repo gives the repository of an address under credentials.
func (s *Store) repo(addr giturl.Address, auth app.Credentials) (*Repo, error) {
	name := directory(addr, auth)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.repos[name]; ok && auth.Err == nil {
		return r, nil
	}
	rem, err := s.dialer.Open(addr, auth)
	if err != nil {
		return nil, err
	}
	r := newRepo(s, addr.String(), rem, filepath.Join(s.opt.Dir, name))
	s.repos[name] = r
	return r, nil
}

// directory names where the repository of an address under credentials is.
func directory(addr giturl.Address, auth app.Credentials) string {
	identity := remote.Identity(auth)
	h := sha256.New()
	for _, part := range []string{addr.Base(), addr.User, addr.Password} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(identity[:])
	return hex.EncodeToString(h.Sum(nil)[:16]) + ".git"
}

// Repo gives the repository of a source if Resolve was asked for it, else nil.
// It looks at nothing. Of a source with submodules or includes it is the one
// without them.
func (s *Store) Repo(src app.Source) *Repo {
	src.Submodules, src.Include = false, nil
	if name := importName(src); name != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.repos[name]
	}
	addr, err := giturl.Parse(src.URL)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.repos[directory(addr, src.Auth)]
}

// Prune forgets the repositories that nobody has asked for since before and
// that are not to be kept, and deletes them from disk, those of earlier
// processes included. Trees that are being read stay readable.
func (s *Store) Prune(before time.Time, keep ...*Repo) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, r := range s.repos {
		if r.idleSince(before) && !slices.Contains(keep, r) {
			delete(s.repos, name)
		}
	}
	entries, err := os.ReadDir(s.opt.Dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		if _, used := s.repos[e.Name()]; !used && filepath.Ext(e.Name()) == ".git" {
			errs = append(errs, os.RemoveAll(filepath.Join(s.opt.Dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}
