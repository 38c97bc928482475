package engine

import (
	"slices"
	"strings"
	"sync"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// sourceIndex finds the sources that a push or another source's new revision
// concerns, without looking at all of them.
type sourceIndex struct {
	mu    sync.Mutex
	filed map[app.SourceID]filedSource
	users map[app.SourceID]map[app.SourceID]struct{} // by what they are made of
	at    map[string]map[app.SourceID]struct{}       // by canonical address
}

// filedSource is what a source is found by.
type filedSource struct {
	url     string
	static  bool
	uses    []app.SourceID
	chart   string // of the one repository that it is of
	address string // canonical; "" if a push cannot name it
}

func newSourceIndex() *sourceIndex {
	return &sourceIndex{filed: map[app.SourceID]filedSource{}, users: map[app.SourceID]map[app.SourceID]struct{}{},
		at: map[string]map[app.SourceID]struct{}{}}
}

// file takes in a source that is new or has changed.
func (x *sourceIndex) file(src app.Source) {
	now := filedSource{url: src.URL, static: src.Static(), uses: src.Uses}
	if src.HelmChart != nil && len(src.Uses) == 1 {
		now.chart = src.HelmChart.Chart
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	old, known := x.filed[src.ID]
	if known && old.url == now.url && old.static == now.static && old.chart == now.chart && slices.Equal(old.uses, now.uses) {
		return
	}
	x.unfile(src.ID)
	now.address = x.address(now)
	x.filed[src.ID] = now
	for _, on := range now.uses {
		enter(x.users, on, src.ID)
	}
	x.found(src.ID, now.address)
	x.readdress(src.ID)
}

// drop forgets a source.
func (x *sourceIndex) drop(id app.SourceID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unfile(id)
	delete(x.filed, id)
	x.readdress(id)
}

func (x *sourceIndex) unfile(id app.SourceID) {
	old := x.filed[id]
	for _, on := range old.uses {
		leave(x.users, on, id)
	}
	leave(x.at, old.address, id)
}

func (x *sourceIndex) found(id app.SourceID, address string) {
	if address != "" {
		enter(x.at, address, id)
	}
}

// address is where the content of a source comes from: a chart of a registry
// has a repository of its own there, and those of other repositories follow
// from these.
func (x *sourceIndex) address(f filedSource) string {
	if f.chart == "" {
		return source.Canonical(f.url)
	}
	if registry := x.filed[f.uses[0]]; registry.static {
		return source.Canonical(strings.TrimSuffix(registry.url, "/") + "/" + f.chart)
	}
	return ""
}

// readdress finds the charts of a repository that is another one now, or gone.
func (x *sourceIndex) readdress(id app.SourceID) {
	for user := range x.users[id] {
		f := x.filed[user]
		leave(x.at, f.address, user)
		f.address = x.address(f)
		x.found(user, f.address)
		x.filed[user] = f
	}
}

// usersOf lists the sources that are made of a source.
func (x *sourceIndex) usersOf(id app.SourceID) []app.SourceID {
	x.mu.Lock()
	defer x.mu.Unlock()
	return keys(x.users[id])
}

// of lists the sources whose content comes from one of some canonical
// addresses.
func (x *sourceIndex) of(addresses map[string]bool) (out []app.SourceID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for address := range addresses {
		out = append(out, keys(x.at[address])...)
	}
	return out
}
