package engine

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/source"
)

// The bounds of remote bases, for one rendering.
const (
	maxBases      = 64 // repositories at refs
	maxBaseRounds = 16 // remote bases that are found in remote bases
)

// base is a remote base that a rendering used: the commit that its ref was
// then, and what was read of it.
type base struct {
	render.Remote
	commit string // "" if it could not be had
	read   source.Closure
}

// RenderFunc turns a tree into objects; see render.Render.
type RenderFunc func(ctx context.Context, tree fs.FS, spec app.Render) (render.Result, error)

// WithBases makes a rendering that fetches remote bases by sources. Refs are
// looked up anew.
func (f RenderFunc) WithBases(sources *source.Store) RenderFunc {
	return func(ctx context.Context, tree fs.FS, spec app.Render) (render.Result, error) {
		spec.Kustomize.AllowRemoteBases = true
		result, _, err := newBases(sources, time.Now()).render(ctx, f, tree, spec)
		return result, err
	}
}

// bases are the remote bases of one rendering. Rendering itself fetches
// nothing: it looks where a base should stand, that is noted, and once it has
// failed for want of them they are fetched and it is done again.
//
// Repositories are asked without any credentials: those of a source are for
// that source.
type bases struct {
	sources *source.Store
	since   time.Time // how fresh refs must be; see source.Store.Resolve

	mu     sync.Mutex
	found  map[render.Remote]*mounted
	wanted []render.Remote // not found, in the order of being looked for
}

// mounted is a base that was fetched.
type mounted struct {
	commit string
	tree   *source.Tree
	files  *source.Recorder
}

func newBases(sources *source.Store, since time.Time) *bases {
	return &bases{sources: sources, since: since, found: map[render.Remote]*mounted{}}
}

// render renders from tree with the bases that it turns out to need. The bases
// are told even if that fails.
func (b *bases) render(ctx context.Context, f RenderFunc, tree fs.FS, spec app.Render) (render.Result, []base, error) {
	if !spec.Kustomize.AllowRemoteBases {
		result, err := f(ctx, tree, spec)
		return result, nil, err
	}
	for round := 1; ; round++ {
		result, err := f(ctx, &withBases{FS: tree, bases: b}, spec)
		b.mu.Lock()
		wanted := b.wanted
		b.wanted = nil
		b.mu.Unlock()
		if err == nil || len(wanted) == 0 || ctx.Err() != nil {
			return result, b.used(nil), err
		}
		if len(b.found)+len(wanted) > maxBases || round > maxBaseRounds {
			err := app.Fail(app.StageRender, app.ReasonBuild, "the kustomization builds on more than %d remote bases, or on ones more than %d deep", maxBases, maxBaseRounds).
				WithHint("copy some of them into the repository")
			return render.Result{}, b.used(nil), err
		}
		if err := b.fetch(ctx, wanted); err != nil {
			return render.Result{}, b.used(wanted), err
		}
	}
}

// fetch brings bases, all at once.
func (b *bases) fetch(ctx context.Context, wanted []render.Remote) error {
	failures := make([]error, len(wanted))
	var running sync.WaitGroup
	for i, r := range wanted {
		running.Go(func() { _, failures[i] = b.mount(ctx, r) })
	}
	running.Wait()
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}

// mount looks up the ref of a base and makes its files known.
func (b *bases) mount(ctx context.Context, r render.Remote) (*mounted, error) {
	b.mu.Lock()
	m := b.found[r]
	b.mu.Unlock()
	if m != nil {
		return m, nil
	}
	m, err := b.open(ctx, r)
	if err != nil {
		f := app.AsFailure(err, app.StageFetch)
		failed := app.Fail(app.StageRender, app.ReasonBuild, "remote base %s: %w", r, f)
		if ctx.Err() != nil {
			failed.Reason = f.Reason
		}
		failed.Hint, failed.Retry.After = f.Hint, f.Retry.After
		if f.Reason == app.ReasonAuthentication {
			failed.Hint = "remote bases are fetched without credentials: name a repository that everyone may read, by https, or copy it"
		}
		return nil, failed
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.found[r] = m
	return m, nil
}

func (b *bases) open(ctx context.Context, r render.Remote) (*mounted, error) {
	ref := app.GitRef{Any: r.Ref}
	if len(r.Ref) == 40 && strings.Trim(r.Ref, "0123456789abcdef") == "" {
		ref = app.GitRef{Commit: r.Ref} // once it is there nobody is asked again
	}
	revision, repo, err := b.sources.Resolve(ctx, app.Source{URL: r.URL, Ref: ref}, b.since)
	if err != nil {
		return nil, err
	}
	if r.Ref != "" && r.Ref != "HEAD" && revision.Ref != "" && revision.Ref != r.Ref {
		// Kustomize knows no version ranges.
		return nil, app.Fail(app.StageFetch, app.ReasonRefNotFound, "%q is no branch, tag or commit", r.Ref).
			WithHint("correct the ref of the base")
	}
	tree, err := repo.Tree(revision.ID())
	if err != nil {
		return nil, err
	}
	return &mounted{revision.Commit, tree, source.Record(tree)}, nil
}

// used lists the bases that were read, and those that could not be had.
func (b *bases) used(lacking []render.Remote) []base {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []base
	for r, m := range b.found {
		out = append(out, base{r, m.commit, m.files.Closure()})
	}
	for _, r := range lacking {
		if b.found[r] == nil {
			out = append(out, base{Remote: r})
		}
	}
	slices.SortFunc(out, func(a, b base) int { return strings.Compare(a.Mount(), b.Mount()) })
	return out
}

// hold reports whether rendering from the bases as they are now reads what it
// read before. One that cannot be had, or could not, does not hold.
func (b *bases) hold(ctx context.Context, before []base) bool {
	for _, was := range before {
		m, err := b.mount(ctx, was.Remote)
		if err != nil || was.commit == "" || m.commit != was.commit && !was.read.Holds(m.tree) {
			return false
		}
	}
	return true
}

// withBases is a tree with bases below render.RemoteDir.
type withBases struct {
	fs.FS
	bases *bases
}

// at gives the file system that a name lies in and its name there. A base that
// is not there is noted.
func (w *withBases) at(name string) (fs.FS, string) {
	if name == render.RemoteDir || !strings.HasPrefix(name, render.RemoteDir+"/") {
		return w.FS, name
	}
	r, within, ok := render.RemoteAt(path.Clean(name))
	if !ok {
		return nothing{}, within
	}
	w.bases.mu.Lock()
	defer w.bases.mu.Unlock()
	if m := w.bases.found[r]; m != nil {
		return m.files, within
	}
	if !slices.Contains(w.bases.wanted, r) && len(w.bases.wanted) <= maxBases {
		w.bases.wanted = append(w.bases.wanted, r)
	}
	return nothing{}, within
}

// nothing is a file system without even a root.
type nothing struct{}

func (nothing) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// Open implements fs.FS.
func (w *withBases) Open(name string) (fs.File, error) {
	tree, name := w.at(name)
	return tree.Open(name)
}

// ReadFile implements fs.ReadFileFS.
func (w *withBases) ReadFile(name string) ([]byte, error) {
	tree, name := w.at(name)
	return fs.ReadFile(tree, name)
}

// ReadDir implements fs.ReadDirFS.
func (w *withBases) ReadDir(name string) ([]fs.DirEntry, error) {
	tree, name := w.at(name)
	return fs.ReadDir(tree, name)
}

// Stat implements fs.StatFS.
func (w *withBases) Stat(name string) (fs.FileInfo, error) {
	tree, name := w.at(name)
	return fs.Stat(tree, name)
}

// Lstat implements fs.ReadLinkFS. The directory of the bases is none of the
// tree, and yet they have to be reached through it.
func (w *withBases) Lstat(name string) (fs.FileInfo, error) {
	if name == render.RemoteDir {
		return fs.Lstat(w.FS, ".")
	}
	tree, name := w.at(name)
	return fs.Lstat(tree, name)
}

// ReadLink implements fs.ReadLinkFS.
func (w *withBases) ReadLink(name string) (string, error) {
	tree, name := w.at(name)
	return fs.ReadLink(tree, name)
}
