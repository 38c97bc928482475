package worker

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/resident"
)

// How a child ends by itself, beside 0 when its parent has gone.
const (
	exitFault  = 92 // it cannot start, or does not understand its parent
	exitMemory = 93 // it has grown beyond its bound
	exitCPU    = 94 // one rendering has computed for too long
)

// Main is the child: it renders what comes on in and answers on out, until in
// ends, and returns the code to exit with. It confines the whole process, for
// good; whatever else the process was doing will fail.
func Main(in io.Reader, out io.Writer) int {
	c := &child{in: bufio.NewReaderSize(in, 64<<10), out: out}
	if err := c.start(); err != nil {
		return exitFault
	}
	for {
		t, content, err := readFrame(c.in, map[frameType]int{frameJob: maxJob, frameTrim: 0})
		switch {
		case errors.Is(err, io.EOF):
			return 0
		case err != nil:
			return exitFault
		case t == frameTrim:
			c.program.Return()
			continue
		}
		if err := c.work(content); err != nil {
			return exitFault
		}
	}
}

type child struct {
	in      *bufio.Reader
	out     io.Writer
	program resident.Program
	guard   *guard
}

// start makes everything ready while there still are files, then locks the
// door.
func (c *child) start() error {
	_, content, err := readFrame(c.in, map[frameType]int{frameSettings: maxSettings})
	if err != nil {
		return err
	}
	var s settings
	if err := json.Unmarshal(content, &s); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)                  // several workers share the machine with the engine
	debug.SetTraceback("none")             // the reason of an end is enough
	debug.SetMaxStack(maxStack)            // before recursion without end has taken the memory
	debug.SetMemoryLimit(s.Memory * 3 / 4) // rather collect than grow
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := render.Warm(context.Background()); err != nil {
		return err
	}
	c.program = resident.FindProgram()
	c.guard = newGuard(s.Memory, s.CPU)
	r := Ready{Version: version}
	if r.Confined, r.Missing, err = confine(s.Memory); err != nil {
		return err
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	c.program.Return()
	return writeFrame(c.out, append(newFrame(frameReady), text...))
}

// maxStack is of one goroutine, in bytes: a hundred times of what the deepest
// manifests that are accepted need.
const maxStack = 64 << 20

// work does one job. An error means that the parent is not understood.
func (c *child) work(content []byte) error {
	j, err := parseJob(content)
	if err != nil {
		return err
	}
	c.guard.begin()
	ctx, stop := context.WithCancelCause(context.Background())
	result, err := j.Bounds.Render(ctx, newRemoteTree(j, stop, c.ask), j.Spec)
	stop(nil)
	var block []byte
	if err == nil {
		block, err = render.Encode(result)
	}
	memory := c.guard.end()
	if err == nil {
		frame := binary.AppendUvarint(newFrame(frameResult), uint64(memory))
		return writeFrame(c.out, append(frame, block...))
	}
	f := app.AsFailure(err, app.StageRender)
	if !failureReasons[f.Reason] {
		f = &app.Failure{Reason: app.ReasonBuild, Retry: f.Retry, Hint: f.Hint, Err: f.Err}
	}
	text, err := json.Marshal(failed{Reason: f.Reason, Never: f.Retry.Never, After: f.Retry.After,
		Message: shorten(f.Error()), Hint: shorten(f.Hint), Memory: memory})
	if err != nil {
		return err
	}
	return writeFrame(c.out, append(newFrame(frameFailure), text...))
}

// ask sends a request and waits for its answers; content is that of opRead.
func (c *child) ask(questions []question) (answers []answer, content []byte, err error) {
	frame := newFrame(frameRequest)
	for _, q := range questions {
		frame = q.append(frame)
	}
	if err := writeFrame(c.out, frame); err != nil {
		return nil, nil, err
	}
	for {
		t, part, err := readFrame(c.in, map[frameType]int{frameAnswer: maxAnswer, frameData: maxData})
		if err != nil {
			return nil, nil, noEOF(err)
		}
		if t == frameAnswer {
			answers, err := parseAnswers(part)
			return answers, content, err
		}
		content = append(content, part...)
	}
}

// guard ends the process when a rendering takes more memory or time to compute
// than it may. It is looked after every few milliseconds while one runs.
type guard struct {
	memory  int64
	cpu     time.Duration
	ticker  *time.Ticker
	control chan bool // begin, end
}

const guardInterval = 10 * time.Millisecond

func newGuard(memory int64, cpu time.Duration) *guard {
	g := &guard{memory: memory, cpu: cpu, ticker: time.NewTicker(guardInterval), control: make(chan bool)}
	go g.watch()
	return g
}

func (g *guard) watch() {
	g.ticker.Stop()
	var from time.Duration
	for {
		select {
		case running := <-g.control:
			if running {
				from = usedCPU()
				g.ticker.Reset(guardInterval)
			} else {
				g.ticker.Stop()
			}
		case <-g.ticker.C:
			if usedMemory() > g.memory {
				os.Exit(exitMemory)
			}
			if usedCPU()-from > g.cpu {
				os.Exit(exitCPU)
			}
		}
	}
}

func (g *guard) begin() { g.control <- true }

// end tells how much memory the process holds. What a large rendering left
// behind is given back first.
func (g *guard) end() int64 {
	g.control <- false
	memory := usedMemory()
	if memory > g.memory/4 {
		debug.FreeOSMemory()
		memory = usedMemory()
	}
	return memory
}

// usedMemory is what the Go runtime has from the system, in bytes.
func usedMemory() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
