package engine

import (
	"context"
	"errors"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
)

// ErrRewound is why Run ends: the cluster that Plumb serves is another one than
// it was, or an earlier state of itself. Nothing that this process remembers
// counts any more, that of the resources included which it was told of: begin
// anew.
var ErrRewound = errors.New("the cluster is not the one that it was, or an earlier state of it: it was made anew, or its data were restored")

// absence is a time in which the cluster that Plumb serves does not answer.
type absence struct {
	was  cluster.State
	over bool // it answers again, and is looked at
}

// asking spaces the looks at whether the cluster is the one that it was.
var asking = app.Backoff{Initial: 500 * time.Millisecond, Factor: 2, Max: 10 * time.Second}

// Contact takes the news that the cluster that Plumb serves has stopped
// answering, or answers again. It must not block.
func (e *Engine) Contact() {
	d := e.home
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.ctx == nil || e.ended {
		return // nothing is remembered yet, or any more
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch down := d.conn.Condition().Down; {
	case down && d.away == nil:
		d.away = &absence{was: d.conn.State()}
	case !down && d.away != nil && !d.away.over:
		d.away.over = true
		ctx, away := e.ctx, d.away
		e.running.Go(func() { e.returned(ctx, away) })
	}
}

// returned ends Run if the cluster that answers again is not the one that it
// was, or an earlier state of it. While that cannot be told it asks again.
func (e *Engine) returned(ctx context.Context, away *absence) {
	d := e.home
	for try := 0; ctx.Err() == nil; try++ {
		rewound, err := d.conn.Rewound(ctx, away.was)
		d.mu.Lock()
		if err != nil && d.conn.Condition().Down {
			away.over = false // it is away again, and will be told of again
			d.mu.Unlock()
			return
		}
		if err == nil {
			d.away = nil
			d.mu.Unlock()
			if rewound {
				e.rewind(ErrRewound)
			}
			return
		}
		d.mu.Unlock()
		e.log.Debug("it cannot be told whether the cluster is the one that it was", "error", err)
		again := time.NewTimer(asking.After(try))
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}
