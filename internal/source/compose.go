package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/remote"
)

// A composed source is a Git repository with more in it: its submodules, and
// copies of other sources. What that comes to is a tree of its own, made of the
// trees of its parts, in a repository beside theirs; so whoever reads it sees
// but another tree.

// composed reports whether a source may be more than its repository.
func composed(src app.Source) bool { return src.Submodules || len(src.Include) > 0 }

// resolveComposed is Resolve for such a source. Where a commit has nothing that
// would have to be put in, it stays what it is.
func (s *Store) resolveComposed(ctx context.Context, src app.Source, since time.Time, parts []Part) (app.Revision, *Repo, error) {
	addr, err := giturl.Parse(src.URL)
	if err != nil {
		return s.resolveGit(ctx, src, since) // which tells of it
	}
	rev, base, err := s.resolveGit(ctx, src, since)
	if err != nil {
		return app.Revision{}, nil, err
	}
	tree, err := base.Tree(rev.Commit)
	if err != nil {
		return app.Revision{}, nil, err
	}
	submodules := false
	if src.Submodules {
		if _, err := tree.Lstat(modulesFile); err == nil {
			submodules = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return app.Revision{}, nil, app.AsFailure(err, app.StageFetch)
		}
	}
	if !submodules && len(src.Include) == 0 {
		return rev, base, nil
	}
	var in []Part // in the order of src.Include
	for _, include := range src.Include {
		i := slices.IndexFunc(parts, func(p Part) bool { return p.Source.ID == include.Source })
		if i < 0 {
			return app.Revision{}, nil, app.Fail(app.StageFetch, app.ReasonSourceNotFound, "source %s not found", include.Source)
		}
		in = append(in, parts[i])
		rev.Parts = append(rev.Parts, parts[i].Revision)
	}
	if rev.Content, err = contentOf(src, addr, tree, in); err != nil {
		return app.Revision{}, nil, app.AsFailure(err, app.StageFetch)
	}
	bring := func(ctx context.Context, _ app.Revision, into *objects.Build) error {
		if err := into.Graft(ctx, ".", tree.objs, tree.root); err != nil {
			return base.readFailure(err)
		}
		if submodules {
			g := grafter{store: s, into: into}
			if err := g.submodules(ctx, tree, location{addr, src.Auth}, ".", 0); err != nil {
				return err
			}
		}
		for i, include := range src.Include {
			if err := putIn(ctx, into, include, in[i].Files); err != nil {
				return err
			}
		}
		return nil
	}
	repo := s.imports(composedName(src), base.String())
	err = repo.hold(ctx, rev, bring)
	if errors.Is(err, errCacheGone) {
		err = repo.hold(ctx, rev, bring)
	}
	if err != nil {
		return app.Revision{}, nil, app.AsFailure(err, app.StageFetch)
	}
	return rev, repo, nil
}

// composedName names the directory of what a source is composed to: one for
// all that have the same parts, under the same credentials.
func composedName(src app.Source) string {
	h := sha256.New()
	identity := remote.Identity(src.Auth)
	h.Write(identity[:])
	fmt.Fprintf(h, "%q %q", src.URL, src.Uses)
	return "composed-" + hex.EncodeToString(h.Sum(nil)[:16]) + ".git"
}

// contentOf names what a composed source has: all that decides it. The commits
// of submodules are part of the tree.
func contentOf(src app.Source, addr giturl.Address, tree *Tree, in []Part) (string, error) {
	type part struct {
		app.Include
		Revision  string
		UseIgnore bool
		Ignore    *string
		Sparse    []string
	}
	what := struct {
		Tree       string
		Base       string // that relative addresses of submodules begin at
		Submodules bool
		Parts      []part
	}{tree.ID(), addr.Base(), src.Submodules, nil}
	for i, p := range in {
		what.Parts = append(what.Parts, part{src.Include[i], p.Revision.ID(), p.Source.UseIgnore, p.Source.Ignore, p.Source.Sparse})
	}
	text, err := json.Marshal(what)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// hold makes sure that a revision is there; bring makes it if it is not.
func (r *Repo) hold(ctx context.Context, rev app.Revision, bring func(context.Context, app.Revision, *objects.Build) error) error {
	r.used.Store(r.store.opt.Now().UnixNano())
	objs, err := r.open()
	if err != nil {
		return err
	}
	// One import at a time: whoever waits finds it done.
	r.importing.Lock()
	defer r.importing.Unlock()
	if id, ok := r.imported(rev.ID()); ok && objs.Has(id) {
		return nil
	}
	if r.importCount() >= maxImports {
		r.damaged.Store(true)
		if objs, err = r.open(); err != nil {
			return err
		}
	}
	return r.importFailure(ctx, r.bring(ctx, bring, rev, objs))
}

// putIn copies files of a source to where they are wanted.
func putIn(ctx context.Context, into *objects.Build, include app.Include, files fs.FS) error {
	fail := func(format string, args ...any) error {
		return app.Fail(app.StageFetch, app.ReasonInclude, "include of %s: %w", include.Source, fmt.Errorf(format, args...)).
			WithHint("Correct fromPath or toPath of the include.")
	}
	if exists, submodule, err := into.At(include.To); err != nil {
		return err
	} else if exists && !submodule {
		return fail("%s is there already", include.To)
	}
	info, err := fs.Stat(files, include.From)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail("there is no %s in it", include.From)
	case err != nil:
		return included(err, fail)
	case info.IsDir():
		below, err := fs.Sub(files, include.From)
		if err != nil {
			return fail("%w", err)
		}
		return included(into.Files(ctx, include.To, below), fail)
	}
	data, err := fs.ReadFile(files, include.From)
	if err != nil {
		return included(err, fail)
	}
	return included(into.File(include.To, info.Mode()&0o111 != 0, bytes.NewReader(data)), fail)
}

// included tells of an error in copying; one that has its own words keeps them.
func included(err error, fail func(string, ...any) error) error {
	var known *app.Failure
	if err == nil || errors.As(err, &known) {
		return err
	}
	return fail("%w", err)
}

// location is where a repository comes from.
type location struct {
	addr giturl.Address
	auth app.Credentials
}

// grafter puts submodules in.
type grafter struct {
	store *Store
	into  *objects.Build
	count int
}

// Limits of submodules.
const (
	maxSubmodules     = 200 // of a source in all
	maxSubmoduleDepth = 8   // submodules of submodules
)

// submodules puts the submodules of a tree, which stands at a path, where they
// belong, and theirs in turn.
func (g *grafter) submodules(ctx context.Context, tree *Tree, super location, at string, depth int) error {
	modules, err := readModules(tree)
	if err != nil {
		return inSubmodule(at, err)
	}
	for _, m := range modules {
		commit, ok, err := tree.submoduleAt(m.path)
		if err != nil {
			return err
		}
		if !ok {
			continue // named, and not there
		}
		where := path.Join(at, m.path)
		if g.count++; g.count > maxSubmodules || depth >= maxSubmoduleDepth {
			return submoduleFailure(where, "there are more than %d submodules, or they are nested deeper than %d", maxSubmodules, maxSubmoduleDepth)
		}
		from, err := super.submodule(m.url)
		if err != nil {
			return submoduleFailure(where, "%w", err)
		}
		below, err := g.fetch(ctx, from, commit)
		if err != nil {
			return inSubmodule(where, err)
		}
		if err := g.into.Graft(ctx, where, below.objs, below.root); err != nil {
			return below.repo.readFailure(err)
		}
		if _, err := below.Lstat(modulesFile); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := g.submodules(ctx, below, from, where, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (g *grafter) fetch(ctx context.Context, from location, commit plumbing.Hash) (*Tree, error) {
	src := app.Source{Ref: app.GitRef{Commit: commit.String()}, Auth: from.auth}
	rev, repo, err := g.store.resolveAt(ctx, from.addr, src, g.store.opt.Now())
	if err != nil {
		return nil, err
	}
	return repo.Tree(rev.Commit)
}

func submoduleFailure(at, format string, args ...any) error {
	return app.Fail(app.StageFetch, app.ReasonSubmodule, "submodule %s: %w", at, fmt.Errorf(format, args...))
}

// inSubmodule says in which submodule something failed.
func inSubmodule(at string, err error) error {
	f := *app.AsFailure(err, app.StageFetch)
	if at != "." {
		f.Err = fmt.Errorf("submodule %s: %w", at, f.Err)
	}
	return &f
}
