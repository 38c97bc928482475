// Package child starts another process of Plumb, waits until it says that it
// is ready, and sees to it that it does not outlive its parent: the child
// holds the read end of a pipe and ends when that closes, even if the parent
// is killed. The two sides talk in lines of Message. What the child does is
// none of this package's business.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Message is one line of JSON on the child's standard output. Exactly one
// field is set.
type Message[R any] struct {
	Step  string `json:"step,omitempty"`  // what is being started
	Ready *R     `json:"ready,omitempty"` // the last line of a start that worked
	Error string `json:"error,omitempty"` // the last line of one that did not
}

// Options say what to start. Name, Executable and Args are required.
type Options struct {
	// Name is what messages call the child: "start NAME: …".
	Name       string
	Executable string
	Args       []string
	// Env is added to the environment of this process.
	Env []string
	// Log is where the child keeps its log, for messages; may be "".
	Log string
	// Stderr receives what the child writes besides its messages; nil
	// discards it.
	Stderr io.Writer
	// Inherit are open files that the child keeps open as long as it lives,
	// such as a locked one.
	Inherit []*os.File
	// StopTimeout is how long Stop waits before it kills; 0 means 10 s.
	StopTimeout time.Duration
	// Progress is told each step of the start, from another goroutine; may be nil.
	Progress func(step string)
}

// Process is a running child.
type Process struct {
	PID int

	name        string
	process     *os.Process
	lifeline    io.Closer // the child's standard input; it ends when this closes
	stopTimeout time.Duration
	done        chan struct{} // closed when the process has ended
	err         error         // how it ended; read after done
}

// Start starts a child and returns when it has said that it is ready, with
// what it said. If ctx ends before that, the child is killed; afterwards ctx
// means nothing to it.
func Start[R any](ctx context.Context, opts Options) (*Process, R, error) {
	var none R
	cmd := exec.Command(opts.Executable, opts.Args...)
	if len(opts.Env) > 0 {
		cmd.Env = append(os.Environ(), opts.Env...)
	}
	cmd.Stderr = opts.Stderr
	cmd.ExtraFiles = opts.Inherit
	// An interrupt typed at a terminal is for the parent alone: it decides
	// when the child ends.
	cmd.SysProcAttr = ownProcessGroup()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, none, fmt.Errorf("start %s: %w", opts.Name, err)
	}
	// A pipe of our own, not StdoutPipe: Wait would close that under the reader.
	stdout, childStdout, err := os.Pipe()
	if err != nil {
		return nil, none, fmt.Errorf("start %s: %w", opts.Name, err)
	}
	cmd.Stdout = childStdout
	err = cmd.Start()
	childStdout.Close()
	if err != nil {
		stdout.Close()
		return nil, none, fmt.Errorf("start %s: %w", opts.Name, err)
	}

	p := &Process{
		PID:         cmd.Process.Pid,
		name:        opts.Name,
		process:     cmd.Process,
		lifeline:    stdin,
		stopTimeout: opts.StopTimeout,
		done:        make(chan struct{}),
	}
	if p.stopTimeout == 0 {
		p.stopTimeout = 10 * time.Second
	}
	result := make(chan Message[R], 1)
	go func() {
		last := readMessages(stdout, opts.Progress, result)
		stdout.Close()
		p.err = cmd.Wait()
		if p.err != nil && last != "" {
			p.err = errors.New(last)
		}
		close(p.done)
	}()

	select {
	case m := <-result:
		if m.Ready != nil {
			return p, *m.Ready, nil
		}
		p.Kill()
		if m.Error == "" {
			m.Error = fmt.Sprintf("the process ended before it was ready (%s)", exitText(p.err))
			if opts.Log != "" {
				m.Error += "; its log is in " + opts.Log
			}
		}
		return nil, none, fmt.Errorf("start %s: %s", opts.Name, m.Error)
	case <-ctx.Done():
		p.Kill()
		return nil, none, fmt.Errorf("start %s: %w", opts.Name, context.Cause(ctx))
	}
}

// readMessages reads until the child ends. It tells result how the start
// went, with an empty message if the child ends undecided, and returns the
// last error of the child.
func readMessages[R any](r io.Reader, progress func(string), result chan<- Message[R]) (last string) {
	decided := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var m Message[R]
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue // not ours; libraries may print
		}
		if m.Error != "" {
			last = m.Error
		}
		if m.Step != "" && progress != nil {
			progress(m.Step)
		}
		if !decided && (m.Ready != nil || m.Error != "") {
			decided = true
			result <- m
		}
	}
	io.Copy(io.Discard, r) // after a line too long, so that the child never blocks
	if !decided {
		result <- Message[R]{}
	}
	return last
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// Stop asks the child to end, kills it if it does not in time, and returns
// when it is gone. Stopping twice is no error.
func (p *Process) Stop() error {
	p.lifeline.Close()
	// Not every system knows SIGTERM; the closed lifeline asks the same.
	p.process.Signal(syscall.SIGTERM)
	timeout := time.NewTimer(p.stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.done:
		return nil
	case <-timeout.C:
		p.Kill()
		return fmt.Errorf("%s did not stop within %s and was killed", p.name, p.stopTimeout)
	}
}

// Kill ends the child at once, as a crash would, and returns when it is gone.
func (p *Process) Kill() {
	p.process.Kill()
	<-p.done
	p.lifeline.Close()
}

// Done is closed when the child has ended, for whatever reason.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns when the child has ended, with its own account of why, or the
// error of its exit status; nil if it was stopped.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// UntilParentEnds is for the child's side: it returns a context that ends when
// lifeline, the child's standard input, closes.
func UntilParentEnds(ctx context.Context, lifeline io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		io.Copy(io.Discard, lifeline)
		cancel()
	}()
	return ctx
}
