package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// baseUsers are the apps that build on remote bases, with what they built on
// last. Bases are looked at whenever the source of such an app is, and when a
// push to one of them is told.
type baseUsers struct {
	mu    sync.Mutex
	users map[app.ID]baseUser
	// from and at find users: by their source, and by the canonical addresses
	// of what they build on.
	from map[app.SourceID]map[app.ID]struct{}
	at   map[string]map[app.ID]struct{}
	// looks are the sources for which a look is under way; the time is how
	// fresh the next one must be, zero if none was asked for meanwhile.
	looks map[app.SourceID]time.Time
}

type baseUser struct {
	source app.SourceID
	bases  []base
}

func newBaseUsers() *baseUsers {
	return &baseUsers{users: map[app.ID]baseUser{}, from: map[app.SourceID]map[app.ID]struct{}{}, at: map[string]map[app.ID]struct{}{},
		looks: map[app.SourceID]time.Time{}}
}

// set notes what an app was built on, or tried to. It reports whether the app
// has left a base.
func (u *baseUsers) set(id app.ID, from app.SourceID, used []base) (left bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	before := u.users[id]
	leave(u.from, before.source, id)
	for _, b := range before.bases {
		left = left || !slices.ContainsFunc(used, func(now base) bool { return now.URL == b.URL })
		leave(u.at, source.Canonical(b.URL), id)
	}
	if len(used) == 0 {
		delete(u.users, id)
		return left
	}
	u.users[id] = baseUser{from, used}
	enter(u.from, from, id)
	for _, b := range used {
		enter(u.at, source.Canonical(b.URL), id)
	}
	return left
}

// of lists the users whose source is from.
func (u *baseUsers) of(from app.SourceID) map[app.ID][]base {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := map[app.ID][]base{}
	for id := range u.from[from] {
		out[id] = u.users[id].bases
	}
	return out
}

// pushed lists the sources of the users of bases at these canonical addresses.
func (u *baseUsers) pushed(addresses map[string]bool) map[app.SourceID]bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := map[app.SourceID]bool{}
	for address := range addresses {
		for id := range u.at[address] {
			out[u.users[id].source] = true
		}
	}
	return out
}

// urls lists the repositories of all bases in use.
func (u *baseUsers) urls() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []string
	for _, user := range u.users {
		for _, b := range user.bases {
			out = append(out, b.URL)
		}
	}
	return out
}

// begin reports whether the caller is to look for a source, until end says
// that it need not again.
func (u *baseUsers) begin(id app.SourceID, since time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, busy := u.looks[id]; busy {
		u.looks[id] = since
		return false
	}
	u.looks[id] = time.Time{}
	return true
}

func (u *baseUsers) end(id app.SourceID) (again time.Time, more bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if again = u.looks[id]; again.IsZero() {
		delete(u.looks, id)
		return again, false
	}
	u.looks[id] = time.Time{}
	return again, true
}

// uses notes what an app was built on.
func (e *Engine) uses(id app.ID, from app.SourceID, used []base) {
	if e.bases.set(id, from, used) {
		e.left()
	}
}

// lookAtBases makes the apps of a source due whose remote bases have changed
// or cannot be had. It does not wait: the host of a base may be slow, and is
// not the source's.
func (e *Engine) lookAtBases(ctx context.Context, id app.SourceID, since time.Time) {
	if len(e.bases.of(id)) == 0 || !e.bases.begin(id, since) {
		return
	}
	e.running.Go(func() {
		for more := true; more; since, more = e.bases.end(id) {
			now := newBases(e.opts.Bases, since)
			for user, before := range e.bases.of(id) {
				if ctx.Err() == nil && !now.hold(ctx, before) {
					e.trigger(user, app.CauseRevision, 0)
				}
			}
		}
	})
}
