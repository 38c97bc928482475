package worker

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
)

// process is a running child, as its parent sees it. One job at a time.
type process struct {
	cmd    *exec.Cmd
	in     *os.File // the child's standard input
	out    *os.File // its standard output
	buffer *bufio.Reader
	stderr tail
	ready  Ready

	jobs   int   // that it was given
	memory int64 // it held after the last one, in bytes

	mu     sync.Mutex
	reason error // why this side killed it; nil if it did not
	gone   chan struct{}
	exit   error // of Wait; read after gone

	idleSince time.Time // the pool's, as is
	trimmed   bool
}

// startProcess starts a child and returns when it is confined and warm.
func startProcess(ctx context.Context, opts Options) (*process, error) {
	executable := opts.Executable
	if executable == "" {
		var err error
		if executable, err = thisProgram(); err != nil {
			return nil, err
		}
	}
	stdin, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		stdin.Close()
		in.Close()
		return nil, err
	}
	p := &process{in: in, out: out, buffer: bufio.NewReaderSize(out, 64<<10), gone: make(chan struct{})}
	p.cmd = exec.Command(executable, opts.Args...)
	p.cmd.Args[0] = "plumb" // for who lists processes
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, stdout, &p.stderr
	p.cmd.Env = []string{} // nothing of the parent's, secrets least of all
	p.cmd.Dir = "/"
	p.cmd.SysProcAttr = apart()
	// Killed, it may leave nobody behind; nothing is waited for.
	p.cmd.WaitDelay = time.Second
	err = p.cmd.Start()
	stdin.Close()
	stdout.Close() // held open here, it would hide that the child ended
	if err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	go func() {
		p.exit = p.cmd.Wait()
		close(p.gone)
		in.Close()
	}()
	stop := context.AfterFunc(ctx, func() { p.kill(context.Cause(ctx)) })
	err = p.greet(settings{Version: version, Memory: opts.Memory, CPU: opts.CPU})
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		p.kill(err)
		<-p.gone
		p.close()
		if text := p.stderr.String(); text != "" {
			err = fmt.Errorf("%w; it says: %s", err, text)
		}
		return nil, err
	}
	return p, nil
}

func (p *process) greet(s settings) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := writeFrame(p.in, append(newFrame(frameSettings), text...)); err != nil {
		return err
	}
	_, content, err := readFrame(p.buffer, map[frameType]int{frameReady: maxSettings})
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the process ended before it was ready")
	case err != nil:
		return err
	case json.Unmarshal(content, &p.ready) != nil:
		return errMessage
	case p.ready.Version != version:
		return fmt.Errorf("the program was replaced by another version while this one runs: start it anew")
	}
	return nil
}

// kill ends the child at once. The first reason counts.
func (p *process) kill(reason error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reason == nil {
		p.reason = reason
	}
	_ = p.cmd.Process.Kill() // it may have ended already
}

// condemned reports whether the child was killed, though it may not be gone.
func (p *process) condemned() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reason != nil
}

// dismiss lets the child end by itself.
func (p *process) dismiss() {
	p.in.Close()
	go func() {
		<-p.gone
		p.close()
	}()
}

// close gives back what the child held here. It has ended.
func (p *process) close() {
	p.in.Close()
	p.out.Close()
}

// alive reports whether the child has not ended yet.
func (p *process) alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// trim makes the child give memory back.
func (p *process) trim() {
	_ = writeFrame(p.in, newFrame(frameTrim)) // one that has ended is found out when it is used
}

// outcome is what became of a job.
type outcome struct {
	result render.Result
	err    *app.Failure // nil if result counts
	// died: the child cannot be used any more; untouched: it had not said a
	// word about this job.
	died, untouched bool
}

// do gives the child a job and serves it until it has answered.
func (p *process) do(j job, tree *served, opts Options) outcome {
	p.jobs++
	p.stderr.reset() // Kustomize writes warnings there
	frame, err := j.append(newFrame(frameJob))
	if err != nil || len(frame) > maxJob {
		return outcome{err: app.Fail(app.StageRender, app.ReasonInvalidSpec, "what the app says about rendering is too long")}
	}
	if err := writeFrame(p.in, frame); err != nil {
		return p.lost(opts, true, err)
	}
	limits := map[frameType]int{frameRequest: maxRequest, frameFailure: maxFailure, frameResult: int(opts.Bounds.MaxOutput) + 1<<20}
	for untouched := true; ; untouched = false {
		t, content, err := readFrame(p.buffer, limits)
		if err != nil {
			return p.lost(opts, untouched, err)
		}
		switch t {
		case frameRequest:
			if err := p.answer(content, tree); err != nil {
				return p.lost(opts, false, err)
			}
		case frameFailure:
			told, failure := parseFailed(content)
			if failure == nil {
				return p.lost(opts, false, errMessage)
			}
			if fault := tree.fault(); fault != nil {
				failure = fault
			}
			p.memory = told.Memory
			return outcome{err: failure}
		case frameResult:
			memory, n := binary.Uvarint(content)
			if n <= 0 {
				return p.lost(opts, false, errMessage)
			}
			result, err := render.Decode(content[n:])
			if err != nil || len(result.Objects) > opts.Bounds.MaxObjects {
				return p.lost(opts, false, errMessage)
			}
			p.memory = int64(min(memory, 1<<62))
			return outcome{result: result}
		}
	}
}

// answer answers one request.
func (p *process) answer(content []byte, tree *served) error {
	questions, err := parseQuestions(content)
	if err != nil {
		return err
	}
	var answers []answer
	if questions[0].op == opRead {
		a, err := tree.read(questions[0], func(part []byte) error {
			return writeFrame(p.in, append(newFrame(frameData), part...))
		})
		if err != nil {
			return err
		}
		answers = []answer{a}
	} else if answers, err = tree.answer(questions); err != nil {
		return err
	}
	frame := newFrame(frameAnswer)
	for _, a := range answers {
		frame = a.append(frame)
	}
	return writeFrame(p.in, frame)
}

// lost ends a child that cannot be gone on with, and says what that means for
// the app.
func (p *process) lost(opts Options, untouched bool, err error) outcome {
	ended := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE)
	if ended {
		// The pipe closes a moment before the process is gone. One that only
		// closed its pipe is of no use either.
		select {
		case <-p.gone:
		case <-time.After(time.Second):
		}
	}
	p.kill(err)
	<-p.gone
	p.close()
	return outcome{err: p.autopsy(opts, ended), died: true, untouched: untouched && ended && p.exitCode() < exitFault}
}

func (p *process) exitCode() int { return p.cmd.ProcessState.ExitCode() }

// autopsy says why a child has ended, in terms of the app that it rendered.
func (p *process) autopsy(opts Options, ended bool) *app.Failure {
	fail := func(reason app.Reason, format string, args ...any) *app.Failure {
		return app.Fail(app.StageRender, reason, format, args...)
	}
	var why *app.Failure
	if errors.As(p.reason, &why) {
		return why
	}
	said := p.stderr.String()
	switch code := p.exitCode(); {
	case !ended:
		return fail(app.ReasonInternal, "the process that rendered this broke the protocol and was ended: %w", p.reason).
			WithHint("the next attempt uses another process; please report this if it happens again")
	case code == exitMemory, strings.Contains(said, "out of memory"), strings.Contains(said, "cannot allocate memory"):
		return fail(app.ReasonBuild, "rendering used more than %s of memory", mebibytes(opts.Memory)).
			WithHint("split the app into several, or look for what multiplies: aliases, replacements, bases that are included many times")
	case code == exitCPU:
		return fail(app.ReasonTimeout, "rendering computed for more than %s", opts.CPU).
			WithHint("split the app into several, or look for what multiplies: replacements, patches with broad targets, bases that are included many times")
	case strings.Contains(said, "stack overflow"), strings.Contains(said, "goroutine stack exceeds"):
		return fail(app.ReasonBuild, "the manifests nest too deeply to be rendered")
	case code == -1:
		return fail(app.ReasonBuild, "the process that rendered this was killed by the system, for want of memory it seems").
			WithHint("split the app into several, or give Plumb more memory")
	}
	return fail(app.ReasonBuild, "rendering ended its process unexpectedly (%s%s)", p.cmd.ProcessState, fatal(said)).
		WithHint("the files make the renderer fail; please report them if they are in order")
}

// fatal is the line in which the Go runtime says why it ends. What a panic
// says is left out: it may quote manifests.
func fatal(said string) string {
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "fatal error: ") {
			return ": " + shorten(strings.TrimSpace(line))
		}
	}
	return ""
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// tail keeps the end of what a child writes to standard error.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	const most = 8 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b[max(0, len(b)-most):]...)
	if over := len(t.text) - most; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

func (t *tail) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = t.text[:0]
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
