// Package server makes a running Plumb of its parts: sources, cluster, engine,
// controller and the HTTP endpoints. It is the only place that knows all of
// them, and it must not know what any of them does.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/engine"
	"plumb.dev/plumb/internal/release"
	"plumb.dev/plumb/internal/render/worker"
	"plumb.dev/plumb/internal/rendercache"
	"plumb.dev/plumb/internal/replica"
	"plumb.dev/plumb/internal/source"
	"plumb.dev/plumb/internal/source/archive"
	"plumb.dev/plumb/internal/source/webhook"
)

// Options configure a server. Config, Dir and Log must be set.
type Options struct {
	Config *rest.Config
	// Dir holds caches that may be deleted at any time.
	Dir string
	// Listen is the address of the HTTP endpoints; "" means none.
	Listen string
	// Listening is told the address once it is bound; may be nil.
	Listening func(net.Addr)
	// Delivering is called once, when all that exists has been read and the
	// engine begins to deliver; may be nil. Listening was called before.
	Delivering func()
	// NoArtifacts: what sources hold cannot be fetched from here.
	NoArtifacts bool
	// ArtifactAddress is where others reach the HTTP endpoints, such as
	// http://plumb.plumb-system.svc.cluster.local.; "" means the address that is
	// listened at.
	ArtifactAddress string
	// Secrets verify webhooks; they are asked for with each. Nil: there are none.
	Secrets func() webhook.Secrets
	// LocalSources permits repositories that are directories of this machine.
	LocalSources bool
	// RemoteBases permits kustomizations that build on other repositories,
	// which are then fetched from wherever they say.
	RemoteBases bool
	// ControlNamespace is where the Argo CD dialect keeps its Secrets and
	// projects; "" means argocd.
	ControlNamespace string
	// Tenancy is what is demanded of apps of the Flux dialect.
	Tenancy flux.Tenancy
	// LenientVariables makes variables empty that are not set, instead of
	// failing the rendering.
	LenientVariables bool
	// ReplicaID tells this process from others that serve the same cluster. It
	// is the same after a restart, and belongs to one process at a time.
	ReplicaID string
	// LeaseNamespace is where replicas find each other; "" means plumb-system.
	LeaseNamespace string
	Version        string
	// Program identifies the program exactly, down to the code: it does not
	// take up what another one rendered. "" keeps no renderings.
	Program string
	Log     *slog.Logger
	// Render says how to start processes for rendering. Without Args it
	// happens in this process.
	Render worker.Options
}

// Run serves until ctx ends. Should the cluster turn out not to be the one that
// it was, everything but the HTTP address and the caches is made anew.
func Run(ctx context.Context, opts Options) error {
	var listener net.Listener
	if opts.Listen != "" {
		var err error
		if listener, err = net.Listen("tcp", opts.Listen); err != nil {
			return fmt.Errorf("HTTP address %s cannot be listened on: %w", opts.Listen, err)
		}
		defer listener.Close()
		if opts.Listening != nil {
			opts.Listening(listener.Addr())
		}
	}
	release.Prepare()
	if told := opts.Delivering; told != nil {
		opts.Delivering = sync.OnceFunc(told)
	}
	group, ctx := errgroup.WithContext(ctx)
	var endpoints front
	if listener != nil {
		group.Go(func() error { return serve(ctx, listener, &endpoints) })
	}
	group.Go(func() error {
		for {
			err := run(ctx, opts, listener, &endpoints)
			if !errors.Is(err, engine.ErrRewound) || ctx.Err() != nil {
				return err
			}
			opts.Log.Warn("everything is read and compared anew", "reason", err)
		}
	})
	return group.Wait()
}

// run serves until ctx ends, or what it remembers counts no more.
func run(ctx context.Context, opts Options, listener net.Listener, endpoints *front) error {
	// The embedded control plane is the same binary: by this name an audit log
	// tells the engine from it.
	version := opts.Version + " (" + opts.ReplicaID + ")"
	lease := rest.CopyConfig(opts.Config)
	lease.UserAgent = "plumb-replica/" + version
	member, err := replica.New(replica.Options{Config: lease, Namespace: opts.LeaseNamespace, ID: opts.ReplicaID, Log: opts.Log})
	if err != nil {
		return err
	}
	opts.Config = rest.CopyConfig(opts.Config)
	opts.Config.UserAgent = "plumb-engine/" + version
	opts.Config.Dial = member.Fence().Behind(opts.Config.Dial)
	sources := source.Open(source.Options{Dir: filepath.Join(opts.Dir, "git"), Local: opts.LocalSources, Proxy: http.ProxyFromEnvironment})
	ctl, err := controller.New(controller.Options{Config: opts.Config, Log: opts.Log, ControlNamespace: opts.ControlNamespace, Tenancy: opts.Tenancy, Shared: true})
	if err != nil {
		return err
	}
	var eng *engine.Engine
	watched := func(w engine.Watcher) cluster.Options {
		return cluster.Options{
			Managers: []string{flux.FieldManager, flux.HelmFieldManager, argo.FieldManager},
			Keys:     append(flux.Keys(), argo.Keys()...),
			Strip:    append(flux.Strip(), argo.Strip()...),
			OnEvent:  w.Event, OnContact: w.Contact,
			Version: version,
		}
	}
	cl, err := cluster.Connect(opts.Config, watched(engine.Watcher{
		Event: func(ev cluster.Event) { eng.Observed(ev) }, Contact: func(bool) { eng.Contact() }}))
	if err != nil {
		return err
	}
	defer cl.Close()
	connect := func(access app.Access, w engine.Watcher) (*cluster.Cluster, error) {
		config, err := cluster.Config(access)
		if err != nil {
			return nil, err
		}
		config.Dial = member.Fence().Behind(config.Dial) // late writes harm another cluster as well
		options := watched(w)
		options.Token = cl.Tokens(access)
		return cluster.Connect(config, options)
	}
	var bases *source.Store
	if opts.RemoteBases {
		bases = sources
	}
	var rendered *rendercache.Cache
	if opts.Program != "" {
		rendered = rendercache.Open(rendercache.Options{Dir: filepath.Join(opts.Dir, "rendered"), Program: opts.Program})
		defer rendered.Close()
	}
	var archives *archive.Store
	if listener != nil && !opts.NoArtifacts {
		address := strings.TrimSuffix(opts.ArtifactAddress, "/")
		if address == "" {
			address = "http://" + listener.Addr().String()
		}
		archives = archive.Open(archive.Options{Dir: filepath.Join(opts.Dir, "artifacts"), Address: address})
	}
	metrics := newFluxMetrics(ctl.FluxResources)
	options := engine.Options{Sources: sources, Bases: bases, Rendered: rendered, Archives: archives, Cluster: cl, Connect: connect,
		Publish: ctl.Publish, PublishSource: ctl.PublishSource, Keys: ctl.Keys, Worked: metrics.worked, LenientVariables: opts.LenientVariables, Log: opts.Log,
		Owners: []app.Owner{flux.Owner(), argo.Owner()}}
	if len(opts.Render.Args) > 0 {
		pool := worker.New(opts.Render)
		defer pool.Close()
		pool.Warm()
		options.Render = pool.Render
	}
	eng = engine.New(options)
	ctl.Use(metered{starting{eng, opts.Delivering}, metrics})

	endpoints.show(handler(eng, ctl, cl, member, metrics, opts))
	defer endpoints.show(nil)
	group, ctx := errgroup.WithContext(ctx)
	key, err := member.Key(ctx)
	if err != nil { // ctx ended
		return group.Wait()
	}
	eng.UseKey(key)
	if member.Join(ctx) != nil { // ctx ended
		return group.Wait()
	}
	// The Lease is kept until all work has ended, and then given back.
	membership, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	ended := make(chan struct{})
	var why error
	go func() {
		defer close(ended)
		why = member.Run(membership, replica.Work{Narrow: ctl.Narrow, Widen: ctl.Widen, Pushed: func(urls ...string) { eng.Pushed(urls...) }})
	}()
	group.Go(func() error {
		select {
		case <-ended:
			return why
		case <-ctx.Done():
			return nil
		}
	})
	group.Go(func() error { return eng.Run(ctx) })
	group.Go(func() error { return ctl.Run(ctx) })
	err = group.Wait()
	end()
	<-ended
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := member.Leave(leaving); err != nil {
		opts.Log.Warn("other replicas wait until the Lease expires", "error", err)
	}
	return err
}

// starting is an engine that tells when it is started.
type starting struct {
	*engine.Engine
	told func()
}

func (s starting) Start() {
	s.Engine.Start()
	if s.told != nil {
		s.told()
	}
}

func serve(ctx context.Context, listener net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	stop := context.AfterFunc(ctx, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
	})
	defer stop()
	if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("HTTP: %w", err)
	}
	return nil
}
