package release

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// tail is a log handler that passes on what Helm logs, as details, and keeps the
// last lines of it, for who wants to know how an action failed.
type tail struct {
	*kept
	next    slog.Handler
	attrs   []slog.Attr
	secrets scrubber
	now     func() time.Time
}

type kept struct {
	mu    sync.Mutex
	last  []line
	count int // how often the last line came
}

type line struct {
	at   time.Time
	text string
}

// tailLines is how many lines are kept, as Flux shows in its events.
const tailLines = 10

func newTail(log *slog.Logger, secrets scrubber, now func() time.Time) *tail {
	return &tail{kept: &kept{}, next: log.Handler(), secrets: secrets, now: now}
}

func (t *tail) Enabled(context.Context, slog.Level) bool { return true }

func (t *tail) Handle(ctx context.Context, r slog.Record) error {
	var b strings.Builder
	if r.Level > slog.LevelInfo {
		b.WriteString(strings.ToLower(r.Level.String()) + ": ")
	}
	b.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	}
	for _, a := range t.attrs {
		add(a)
	}
	r.Attrs(add)
	text := shorten(t.secrets.clean(b.String()), 1000)

	t.mu.Lock()
	if n := len(t.last); n > 0 && t.last[n-1].text == text {
		t.count++
	} else {
		if n == tailLines {
			t.last = t.last[1:]
		}
		t.last, t.count = append(t.last, line{t.now().UTC(), text}), 1
	}
	t.mu.Unlock()

	if !t.next.Enabled(ctx, slog.LevelDebug) {
		return nil
	}
	return t.next.Handle(ctx, slog.NewRecord(r.Time, slog.LevelDebug, "Helm: "+text, 0))
}

func (t *tail) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *t
	c.attrs = append(append([]slog.Attr(nil), t.attrs...), attrs...)
	return &c
}

func (t *tail) WithGroup(string) slog.Handler { return t }

// lines gives what is kept, oldest first.
func (t *tail) lines() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []string
	for _, l := range t.last {
		out = append(out, l.at.Format(time.RFC3339Nano)+": "+l.text)
	}
	if t.count > 1 {
		out[len(out)-1] += fmt.Sprintf(" (%d times)", t.count)
	}
	return out
}
