package up

import (
	"fmt"
	"io"
)

// Options say what to bring up. Executable and Data are required.
type Options struct {
	// Executable is this program.
	Executable string
	// Data is the directory that keeps everything. It is made if it is
	// missing; what is in it is gone on with.
	Data string

	// Repo is a directory or URL of a repository that is delivered in place of
	// the sample, Path the directory in it; "" is its root.
	Repo, Path string
	// NoSample delivers nothing to begin with.
	NoSample bool
	// RemoteBases allows kustomizations to build on other repositories.
	RemoteBases bool

	// Kubeconfig is a file for an existing cluster to use in place of an
	// embedded one; Context one of its contexts, "" the current one.
	Kubeconfig, Context string

	// Ports on 127.0.0.1; 0 takes the one that Data remembers, or a free one.
	GitPort, HTTPPort, KubernetesPort int

	// Pprof is a loopback address where the engine serves profiles; "" for none.
	Pprof string

	// RenderWorkers is the engine's --render-workers.
	RenderWorkers int

	// Progress is told how the start goes, in lines for a person.
	Progress io.Writer
	// Terminal: Progress is a terminal.
	Terminal bool
	// Notice is told, from any goroutine, what happens to the children after
	// the start; may be nil.
	Notice func(string)
}

// Problem is an error that knows what to do about it.
type Problem struct {
	Err  error
	Hint string
}

func (p *Problem) Error() string { return p.Err.Error() }

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.Err }

func problem(hint, format string, args ...any) *Problem {
	return &Problem{Err: fmt.Errorf(format, args...), Hint: hint}
}

// EngineReady is what the engine says when it begins to deliver.
type EngineReady struct {
	HTTP string `json:"http"` // address, http://HOST:PORT
}

// State tells where everything is. The file up.json in the data directory
// always holds the current one, as long as this runs.
type State struct {
	Kubeconfig string `json:"kubeconfig"`
	Git        string `json:"git"`  // http://127.0.0.1:PORT
	HTTP       string `json:"http"` // of the engine
	Data       string `json:"data"` // absolute
	PIDs       PIDs   `json:"pids"`
}

// PIDs are the children.
type PIDs struct {
	Engine     int `json:"engine"`
	Kubernetes int `json:"kubernetes,omitempty"` // 0: an existing cluster
}
