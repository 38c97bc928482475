// Package up is what `plumb up` does: it brings up a Git server, a Kubernetes
// and Plumb's engine beside each other, shows them a repository, and looks
// after them until it is told to stop. The Git server lives in this process;
// the other two are children, the same program started again.
//
// It must not know how any of them works, and it prints nothing but progress:
// what a person reads in the end is the command's business.
package up

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/child"
	"plumb.dev/plumb/internal/sandbox/gitserver"
)

// Up is everything that runs.
type Up struct {
	opts     Options
	data     *dataDir
	settings settings
	progress *progress
	hook     *hook
	git      *gitserver.Server
	cluster  *cluster

	// The children end in this order, each with all that keeps it alive.
	engine, kubernetes kept

	mu      sync.Mutex
	state   State
	started bool
}

// kept is a child that is kept alive.
type kept struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func (k kept) stop() {
	if k.cancel != nil {
		k.cancel()
		<-k.done
	}
}

// Start brings everything up and returns when the repository is delivered, or
// fails to be for a reason of its own. When ctx ends later, nothing happens:
// Close is to be called. Errors are of type Problem if something can be done
// about them.
func Start(ctx context.Context, opts Options) (*Up, error) {
	u := &Up{opts: opts, progress: &progress{out: opts.Progress, terminal: opts.Terminal, now: time.Now}}
	err := u.start(ctx)
	if err == nil {
		return u, nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	u.progress.failed()
	u.Close()
	return nil, err
}

func (u *Up) start(ctx context.Context) error {
	before, err := u.openData(ctx)
	if err != nil {
		return err
	}
	if err := u.startGit(ctx, before); err != nil {
		return err
	}
	if err := u.reachCluster(ctx); err != nil {
		return err
	}
	if err := u.define(ctx); err != nil {
		return err
	}
	if err := u.startEngine(ctx); err != nil {
		return err
	}
	if err := u.deliver(ctx); err != nil {
		return err
	}
	u.mu.Lock()
	u.started = true
	u.mu.Unlock()
	return nil
}

// openData takes the directory and decides what is to be delivered.
func (u *Up) openData(ctx context.Context) (before settings, err error) {
	if u.data, err = openData(ctx, u.opts.Data); err != nil {
		return before, err
	}
	u.state.Data = u.data.path
	if before, err = u.data.readSettings(); err != nil {
		return before, err
	}
	u.settings.Content, err = chooseContent(ctx, u.opts, before.Content)
	if err != nil {
		return before, err
	}
	// Said before anything is started: a taken port is no matter of waiting.
	u.settings.HTTPPort, err = choosePort("the engine", "--http-port", u.opts.HTTPPort, before.HTTPPort)
	if err != nil {
		return before, err
	}
	if _, err = choosePort("Kubernetes", "--kubernetes-port", u.opts.KubernetesPort, 0); err != nil {
		return before, err
	}
	if u.opts.Kubeconfig != "" {
		if _, err := os.Stat(u.opts.Kubeconfig); err != nil {
			return before, problem("--kubeconfig is the file of an existing cluster", "kubeconfig: %w", err)
		}
	}
	return before, nil
}

func (u *Up) startGit(ctx context.Context, before settings) error {
	u.progress.begin("Git server")
	secret, err := u.data.hookSecret()
	if err != nil {
		return err
	}
	u.hook = newHook(secret)
	background := context.WithoutCancel(ctx)
	u.git, err = startGit(u.data, u.opts.GitPort, before.GitPort, func(name string) {
		go u.hook.pushed(background, u.git.RepoURL(name))
	})
	if err != nil {
		return err
	}
	u.state.Git = u.git.URL()
	u.settings.GitPort = portOf(u.git.URL())
	if err := u.data.writeSettings(u.settings); err != nil {
		return err
	}
	u.progress.done("Git server at %s", u.git.URL())
	if before.GitPort != 0 && before.GitPort != u.settings.GitPort {
		u.progress.warn("the Git server was at port %d before: clones and the Applications in the sample name that address", before.GitPort)
	}
	return nil
}

// reachCluster starts Kubernetes, or finds the existing one.
func (u *Up) reachCluster(ctx context.Context) (err error) {
	if u.opts.Kubeconfig != "" {
		u.progress.begin("Kubernetes")
		if u.state.Kubeconfig, err = filepath.Abs(u.opts.Kubeconfig); err != nil {
			return problem("give the full path with --kubeconfig", "kubeconfig: %w", err)
		}
		if u.cluster, err = connect(u.state.Kubeconfig, u.opts.Context, true); err != nil {
			return err
		}
		u.progress.done("cluster of %s answers", u.state.Kubeconfig)
		return nil
	}
	u.progress.begin("Kubernetes")
	log, err := u.data.openLog("kubernetes-stderr.log")
	if err != nil {
		return err
	}
	start := func(ctx context.Context) (*sandbox.Cluster, error) {
		return sandbox.Start(ctx, sandbox.Options{
			Executable: u.opts.Executable, Dir: u.data.kubernetes(), Port: u.opts.KubernetesPort,
			Stderr: log, Inherit: u.data.inherited(), Progress: u.progress.detail,
		})
	}
	cluster, err := start(ctx)
	if err != nil {
		return problem("--kubernetes-port chooses another port, --data another directory", "%w", err)
	}
	u.state.Kubeconfig, u.state.PIDs.Kubernetes = cluster.Kubeconfig, cluster.PID
	u.kubernetes = u.keep(ctx, "Kubernetes", cluster.Process, func(ctx context.Context) (*child.Process, error) {
		cluster, err := start(ctx)
		if err != nil {
			return nil, err
		}
		u.update(func(s *State) { s.PIDs.Kubernetes = cluster.PID })
		return cluster.Process, nil
	})
	if u.cluster, err = connect(cluster.Kubeconfig, "", false); err != nil {
		return err
	}
	u.progress.done("Kubernetes %s ready", cluster.Version)
	return nil
}

func (u *Up) define(ctx context.Context) error {
	u.progress.begin("custom resource definitions")
	kept, err := u.cluster.define(ctx)
	if err != nil {
		return err
	}
	u.progress.done("custom resource definitions served")
	for _, name := range kept {
		u.progress.warn("%s was defined before, by others, and is left as it is", name)
	}
	return nil
}

// startEngine starts the engine, which from now on is where it is now.
func (u *Up) startEngine(ctx context.Context) error {
	u.progress.begin("engine")
	log, err := u.data.openLog("engine.log")
	if err != nil {
		return err
	}
	start := func(ctx context.Context) (*child.Process, error) {
		u.hook.engineAt(ctx, "")
		process, ready, err := child.Start[EngineReady](ctx, child.Options{
			Name: "the engine", Executable: u.opts.Executable, Args: u.engineArgs(),
			Log: log.Name(), Stderr: log, Inherit: u.data.inherited(),
		})
		if err != nil {
			return nil, err
		}
		u.update(func(s *State) { s.HTTP, s.PIDs.Engine = ready.HTTP, process.PID })
		go u.hook.engineAt(context.WithoutCancel(ctx), ready.HTTP)
		return process, nil
	}
	process, err := start(ctx)
	if err != nil {
		return problem(fmt.Sprintf("%s tells more", log.Name()), "%w", err)
	}
	u.settings.HTTPPort = portOf(u.State().HTTP)
	u.engine = u.keep(ctx, "the engine", process, start)
	if err := u.data.writeSettings(u.settings); err != nil {
		return err
	}
	u.progress.done("engine at %s", u.State().HTTP)
	return nil
}

func (u *Up) engineArgs() []string {
	args := []string{
		"serve", "--until-stdin-closes", "--kubeconfig", u.state.Kubeconfig,
		"--listen", fmt.Sprintf("127.0.0.1:%d", u.settings.HTTPPort),
		"--cache", u.data.cache(), "--webhook-secrets", u.data.secrets(),
	}
	if u.opts.Pprof != "" {
		args = append(args, "--pprof", u.opts.Pprof)
	}
	if u.opts.Context != "" {
		args = append(args, "--context", u.opts.Context)
	}
	if u.opts.RenderWorkers != 0 {
		args = append(args, "--render-workers", fmt.Sprint(u.opts.RenderWorkers))
	}
	// Who can write to an embedded cluster is who runs this. Others may be able
	// to write to an existing one, and must not read directories by way of it.
	if u.opts.Kubeconfig == "" || u.settings.Content.local() {
		args = append(args, "--allow-local-repositories")
	}
	if u.opts.RemoteBases {
		args = append(args, "--allow-remote-bases")
	}
	return args
}

// deliver shows the engine what to deliver, and waits for that.
func (u *Up) deliver(ctx context.Context) error {
	if u.settings.Content.Kind == contentSample {
		u.progress.begin("sample repository")
		made, err := seed(ctx, u.git)
		if err != nil {
			return err
		}
		if made {
			u.progress.done("sample repository made")
		} else {
			u.progress.drop()
		}
	}
	for _, o := range u.settings.Content.bootstrap(u.git) {
		if err := u.cluster.ensure(ctx, o.resource, o.Unstructured); err != nil {
			return err
		}
	}
	u.progress.begin("apps")
	watching, stop := context.WithCancel(ctx)
	defer stop()
	apps, err := follow(watching, u.cluster)
	if err != nil {
		return err
	}
	well, unwell, err := apps.settle(ctx, u.progress.detail)
	if err != nil {
		return err
	}
	if well+len(unwell) == 0 {
		u.progress.drop()
		return nil
	}
	u.progress.done("%d of %d apps and sources healthy", well, well+len(unwell))
	for _, v := range unwell {
		u.progress.warn("%s %s/%s is not healthy: %s", v.ID.Kind, v.ID.Namespace, v.ID.Name, v.Message)
	}
	return nil
}

// keep keeps a child alive until it is stopped.
func (u *Up) keep(ctx context.Context, name string, process *child.Process, start func(context.Context) (*child.Process, error)) kept {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k := kept{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		keep(ctx, name, process, start, u.notice)
	}()
	return k
}

func (u *Up) notice(text string) {
	u.mu.Lock()
	started := u.started
	u.mu.Unlock()
	if started && u.opts.Notice != nil {
		u.opts.Notice(text)
		return
	}
	u.progress.warn("%s", text)
}

// update changes the state, and the file that tells it.
func (u *Up) update(change func(*State)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.state)
	if err := writeJSON(u.data.state(), u.state); err != nil {
		u.progress.warn("%s cannot be written: %v", u.data.state(), err)
	}
}

// State tells where everything is now.
func (u *Up) State() State {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state
}

// Content is sample, repo or none, with the address of the repository.
func (u *Up) Content() (kind, address string) {
	if u.settings.Content.Kind == contentSample {
		return contentSample, u.git.RepoURL(sampleName)
	}
	return u.settings.Content.Kind, u.settings.Content.URL
}

// Close ends everything, the engine first. The data stays.
func (u *Up) Close() {
	u.engine.stop()
	u.kubernetes.stop()
	if u.git != nil {
		u.git.Close()
	}
	if u.data != nil {
		u.data.close()
	}
}
