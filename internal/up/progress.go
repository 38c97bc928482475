package up

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells a person how the start goes: a line for each step that is
// done and, on a terminal, the one that is being done.
type progress struct {
	out      io.Writer
	terminal bool
	now      func() time.Time

	mu      sync.Mutex
	began   time.Time
	current string // what is being done; "" if nothing
}

// begin starts a step.
func (p *progress) begin(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began, p.current = p.now(), fmt.Sprintf(format, args...)
	p.draw(p.current)
}

// detail says what of the step is being done.
func (p *progress) detail(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != "" {
		p.draw(p.current + ": " + text)
	}
}

// done ends the step.
func (p *progress) done(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line("✓", fmt.Sprintf("%s (%.1f s)", fmt.Sprintf(format, args...), p.now().Sub(p.began).Seconds()))
	p.current = ""
}

// drop ends a step that had nothing to do.
func (p *progress) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.out, clearLine)
	}
	p.current = ""
}

// failed ends the step that an error has ended, if there is one.
func (p *progress) failed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != "" {
		p.line("✗", p.current)
	}
	p.current = ""
}

// warn says what is not as it should be and does not stop the start.
func (p *progress) warn(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line("!", fmt.Sprintf(format, args...))
	if p.current != "" {
		p.draw(p.current)
	}
}

const clearLine = "\r\x1b[K"

func (p *progress) draw(text string) {
	if p.terminal {
		fmt.Fprintf(p.out, "%s… %s", clearLine, text)
	}
}

func (p *progress) line(mark, text string) {
	if p.terminal {
		fmt.Fprint(p.out, clearLine)
	}
	fmt.Fprintf(p.out, "%s %s\n", mark, text)
}
