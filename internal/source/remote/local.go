package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
)

// local reads a repository of this machine, bare or with a working tree,
// without running Git. Only what is committed counts.
type local struct{ addr giturl.Address }

func (r *local) open() (*filesystem.Storage, error) {
	for _, dir := range []string{filepath.Join(r.addr.Path, ".git"), r.addr.Path} {
		text, err := os.ReadFile(dir) // a linked worktree: .git is a file
		if target, ok := strings.CutPrefix(string(text), "gitdir: "); err == nil && ok {
			dir = strings.TrimSpace(target)
			if !filepath.IsAbs(dir) {
				dir = filepath.Join(r.addr.Path, dir)
			}
			if common, err := os.ReadFile(filepath.Join(dir, "commondir")); err == nil {
				dir = filepath.Join(dir, strings.TrimSpace(string(common)))
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "objects")); err == nil {
			return filesystem.NewStorage(osfs.New(dir), cache.NewObjectLRU(16*cache.MiByte)), nil
		}
	}
	return nil, notFound(r.addr, errors.New("the directory holds no Git repository"))
}

func (r *local) List(ctx context.Context) (*Listing, error) {
	st, err := r.open()
	if err != nil {
		return nil, err
	}
	defer st.Close()
	l := &Listing{Refs: map[string]Ref{}, caps: capability.NewList()}
	_ = l.caps.Set(capability.AllowReachableSHA1InWant) // we look for ourselves
	refs, err := st.IterReferences()
	if err != nil {
		return nil, failure(ctx, r.addr, err)
	}
	err = refs.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() != plumbing.HashReference || ref.Name() == plumbing.HEAD {
			return nil
		}
		out := Ref{ID: ref.Hash()}
		if tag, err := object.GetTag(st, ref.Hash()); err == nil {
			out.Peeled = peel(st, tag)
		}
		l.Refs[ref.Name().String()] = out
		return nil
	})
	if err != nil {
		return nil, failure(ctx, r.addr, err)
	}
	if head, err := st.Reference(plumbing.HEAD); err == nil {
		l.Head = head.Hash()
		if head.Type() == plumbing.SymbolicReference {
			l.HeadRef = head.Target().String()
			l.Head = l.Refs[l.HeadRef].Commit()
		}
	}
	l.guessHead()
	return l, nil
}

func peel(st storer.EncodedObjectStorer, tag *object.Tag) plumbing.Hash {
	for range 10 { // tags of tags
		next, err := object.GetTag(st, tag.Target)
		if err != nil {
			break
		}
		tag = next
	}
	return tag.Target
}

func (r *local) Fetch(ctx context.Context, _ *Listing, wants, haves []plumbing.Hash, install Install) error {
	st, err := r.open()
	if err != nil {
		return err
	}
	defer st.Close()
	ids, err := missing(ctx, st, wants, haves)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return app.Fail(app.StageFetch, app.ReasonRefNotFound, "%s: %w: %w", r.addr, ErrGone, err)
	}
	if err != nil {
		return failure(ctx, r.addr, err)
	}
	if len(ids) == 0 {
		return nil
	}
	out, in := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := packfile.NewEncoder(in, st, false).Encode(ids, 0)
		in.CloseWithError(err)
	}()
	err = install(ctx, out)
	out.CloseWithError(errors.New("not read to the end"))
	<-done
	if err != nil {
		return failure(ctx, r.addr, &installError{err})
	}
	return nil
}

// missing gives the objects that wants need beyond haves. It may give some
// that are had already, in directories that were changed and changed back.
func missing(ctx context.Context, st *filesystem.Storage, wants, haves []plumbing.Hash) ([]plumbing.Hash, error) {
	had := map[plumbing.Hash]bool{}
	for _, id := range haves {
		if st.HasEncodedObject(id) == nil {
			if err := commits(ctx, st, id, had, func(*object.Commit) error { return nil }); err != nil {
				return nil, err
			}
		}
	}
	var ids []plumbing.Hash
	add := func(id plumbing.Hash) bool {
		if had[id] {
			return false
		}
		had[id] = true
		ids = append(ids, id)
		return true
	}
	for _, id := range haves {
		if c, err := object.GetCommit(st, id); err == nil {
			if err := trees(ctx, st, c.TreeHash, func(id plumbing.Hash) bool {
				seen := had[id]
				had[id] = true
				return !seen
			}); err != nil {
				return nil, err
			}
		}
	}
	for _, id := range wants {
		for range 10 { // through annotated tags to the commit
			tag, err := object.GetTag(st, id)
			if err != nil {
				break
			}
			add(id)
			id = tag.Target
		}
		err := commits(ctx, st, id, had, func(c *object.Commit) error {
			ids = append(ids, c.Hash)
			return trees(ctx, st, c.TreeHash, add)
		})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// commits visits the history of id as far as seen does not have it.
func commits(ctx context.Context, st *filesystem.Storage, id plumbing.Hash, seen map[plumbing.Hash]bool, visit func(*object.Commit) error) error {
	for next := []plumbing.Hash{id}; len(next) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		id := next[len(next)-1]
		next = next[:len(next)-1]
		if seen[id] {
			continue
		}
		seen[id] = true
		c, err := object.GetCommit(st, id)
		if err != nil {
			return fmt.Errorf("commit %s: %w", id, err)
		}
		if err := visit(c); err != nil {
			return err
		}
		next = append(next, c.ParentHashes...)
	}
	return nil
}

// trees visits a tree and all below it, down to where add says no.
func trees(ctx context.Context, st *filesystem.Storage, id plumbing.Hash, add func(plumbing.Hash) bool) error {
	for next := []plumbing.Hash{id}; len(next) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		id := next[len(next)-1]
		next = next[:len(next)-1]
		if !add(id) {
			continue
		}
		t, err := object.GetTree(st, id)
		if err != nil {
			return fmt.Errorf("tree %s: %w", id, err)
		}
		for _, e := range t.Entries {
			switch e.Mode {
			case filemode.Dir:
				next = append(next, e.Hash)
			case filemode.Submodule:
			default:
				add(e.Hash)
			}
		}
	}
	return nil
}
