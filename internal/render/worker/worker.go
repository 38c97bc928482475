// Package worker renders in child processes of the same program. A child has no
// files, no network and no credentials: the tree that it renders is shown to it
// through its pipes, and what it answers is believed in nothing but being what
// that tree renders to. It knows how rendering is called and bounded; it must
// not know apps as resources, Git or clusters.
//
// The parent uses a Pool. The child calls Main.
package worker

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
)

// Options say how to render. Args is required; a zero field means its default.
type Options struct {
	// Executable is the program to start, "" for this one. Args make it call
	// Main on its standard input and output.
	Executable string
	Args       []string
	// Workers is how many processes render at a time; by default one for each
	// CPU, at least 2 and at most 4. With 1, an app that renders slowly holds
	// up all others.
	Workers int
	// Bounds are those of render.Options; the default of MaxBytes is 64 MiB,
	// of MaxOutput 64 MiB.
	Bounds render.Options
	// Memory of a process, in bytes; 512 MiB.
	Memory int64
	// CPU is how long one rendering may compute; 15 s. Time is how long it may
	// take altogether, without the wait for its turn; 30 s.
	CPU, Time time.Duration
	// Slow is when a rendering counts as slow; 1 s. Such ones never hold all
	// processes while others wait.
	Slow time.Duration
	// Log is told when rendering is less confined than it can be, and what is
	// wrong with processes; nil discards that.
	Log *slog.Logger
}

const (
	// patience is how long an app waits for a process that is busy before
	// another one is started, which takes longer than many renderings.
	patience = 40 * time.Millisecond
	// afterIdle is when an idle process gives memory back, dismissAfter when
	// it ends if there is another one.
	trimAfter    = 2 * time.Second
	dismissAfter = 15 * time.Second
	// drainFor is how long a rendering that nobody waits for may go on before
	// its process is killed.
	drainFor = 250 * time.Millisecond
	// maxJobs is after how many renderings a process makes room for a new one.
	maxJobs = 5000
	// startWithin bounds the start of a process.
	startWithin = 30 * time.Second
)

func (o Options) withDefaults() Options {
	if o.Workers == 0 {
		o.Workers = min(max(runtime.GOMAXPROCS(0), 2), 4)
	}
	if o.Bounds.MaxBytes == 0 {
		o.Bounds.MaxBytes = 64 << 20
	}
	if o.Bounds.MaxOutput == 0 {
		o.Bounds.MaxOutput = 64 << 20
	}
	if o.Bounds.MaxObjects == 0 {
		o.Bounds.MaxObjects = 20_000
	}
	if o.Memory == 0 {
		o.Memory = 512 << 20
	}
	if o.CPU == 0 {
		o.CPU = 15 * time.Second
	}
	if o.Time == 0 {
		o.Time = 30 * time.Second
	}
	if o.Slow == 0 {
		o.Slow = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Pool renders in processes that it starts as they are needed, of which it
// keeps one warm. Make one with New, end it with Close.
type Pool struct {
	opts Options
	ctx  context.Context // ends with Close
	end  context.CancelFunc

	mu       sync.Mutex
	closed   bool
	told     bool // how processes are confined was logged
	waiting  []*ticket
	idle     []*process // the one that was used last comes last
	running  []*rendering
	starting int
	slow     map[string]bool // apps whose last rendering was slow
	tidying  bool            // tidy is due
	pumping  *time.Timer     // pump is due
	done     sync.WaitGroup
}

// New makes a pool. It starts no process: the first rendering does, or Warm.
func New(opts Options) *Pool {
	ctx, end := context.WithCancel(context.Background())
	return &Pool{opts: opts.withDefaults(), ctx: ctx, end: end, slow: map[string]bool{}}
}

// Warm starts a process, if there is none, and returns at once.
func (p *Pool) Warm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keepWarm()
}

// Close kills all processes, and returns when they are gone. Whatever renders
// fails.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.end()
	for _, r := range p.running {
		r.process.kill(errPoolClosed)
	}
	for _, t := range p.waiting {
		t.got <- turn{err: errPoolClosed}
	}
	p.waiting = nil
	for _, w := range p.idle {
		w.kill(errPoolClosed)
		w.dismiss()
	}
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, w := range idle {
		<-w.gone
	}
	p.done.Wait()
}

var errPoolClosed = app.Fail(app.StageRender, app.ReasonTerminated, "rendering was stopped: Plumb ends")

// Render renders spec from tree in a process of the pool. It fails as
// render.Options.Render does, and beyond that with
//
//   - ReasonTimeout if it takes too long;
//   - ReasonBuild if it takes more memory than it may, or its process ends;
//   - ReasonInternal if no process can be started, or one answers what cannot be.
//
// The tree is not used any more when it returns.
func (p *Pool) Render(ctx context.Context, tree fs.FS, spec app.Render) (render.Result, error) {
	files := &served{tree: tree, bytes: 4 * p.opts.Bounds.MaxBytes}
	defer files.close()
	j := job{Bounds: p.opts.Bounds, Spec: spec}
	t := &ticket{owner: spec.Owner, since: time.Now(), got: make(chan turn, 1)}
	for attempt := 1; ; attempt++ {
		r, err := p.take(ctx, t)
		if err != nil {
			return render.Result{}, err
		}
		j.known = files.known(spec)
		out, evicted := p.run(ctx, r, j, files)
		switch {
		case evicted:
			// It was slow while others waited: from the start again, among
			// the slow ones.
			t = &ticket{owner: spec.Owner, since: time.Now(), slow: true, got: make(chan turn, 1)}
			files.again(4 * p.opts.Bounds.MaxBytes)
		case out.untouched && attempt == 1 && ctx.Err() == nil:
			t = &ticket{owner: spec.Owner, since: time.Now(), slow: t.slow, got: make(chan turn, 1)}
		case out.err != nil:
			return render.Result{}, out.err
		default:
			return out.result, nil
		}
	}
}

// run does a job with the process of r. It returns as soon as ctx ends.
func (p *Pool) run(ctx context.Context, r *rendering, j job, files *served) (out outcome, evicted bool) {
	finished := make(chan outcome, 1)
	go func() {
		out := r.process.do(j, files, p.opts)
		p.release(r, out)
		finished <- out
	}()
	select {
	case out = <-finished:
		p.mu.Lock()
		evicted = r.evicted && out.died
		p.mu.Unlock()
		return out, evicted
	case <-ctx.Done():
	}
	// Most renderings are done in a moment, and a new process takes longer.
	// The child learns of it when it asks for a file.
	files.close()
	p.limit(r, drainFor, render.Stopped(ctx))
	return outcome{err: render.Stopped(ctx)}, false
}

// startOne starts a process and hands it to who waits. The caller has counted
// it as starting.
func (p *Pool) startOne() {
	defer p.done.Done()
	ctx, cancel := context.WithTimeoutCause(p.ctx, startWithin, errors.New("it takes too long"))
	defer cancel()
	w, err := startProcess(ctx, p.opts)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	switch {
	case p.closed:
		if err == nil {
			w.kill(errPoolClosed)
			w.dismiss()
		}
		return
	case err != nil:
		p.opts.Log.Error("no process can be started for rendering", "error", err.Error())
		if len(p.waiting) > 0 {
			t := p.waiting[0]
			p.waiting = p.waiting[1:]
			t.got <- turn{err: app.Fail(app.StageRender, app.ReasonInternal, "no process can be started for rendering: %w", err).
				WithHint("see whether Plumb may start processes and has memory left")}
		}
	default:
		if !p.told {
			p.told = true
			p.opts.Log.Info("rendering is confined", "by", strings.Join(w.ready.Confined, ", "), "lacks", strings.Join(w.ready.Missing, ", "), "processes", p.opts.Workers)
		}
		p.rest(w)
	}
	p.pump()
}
