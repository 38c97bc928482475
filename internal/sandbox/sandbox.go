// Package sandbox starts Plumb's embedded Kubernetes as a child process and
// looks after it: a real control plane that can be started several times,
// killed and started again on the same data.
//
// The control plane itself lives in package controlplane, and this package
// must not import it: whoever only starts a cluster does not pay for linking
// one. The two sides talk through the lines of Message.
package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// CommandName is the hidden command of the plumb binary that serves a cluster.
const CommandName = "kubernetes"

// Message is one line of JSON on the child's standard output. Exactly one
// field is set.
type Message struct {
	Step  string `json:"step,omitempty"`  // what is being started
	Ready *Ready `json:"ready,omitempty"` // the last line of a start that worked
	Error string `json:"error,omitempty"` // the last line of one that did not
}

// Ready tells where a cluster is to be found.
type Ready struct {
	URL        string `json:"url"`        // of the API server, always on loopback
	Kubeconfig string `json:"kubeconfig"` // a file with a cluster administrator's certificate
	Version    string `json:"version"`    // of Kubernetes, v1.2.3
	LogFile    string `json:"logFile"`    // of the control plane
}

// Options say what to start. Executable and Dir are required.
type Options struct {
	// Executable is a plumb binary, for a running Plumb its own os.Executable.
	Executable string
	// Dir keeps everything of the cluster, and makes it the same cluster at
	// the next start. It is created if it is missing.
	Dir string
	// Port of the API server on 127.0.0.1. 0 takes the one that Dir
	// remembers, or a free one, which Dir then remembers.
	Port int
	// AuditLog is a file for the API server's audit events, one JSON object a
	// line, without bodies. Empty: none are written.
	AuditLog string
	// GCPercent is the child's GOGC; 0 leaves Go's default. Smaller saves
	// memory and costs CPU.
	GCPercent int
	// StopTimeout is how long Stop waits before it kills; 0 means 10 s.
	StopTimeout time.Duration
	// Stderr receives what the child writes besides its messages, normally
	// nothing; nil discards it.
	Stderr io.Writer
	// Progress is told each step of the start, from another goroutine; may be nil.
	Progress func(step string)
}

// Args is the child's command line for the options, without the executable.
func (o Options) Args() []string {
	args := []string{CommandName, "--data", o.Dir, "--until-stdin-closes"}
	if o.Port != 0 {
		args = append(args, "--port", strconv.Itoa(o.Port))
	}
	if o.AuditLog != "" {
		args = append(args, "--audit-log", o.AuditLog)
	}
	if o.GCPercent != 0 {
		args = append(args, "--gc-percent", strconv.Itoa(o.GCPercent))
	}
	return args
}

// Cluster is a running child.
type Cluster struct {
	Ready
	PID int

	process     *os.Process
	lifeline    io.Closer // the child's standard input; it ends when this closes
	stopTimeout time.Duration
	done        chan struct{} // closed when the process has ended
	err         error         // how it ended; read after done
}

// Start starts a cluster and returns when it is ready to run workloads. If
// ctx ends before that, the child is killed; afterwards ctx means nothing to
// it. The child ends with its parent in any case, even if the parent is
// killed: it holds the other end of the child's standard input.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Executable == "" || opts.Dir == "" {
		return nil, errors.New("sandbox: an executable and a data directory are required")
	}
	cmd := exec.Command(opts.Executable, opts.Args()...)
	cmd.Stderr = opts.Stderr
	// An interrupt typed at a terminal is for the parent alone: it decides
	// when the cluster ends.
	cmd.SysProcAttr = ownProcessGroup()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start Kubernetes: %w", err)
	}
	// A pipe of our own, not StdoutPipe: Wait would close that under the reader.
	stdout, childStdout, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start Kubernetes: %w", err)
	}
	cmd.Stdout = childStdout
	err = cmd.Start()
	childStdout.Close()
	if err != nil {
		stdout.Close()
		return nil, fmt.Errorf("start Kubernetes: %w", err)
	}

	c := &Cluster{
		PID:         cmd.Process.Pid,
		process:     cmd.Process,
		lifeline:    stdin,
		stopTimeout: opts.StopTimeout,
		done:        make(chan struct{}),
	}
	if c.stopTimeout == 0 {
		c.stopTimeout = 10 * time.Second
	}
	result := make(chan Message, 1)
	go func() {
		last := readMessages(stdout, opts.Progress, result)
		stdout.Close()
		c.err = cmd.Wait()
		if c.err != nil && last != "" {
			c.err = errors.New(last)
		}
		close(c.done)
	}()

	select {
	case m := <-result:
		if m.Ready != nil {
			c.Ready = *m.Ready
			return c, nil
		}
		c.Kill()
		if m.Error == "" {
			m.Error = fmt.Sprintf("the process ended before it was ready (%s); its log is in %s", exitText(c.err), opts.Dir)
		}
		return nil, fmt.Errorf("start Kubernetes: %s", m.Error)
	case <-ctx.Done():
		c.Kill()
		return nil, fmt.Errorf("start Kubernetes: %w", context.Cause(ctx))
	}
}

// readMessages reads until the child ends. It tells result how the start
// went, with an empty message if the child ends undecided, and returns the
// last error of the child.
func readMessages(r io.Reader, progress func(string), result chan<- Message) (last string) {
	decided := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var m Message
		if json.Unmarshal(lines.Bytes(), &m) != nil {
			continue // not ours; libraries of the control plane may print
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
		result <- Message{}
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
// when it is gone. The cluster's data stays. Stopping twice is no error.
func (c *Cluster) Stop() error {
	c.lifeline.Close()
	// Not every system knows SIGTERM; the closed lifeline asks the same.
	c.process.Signal(syscall.SIGTERM)
	timeout := time.NewTimer(c.stopTimeout)
	defer timeout.Stop()
	select {
	case <-c.done:
		return nil
	case <-timeout.C:
		c.Kill()
		return fmt.Errorf("the Kubernetes process did not stop within %s and was killed", c.stopTimeout)
	}
}

// Kill ends the child at once, as a crash would, and returns when it is gone.
func (c *Cluster) Kill() {
	c.process.Kill()
	<-c.done
	c.lifeline.Close()
}

// Done is closed when the child has ended, for whatever reason.
func (c *Cluster) Done() <-chan struct{} { return c.done }

// Wait returns when the child has ended, with its own account of why, or the
// error of its exit status; nil if it was stopped.
func (c *Cluster) Wait() error {
	<-c.done
	return c.err
}
