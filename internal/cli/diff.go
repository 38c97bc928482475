package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/app"
	remote "plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/engine"
	"plumb.dev/plumb/internal/source"
)

type diffOptions struct {
	revision      string
	argoNamespace string
	remoteBases   bool
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

Values of Secrets are shown as fingerprints, which tell equal from different
values within one output.

The exit code is 1 if there are differences.`,
		Example: `  plumb diff app/guestbook
  plumb diff ks/shop-staging --revision feature/new-colours`,
		Args:              arguments(1, 1),
		ValidArgsFunction: p.complete(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.diff(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts, args[0])
		},
	}
	cmd.Flags().StringVar(&opts.revision, "revision", "", "branch, tag or commit in place of the app's own `REVISION`")
	cmd.Flags().StringVar(&opts.argoNamespace, "argo-namespace", "argocd", "`NAMESPACE` of Argo CD's projects and repository Secrets")
	cmd.Flags().BoolVar(&opts.remoteBases, "allow-remote-bases", false, "allow kustomizations to build on other Git repositories, as the engine may")
	return cmd
}

func (p *program) diff(ctx context.Context, out, stderr io.Writer, opts diffOptions, arg string) error {
	format, err := p.format("json", "yaml")
	if err != nil {
		return err
	}
	namespace, err := p.scope()
	if err != nil {
		return err
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	t, err := c.find(ctx, arg, namespace)
	if err != nil {
		return err
	}
	config, err := p.restConfig()
	if err != nil {
		return err
	}
	ctl, err := controller.New(controller.Options{Config: config, ControlNamespace: opts.argoNamespace, Log: slog.New(slog.DiscardHandler)})
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
	var bases *source.Store
	if opts.remoteBases {
		bases = p.bases(cache)
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
		revision, next, drift, err := engine.PreviewRelease(ctx, sources, cl, spec, src, parts...)
		if err != nil {
			return err
		}
		return p.showRelease(out, stderr, format, spec.ID, revision, next, drift)
	}
	revision, plan, err := engine.Preview(ctx, sources, bases, cl, spec, src, parts...)
	if err != nil {
		return err
	}
	return p.showPlan(out, stderr, format, spec.ID, revision, plan)
}
