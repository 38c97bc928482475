package replica

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
)

// A push event reaches one replica. It is passed on in an annotation of that
// replica's Lease, which all others watch.
const (
	keptPushes = 16  // what one replica tells, so that none is missed that comes in quick succession
	longestURL = 512 // bytes; what is longer is not passed on
)

// push is one event as it is passed on.
type push struct {
	Number int      `json:"n"` // counts up within one incarnation
	URLs   []string `json:"urls"`
}

// pushbox holds what is to be told to others and what was heard from them.
type pushbox struct {
	mu    sync.Mutex
	told  []push
	count int
	due   chan struct{}  // has room for one
	heard map[string]int // incarnation → the last number
}

func newPushbox() *pushbox {
	return &pushbox{due: make(chan struct{}, 1), heard: map[string]int{}}
}

// Pushed passes a push event on to the other replicas, if there are any.
func (m *Member) Pushed(urls ...string) {
	urls = slices.DeleteFunc(slices.Clone(urls), func(u string) bool { return len(u) > longestURL })
	if len(urls) == 0 || len(m.members.others(m.name)) == 0 {
		return
	}
	b := m.pushbox
	b.mu.Lock()
	b.count++
	b.told = append(b.told, push{b.count, urls})
	b.told = b.told[max(0, len(b.told)-keptPushes):]
	b.mu.Unlock()
	select {
	case b.due <- struct{}{}:
	default:
	}
}

// tellPushes writes what is due, several events at once if they come quickly.
func (m *Member) tellPushes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.pushbox.due:
		}
		m.pushbox.mu.Lock()
		data, err := json.Marshal(m.pushbox.told)
		m.pushbox.mu.Unlock()
		if err == nil {
			err = m.update(ctx, pushes, string(data))
		}
		if err != nil && ctx.Err() == nil {
			m.opts.Log.Warn("a push event cannot be passed on to the other replicas", "error", err)
		}
	}
}

// hearPushes gives what others have passed on since the last call.
func (m *Member) hearPushes() (urls []string) {
	b := m.pushbox
	b.mu.Lock()
	defer b.mu.Unlock()
	heard := map[string]int{}
	for _, s := range m.members.others(m.name) {
		incarnation := holderOf(s.lease)
		last := b.heard[incarnation]
		var told []push
		if json.Unmarshal([]byte(s.lease.Annotations[pushes]), &told) == nil {
			for _, p := range told {
				if p.Number > b.heard[incarnation] {
					urls = append(urls, p.URLs...)
					last = max(last, p.Number)
				}
			}
		}
		heard[incarnation] = last
	}
	b.heard = heard
	return urls
}
