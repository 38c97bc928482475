// Package controlplane runs a whole Kubernetes in this process: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, each as released,
// and a simulated node. It knows nothing of Plumb's engine, and nothing but
// cmd/plumb imports it: linking it takes seconds and many megabytes.
//
// Kubernetes keeps feature gates, metrics and more in globals, so a process
// can run one control plane, once, and must end afterwards: Run starts much
// that it cannot stop. Ending the process at any instant is safe, the data
// directory is written as by a machine that may lose its power (see
// docs/adr/0004-embedded-control-plane.md for what is given up).
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"time"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/kubelet"
)

// kubernetesVersion is what the API server and the node say they are: the
// version of the module k8s.io/kubernetes that is built in.
const kubernetesVersion = "v1.36.3"

// nodeName is the one node.
const nodeName = "plumb-node"

// startTimeout is a limit for a start that hangs; a normal one takes seconds.
const startTimeout = 2 * time.Minute

// Options of Run.
type Options struct {
	// Dir keeps keys, data, logs and the kubeconfig. It is created if it is
	// missing, and belongs to one running control plane at a time.
	Dir string
	// Port of the API server on 127.0.0.1; 0 takes the port of the run before,
	// or else a free one.
	Port int
	// AuditLog is a file for audit events at metadata level; empty for none.
	AuditLog string
	// Issuer is what tokens of service accounts say they are from; empty for
	// the URL of every cluster in which nobody has set one.
	Issuer string
	// Authentication is a file with an AuthenticationConfiguration; empty for none.
	Authentication string
	// GCPercent is GOGC of the process; 0 leaves it.
	GCPercent int
	// Progress is told each step; may be nil.
	Progress func(step string)
	// Ready is called once, when a Deployment would become ready; may be nil.
	Ready func(sandbox.Ready)
}

// Run runs the control plane until ctx ends, then returns nil at once, or
// until a part of it fails. The caller must end the process soon after.
func Run(ctx context.Context, opts Options) error {
	err := serve(ctx, opts)
	if ctx.Err() != nil {
		return nil // parts that end because they were told to have not failed
	}
	return err
}

// serve starts one part after the other, and waits.
func serve(ctx context.Context, opts Options) error {
	progress := opts.Progress
	if progress == nil {
		progress = func(string) {}
	}
	if opts.GCPercent > 0 {
		debug.SetGCPercent(opts.GCPercent)
	}

	for _, path := range []*string{&opts.AuditLog, &opts.Authentication} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path) // the working directory may change
		if err != nil {
			return fmt.Errorf("file %s: %w", *path, err)
		}
		*path = absolute
	}

	dir, err := openDataDir(opts.Dir)
	if err != nil {
		return err
	}
	if err := logToFile(dir.logFile()); err != nil {
		return err
	}
	listener, err := dir.listen(opts.Port)
	if err != nil {
		return err
	}
	url := "https://" + listener.Addr().String()
	credentials, err := ensurePKI(dir.pki())
	if err != nil {
		return err
	}
	if err := credentials.writeKubeconfigs(dir, url); err != nil {
		return err
	}

	starting, cancel := context.WithTimeoutCause(ctx, startTimeout,
		fmt.Errorf("the control plane was not ready within %s; its log is %s", startTimeout, dir.logFile()))
	defer cancel()

	progress("etcd")
	etcd, err := startEtcd(starting, dir)
	if err != nil {
		return err
	}

	// Everything from here on runs until the process ends; the first part to
	// fail ends the run.
	failed := make(chan error, 4)
	run := func(name string, part func() error) {
		go func() {
			err := part()
			if err == nil {
				err = errors.New("ended unasked")
			}
			failed <- fmt.Errorf("%s: %w; its log is %s", name, err, dir.logFile())
		}()
	}

	progress("kube-apiserver")
	apiserver, err := newAPIServer(ctx, dir, listener, etcd, opts)
	if err != nil {
		return fmt.Errorf("kube-apiserver: %w", err)
	}
	run("kube-apiserver", func() error { return apiserver.Run(ctx) })
	admin, err := clientConfig(dir.kubeconfig())
	if err != nil {
		return err
	}
	if err := until(starting, failed, func(ctx context.Context) error { return waitForReadyz(ctx, admin) }); err != nil {
		return err
	}

	progress("kube-controller-manager, kube-scheduler, node")
	run("kube-controller-manager", func() error { return runControllerManager(ctx, dir) })
	run("kube-scheduler", func() error { return runScheduler(ctx, dir) })
	node, err := clientConfig(dir.nodeKubeconfig())
	if err != nil {
		return err
	}
	run("simulated node", func() error {
		return kubelet.Run(ctx, kubelet.Options{Config: node, Node: nodeName, Version: kubernetesVersion, Now: time.Now})
	})
	if err := until(starting, failed, func(ctx context.Context) error { return waitForWorkloads(ctx, admin) }); err != nil {
		return err
	}
	cancel()

	debug.FreeOSMemory() // starting left a lot of garbage, and it may be idle from now on
	if opts.Ready != nil {
		opts.Ready(sandbox.Ready{URL: url, Kubeconfig: dir.kubeconfig(), Version: kubernetesVersion, LogFile: dir.logFile()})
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// until waits for wait, but not longer than everything is alive.
func until(ctx context.Context, failed <-chan error, wait func(context.Context) error) error {
	done := make(chan error, 1)
	go func() { done <- wait(ctx) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-done:
		return err
	}
}
