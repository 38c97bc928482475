package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
)

// maxCommit bounds a commit or tag object, in bytes.
const maxCommit = 4 << 20

var errNoCommit = errors.New("does not lead to a commit")

// commitAt reads a commit, following annotated tags.
func commitAt(objs *objects.Store, id plumbing.Hash) (*object.Commit, error) {
	for range 10 {
		o, err := objs.Get(id, maxCommit)
		if err != nil {
			return nil, err
		}
		switch o.Type {
		case plumbing.CommitObject:
			c := &object.Commit{}
			return c, c.Decode(encoded(id, o))
		case plumbing.TagObject:
			tag := &object.Tag{}
			if err := tag.Decode(encoded(id, o)); err != nil {
				return nil, err
			}
			id = tag.Target
		default:
			return nil, errNoCommit
		}
	}
	return nil, errNoCommit
}

// encoded gives an object the form that go-git decodes.
func encoded(id plumbing.Hash, o objects.Object) plumbing.EncodedObject {
	m := &plumbing.MemoryObject{}
	m.SetType(o.Type)
	m.SetSize(int64(len(o.Data)))
	_, _ = m.Write(o.Data) // cannot fail
	return m
}

// revision describes the commit that id leads to.
func (r *Repo) revision(objs *objects.Store, id plumbing.Hash, ref string) (app.Revision, error) {
	c, err := commitAt(objs, id)
	if errors.Is(err, errNoCommit) {
		return app.Revision{}, app.Fail(app.StageFetch, app.ReasonRefNotFound, "%s: %s %w", r.addr, ref, err).
			WithHint("Choose a branch, a commit, or a tag of a commit.")
	}
	if err != nil {
		if r.lost(err) {
			err = fmt.Errorf("%w: %w", errCacheGone, err)
		}
		return app.Revision{}, err
	}
	subject, _, _ := strings.Cut(strings.TrimSpace(c.Message), "\n")
	return app.Revision{
		Commit:  c.Hash.String(),
		Ref:     ref,
		Subject: strings.TrimSpace(subject),
		Author:  fmt.Sprintf("%s <%s>", c.Author.Name, c.Author.Email),
		Time:    c.Committer.When,
	}, nil
}

// commitsWithPrefix gives the stored commits whose id begins with prefix.
func commitsWithPrefix(objs *objects.Store, prefix string) ([]plumbing.Hash, error) {
	ids, err := objs.Prefix(prefix, 100)
	if err != nil {
		return nil, err
	}
	var found []plumbing.Hash
	for _, id := range ids {
		kind, _, err := objs.Stat(id)
		if err != nil {
			return nil, err
		}
		if kind == plumbing.CommitObject {
			found = append(found, id)
		}
	}
	return found, nil
}

// ancestors visits the history of a commit, nearest first, until visit returns
// false. The commit itself comes first.
func ancestors(ctx context.Context, objs *objects.Store, id plumbing.Hash, visit func(plumbing.Hash) bool) error {
	seen := map[plumbing.Hash]bool{id: true}
	for queue := []plumbing.Hash{id}; len(queue) > 0; queue = queue[1:] {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !visit(queue[0]) {
			return nil
		}
		c, err := commitAt(objs, queue[0])
		if err != nil {
			return err
		}
		for _, parent := range c.ParentHashes {
			if !seen[parent] {
				seen[parent] = true
				queue = append(queue, parent)
			}
		}
	}
	return nil
}

// reachable remembers which commits were found in which histories: a source
// pinned to a commit of a branch asks at every look.
type reachable struct {
	mu    sync.Mutex
	known map[[2]plumbing.Hash]bool
}

// maxReachable bounds what is remembered.
const maxReachable = 1024

func (r *reachable) contains(ctx context.Context, objs *objects.Store, tip, id plumbing.Hash) (bool, error) {
	key := [2]plumbing.Hash{tip, id}
	r.mu.Lock()
	found, known := r.known[key]
	r.mu.Unlock()
	if known {
		return found, nil
	}
	err := ancestors(ctx, objs, tip, func(c plumbing.Hash) bool {
		found = c == id
		return !found
	})
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil || len(r.known) >= maxReachable {
		r.known = map[[2]plumbing.Hash]bool{}
	}
	r.known[key] = found
	return found, nil
}
