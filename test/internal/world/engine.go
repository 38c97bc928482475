package world

import (
	"context"
	"errors"
	"os"
	"time"

	"plumb.dev/plumb/internal/sandbox/child"
	"plumb.dev/plumb/internal/up"
)

// engine is the process, or the attempt to start one.
type engine struct {
	cancel  context.CancelFunc
	done    chan struct{} // closed when process and err are set
	process *child.Process
	err     error
}

func (e *engine) kill() {
	if e == nil {
		return
	}
	e.cancel() // kills one that is not ready yet
	<-e.done
	if e.process != nil {
		e.process.Kill()
	}
}

// BeginEngine starts the engine and does not wait until it is ready, which in
// a world that is harmed may take until the harm ends.
func (w *World) BeginEngine() {
	ctx, cancel := context.WithCancel(w.root.Context())
	e := &engine{cancel: cancel, done: make(chan struct{})}
	w.engine = e
	opts := child.Options{
		Name: "engine", Executable: w.Options.Executable, Stderr: w.log,
		Args: []string{"serve", "--kubeconfig", w.kubeconfig, "--listen", w.listen,
			"--cache", w.cache, "--until-stdin-closes"},
	}
	go func() {
		defer close(e.done)
		e.process, _, e.err = child.Start[up.EngineReady](ctx, opts)
	}()
}

// EngineReady waits until the engine that was begun delivers.
func (w *World) EngineReady() {
	w.T.Helper()
	timeout := time.NewTimer(Patience)
	defer timeout.Stop()
	select {
	case <-w.engine.done:
	case <-timeout.C:
		w.engine.cancel()
		<-w.engine.done
		w.engine.err = errors.New("it is not ready")
	}
	if w.engine.err != nil {
		w.T.Fatalf("%v\n%s", w.engine.err, w.Tail())
	}
}

// StartEngine starts the engine and waits until it delivers.
func (w *World) StartEngine() {
	w.T.Helper()
	w.BeginEngine()
	w.EngineReady()
}

// StopEngine kills it; one that is not ready yet, too.
func (w *World) StopEngine() {
	w.Killed["engine"]++
	w.engine.kill()
}

// KillEngine kills it, and starts another.
func (w *World) KillEngine() {
	w.T.Helper()
	w.StopEngine()
	w.StartEngine()
}

// EngineAlive fails the test if the engine has ended by itself.
func (w *World) EngineAlive() {
	w.T.Helper()
	select {
	case <-w.engine.done:
	default:
		return // it is still starting
	}
	if w.engine.process == nil {
		w.T.Fatalf("the engine did not start: %v\n%s", w.engine.err, w.Tail())
	}
	select {
	case <-w.engine.process.Done():
		w.T.Fatalf("the engine has ended: %v\n%s", w.engine.process.Wait(), w.Tail())
	default:
	}
}

// Tail is the end of the engine's log.
func (w *World) Tail() string {
	log := w.Log()
	return log[max(0, len(log)-6000):]
}

// Log is what the engine, and those before it, have logged.
func (w *World) Log() string {
	data, err := os.ReadFile(w.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(data)
}
