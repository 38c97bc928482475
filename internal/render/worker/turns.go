package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
)

// ticket is an app that waits for its turn.
type ticket struct {
	owner string
	slow  bool // it renders slowly
	since time.Time
	got   chan turn // has room for one
}

// turn is what a ticket gets.
type turn struct {
	rendering *rendering
	err       error
}

// rendering is a process at work.
type rendering struct {
	process *process
	owner   string
	slow    bool
	began   time.Time
	timers  []*time.Timer
	done    bool
	evicted bool
}

var errEvicted = errors.New("it made room for others")

// take waits for a process.
func (p *Pool) take(ctx context.Context, t *ticket) (*rendering, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errPoolClosed
	}
	t.slow = t.slow || t.owner != "" && p.slow[t.owner]
	p.waiting = append(p.waiting, t)
	p.pump()
	p.mu.Unlock()
	select {
	case got := <-t.got:
		return got.rendering, got.err
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, t); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else if got := <-t.got; got.rendering != nil {
		p.giveBack(got.rendering)
	}
	return nil, render.Stopped(ctx)
}

// pump hands processes to those that wait, in their order, save that slow ones
// never get all: one process is for the quick. The caller holds p.mu.
func (p *Pool) pump() {
	if p.closed {
		return
	}
	for {
		i := slices.IndexFunc(p.waiting, p.mayBegin)
		if i < 0 {
			return
		}
		t := p.waiting[i]
		p.idle = slices.DeleteFunc(p.idle, func(w *process) bool {
			if w.alive() {
				return false
			}
			w.dismiss()
			return true
		})
		if n := len(p.idle); n > 0 {
			w := p.idle[n-1]
			p.idle = p.idle[:n-1]
			p.waiting = slices.Delete(p.waiting, i, i+1)
			p.begin(t, w)
			continue
		}
		if p.starting == 0 && !p.makeRoom(t) {
			p.pumpIn(patience - time.Since(t.since))
		}
		return
	}
}

// mayBegin reports whether a ticket's turn can be next.
func (p *Pool) mayBegin(t *ticket) bool { return !t.slow || p.slowOnes() < p.mostSlow() }

// mostSlow is how many slow renderings may run while others wait.
func (p *Pool) mostSlow() int { return max(1, p.opts.Workers-1) }

func (p *Pool) slowOnes() (n int) {
	for _, r := range p.running {
		if r.slow {
			n++
		}
	}
	return n
}

// makeRoom sees to another process for a ticket that none is idle for. It
// reports false if it is too early for that.
func (p *Pool) makeRoom(t *ticket) bool {
	switch {
	case len(p.running) == 0:
	case time.Since(t.since) < patience:
		return false
	}
	if len(p.running) < p.opts.Workers {
		p.starting++
		p.done.Add(1)
		go p.startOne()
		return true
	}
	// All are busy. Whoever is slow beyond what slow ones may hold gives way,
	// the last that began: the others are further.
	if p.slowOnes() <= p.mostSlow() {
		return true // one of the quick will end soon, and pump
	}
	var last *rendering
	for _, r := range p.running {
		if r.slow && !r.evicted && (last == nil || r.began.After(last.began)) {
			last = r
		}
	}
	if last != nil {
		last.evicted = true
		last.process.kill(errEvicted)
	}
	return true
}

func (p *Pool) pumpIn(d time.Duration) {
	if p.pumping != nil {
		p.pumping.Stop()
	}
	p.pumping = time.AfterFunc(max(d, 0), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pump()
	})
}

// begin makes t's turn with w.
func (p *Pool) begin(t *ticket, w *process) {
	r := &rendering{process: w, owner: t.owner, slow: t.slow, began: time.Now()}
	p.running = append(p.running, r)
	p.done.Add(1) // until finish
	if !r.slow {
		r.timers = append(r.timers, time.AfterFunc(p.opts.Slow, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if !r.done {
				r.slow = true
				p.pump()
			}
		}))
	}
	p.limitLocked(r, p.opts.Time, app.Fail(app.StageRender, app.ReasonTimeout, "rendering took longer than %s", p.opts.Time).
		WithHint("split the app into several, or look for what multiplies: replacements, patches with broad targets, bases that are included many times"))
	t.got <- turn{rendering: r}
}

// limit kills the process of r for a reason unless it is done in time.
func (p *Pool) limit(r *rendering, after time.Duration, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limitLocked(r, after, why)
}

func (p *Pool) limitLocked(r *rendering, after time.Duration, why error) {
	if r.done {
		return
	}
	r.timers = append(r.timers, time.AfterFunc(after, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !r.done {
			r.process.kill(why)
		}
	}))
}

// release takes a process back after a job.
func (p *Pool) release(r *rendering, out outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish(r)
	p.remember(r)
	w := r.process
	switch {
	case out.died:
	case p.closed, w.condemned(), w.jobs >= maxJobs || w.memory > p.opts.Memory/2:
		w.dismiss()
	default:
		p.rest(w)
	}
	p.pump()
	p.keepWarm()
}

// giveBack takes a process back that did nothing.
func (p *Pool) giveBack(r *rendering) {
	p.finish(r)
	if p.closed {
		r.process.dismiss()
		return
	}
	p.rest(r.process)
	p.pump()
}

func (p *Pool) finish(r *rendering) {
	r.done = true
	for _, t := range r.timers {
		t.Stop()
	}
	p.running = slices.DeleteFunc(p.running, func(o *rendering) bool { return o == r })
	p.done.Done()
}

// remember notes who was slow. One that was slow begins among the slow ones
// the next time.
func (p *Pool) remember(r *rendering) {
	const most = 10_000
	switch {
	case r.owner == "":
	case time.Since(r.began) < p.opts.Slow:
		delete(p.slow, r.owner)
	case len(p.slow) < most:
		p.slow[r.owner] = true
	}
}

// rest makes a process idle.
func (p *Pool) rest(w *process) {
	w.idleSince, w.trimmed = time.Now(), false
	p.idle = append(p.idle, w)
	p.tidyLater()
}

func (p *Pool) tidyLater() {
	if !p.tidying {
		p.tidying = true
		time.AfterFunc(trimAfter, p.tidy)
	}
}

// tidy makes processes that have been idle for some time small, and ends all
// but one.
func (p *Pool) tidy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tidying = false
	if p.closed {
		return
	}
	var keep []*process
	for i, w := range p.idle {
		last := i == len(p.idle)-1 && len(p.running)+len(keep) == 0
		switch idle := time.Since(w.idleSince); {
		case !w.alive(), idle >= dismissAfter && !last:
			w.dismiss()
			continue
		case idle >= trimAfter && !w.trimmed:
			w.trimmed = true
			w.trim()
		}
		keep = append(keep, w)
	}
	p.idle = keep
	if len(p.idle) > 1 || len(p.running) > 0 || slices.ContainsFunc(p.idle, func(w *process) bool { return !w.trimmed }) {
		p.tidyLater()
	}
	p.keepWarm()
}

// keepWarm starts a process if there is none.
func (p *Pool) keepWarm() {
	if !p.closed && len(p.idle)+len(p.running)+p.starting == 0 {
		p.starting++
		p.done.Add(1)
		go p.startOne()
	}
}
