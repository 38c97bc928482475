package meter

import (
	"sync"
	"time"
)

// Peak follows the memory of processes with all their descendants, which may
// come and go.
type Peak struct {
	stop chan struct{}
	done chan struct{}

	mu   sync.Mutex
	most int64
}

// WatchPeak looks ten times a second until Stop. A peak of one process alone
// is not missed, however short; see ResetPeak.
func WatchPeak(pids ...int) *Peak {
	p := &Peak{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			p.look(pids)
			select {
			case <-tick.C:
			case <-p.stop:
				return
			}
		}
	}()
	return p
}

func (p *Peak) look(pids []int) {
	u, err := Read(pids...)
	if err != nil {
		return // one has ended: what it took is told already
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = max(p.most, u.RSS, u.Peak)
}

// Most is the most there was so far, in bytes.
func (p *Peak) Most() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

// Stop ends it.
func (p *Peak) Stop() {
	close(p.stop)
	<-p.done
}
