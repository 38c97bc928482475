// Package sandbox starts Plumb's embedded Kubernetes as a child process and
// looks after it: a real control plane that can be started several times,
// killed and started again on the same data.
//
// The control plane itself lives in package controlplane, and this package
// must not import it: whoever only starts a cluster does not pay for linking
// one. Package child looks after the process; the two sides talk in lines of
// Message.
package sandbox

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"plumb.dev/plumb/internal/sandbox/child"
)

// CommandName is the hidden command of the plumb binary that serves a cluster.
const CommandName = "kubernetes"

// Message is one line of JSON on the child's standard output.
type Message = child.Message[Ready]

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
	// Issuer is the URL that the cluster's tokens of service accounts say they
	// are from, and tell other clusters apart by. Empty: that of every cluster
	// in which nobody has set one.
	Issuer string
	// Authentication is a file with an AuthenticationConfiguration, for a
	// cluster that takes the tokens of others. Changes of it count at once.
	Authentication string
	// GCPercent is the child's GOGC; 0 leaves Go's default. Smaller saves
	// memory and costs CPU.
	GCPercent int
	// StopTimeout is how long Stop waits before it kills; 0 means 10 s.
	StopTimeout time.Duration
	// Stderr receives what the child writes besides its messages, normally
	// nothing; nil discards it.
	Stderr io.Writer
	// Inherit are open files that the child keeps open as long as it lives,
	// such as a locked one.
	Inherit []*os.File
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
	if o.Issuer != "" {
		args = append(args, "--issuer", o.Issuer)
	}
	if o.Authentication != "" {
		args = append(args, "--authentication", o.Authentication)
	}
	if o.GCPercent != 0 {
		args = append(args, "--gc-percent", strconv.Itoa(o.GCPercent))
	}
	return args
}

// Cluster is a running child. Its data stays when it ends.
type Cluster struct {
	Ready
	*child.Process
}

// Start starts a cluster and returns when it is ready to run workloads. If
// ctx ends before that, the child is killed; afterwards ctx means nothing to
// it. The child ends with its parent in any case.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Executable == "" || opts.Dir == "" {
		return nil, errors.New("sandbox: an executable and a data directory are required")
	}
	process, ready, err := child.Start[Ready](ctx, child.Options{
		Name:        "Kubernetes",
		Executable:  opts.Executable,
		Args:        opts.Args(),
		Log:         opts.Dir,
		Stderr:      opts.Stderr,
		Inherit:     opts.Inherit,
		StopTimeout: opts.StopTimeout,
		Progress:    opts.Progress,
	})
	if err != nil {
		return nil, err
	}
	return &Cluster{Ready: ready, Process: process}, nil
}
