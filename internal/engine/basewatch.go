package engine

import (
	"context"
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
	// looks are the sources for which a look is under way; the time is how
	// fresh the next one must be, zero if none was asked for meanwhile.
	looks map[app.SourceID]time.Time
}

type baseUser struct {
	source app.SourceID
	bases  []base
}

func newBaseUsers() *baseUsers {
	return &baseUsers{users: map[app.ID]baseUser{}, looks: map[app.SourceID]time.Time{}}
}

// set notes what an app was built on, or tried to.
func (u *baseUsers) set(id app.ID, from app.SourceID, used []base) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(used) == 0 {
		delete(u.users, id)
	} else {
		u.users[id] = baseUser{from, used}
	}
}

// of lists the users whose source is from.
func (u *baseUsers) of(from app.SourceID) map[app.ID][]base {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := map[app.ID][]base{}
	for id, user := range u.users {
		if user.source == from {
			out[id] = user.bases
		}
	}
	return out
}

// at lists the sources of the users of bases at these canonical addresses.
func (u *baseUsers) at(addresses map[string]bool) map[app.SourceID]bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := map[app.SourceID]bool{}
	for _, user := range u.users {
		for _, b := range user.bases {
			if addresses[source.Canonical(b.URL)] {
				out[user.source] = true
			}
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
