package cli

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/adopt"
	"plumb.dev/plumb/internal/app"
	remote "plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/engine"
	"plumb.dev/plumb/internal/source"
)

type diffOptions struct {
	revision string
	rules    rules
}

func diffCommand(p *program) *cobra.Command {
	var opts diffOptions
	cmd := &cobra.Command{
		Use:     "diff APP",
		Short:   "Show field by field how the cluster differs from Git",
		GroupID: groupSee,
		Long: `Show what a sync of the app would create, change and delete, field by field. The
repository is fetched and rendered here, and the API server is asked, by dry
run and with your rights, what would become of each object. Nothing is written.
Of a HelmRelease it tells what Helm is to do next, and if that is nothing, how
the cluster differs from what Helm delivered last.
An app that goes to another cluster is compared with that one, by the credentials
that its Secret holds.

With --revision, Git is taken at another revision than the app's own: what
would happen if it were delivered.

The app is taken as the engine would take it: by the flags of the Plumb that is
installed. Those given here count instead, as for one outside of the cluster.

Values of Secrets are shown as fingerprints, which tell equal from different
values within one output.

The exit code is 1 if there are differences.`,
		Example: `  plumb diff app/guestbook
  plumb diff ks/shop-staging --revision feature/new-colours`,
		Args:              arguments(1, 1),
		ValidArgsFunction: p.complete(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.diff(cmd, &opts, args[0])
		},
	}
	cmd.Flags().StringVar(&opts.revision, "revision", "", "branch, tag or commit in place of the app's own `REVISION`")
	opts.rules.add(cmd.Flags())
	return cmd
}

func (p *program) diff(cmd *cobra.Command, opts *diffOptions, arg string) error {
	ctx, out, stderr := cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	format, err := p.format("json", "yaml")
	if err != nil {
		return err
	}
	_, t, err := p.one(ctx, arg)
	if err != nil {
		return err
	}
	config, err := p.restConfig()
	if err != nil {
		return err
	}
	installed, err := adopt.Connect(config)
	if err != nil {
		return err
	}
	if err := p.engineRules(ctx, installed, cmd.Flags(), noteTo(stderr)); err != nil {
		return err
	}
	ctl, err := controller.New(controller.Options{Config: config, ControlNamespace: opts.rules.argoNamespace, Tenancy: opts.rules.tenancy, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	spec, src, err := ctl.Resolve(ctx, t.view().ID)
	if err != nil {
		return err
	}
	if opts.revision != "" {
		src.Ref = app.GitRef{Any: opts.revision}
	}
	options := remote.Options{
		Managers: []string{flux.FieldManager, flux.HelmFieldManager, argo.FieldManager},
		Keys:     append(flux.Keys(), argo.Keys()...), Version: p.build.Version}
	if spec.Target.Cluster != "" {
		to, err := ctl.Cluster(ctx, spec)
		if err != nil {
			return err
		}
		home, err := remote.Connect(config, options)
		if err != nil {
			return err
		}
		defer home.Close()
		options.Token = home.Tokens(to.Access)
		if config, err = remote.Config(to.Access); err != nil {
			return fmt.Errorf("cluster %s: %w", to.ID, err)
		}
	}
	cl, err := remote.Connect(config, options)
	if err != nil {
		return err
	}
	defer cl.Close()
	cache, done, err := p.cache("repositories")
	if err != nil {
		return err
	}
	defer done()
	sources := source.Open(source.Options{Dir: cache, Local: true, Proxy: p.env.Proxy, Now: p.env.Now})
	looking := engine.Looking{Sources: sources, Cluster: cl, LenientVariables: opts.rules.lenientVariables}
	if opts.rules.remoteBases {
		looking.Bases = p.bases(cache)
	}
	parts, err := engine.Parts(ctx, sources, src, ctl.Source)
	if err != nil {
		return err
	}
	if spec.Release != nil {
		of := *spec.Release
		if spec.Release = &of; of.Drift.Mode == app.DriftOff {
			of.Drift.Mode = app.DriftWarn // here it is asked for
		}
		revision, next, drift, err := engine.PreviewRelease(ctx, looking, spec, src, parts...)
		if err != nil {
			return err
		}
		return p.showRelease(out, stderr, format, spec.ID, revision, next, drift)
	}
	revision, plan, err := engine.Preview(ctx, looking, spec, src, parts...)
	if err != nil {
		return err
	}
	return p.showPlan(out, stderr, format, spec.ID, revision, plan)
}
