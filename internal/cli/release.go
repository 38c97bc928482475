package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/adopt"
)

type releaseOptions struct {
	dryRun  bool
	timeout time.Duration
}

func releaseCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "release",
		Short:             "Hand back to the tool that Plumb has taken over from",
		GroupID:           groupRun,
		Long:              `Hand a cluster back to the tool that Plumb has taken over from.`,
		Args:              knownCommand,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(releaseFluxCommand(p))
	return cmd
}

func releaseFluxCommand(p *program) *cobra.Command {
	var opts releaseOptions
	cmd := &cobra.Command{
		Use:   "flux",
		Short: "Hand back to Flux",
		Long: `Hand back to the Flux that plumb adopt flux has stopped. Plumb's Deployment is
scaled to 0 and its pods waited for, what Plumb keeps for itself in statuses is
removed, and Flux's controllers are scaled up to what they were. Nothing that was
delivered is touched: Flux finds its own finalizers, inventories and field managers.

Plumb's definitions of the custom resources stay: Flux works with them. Flux's own
come back with its next reconciliation where Git holds them, otherwise with
flux install.

A Plumb that runs outside of the cluster must be ended first. -n names the
namespace of Flux, flux-system by default.`,
		Example: `  plumb release flux --dry-run
  plumb release flux`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.releaseFlux(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&opts.dryRun, "dry-run", false, "only tell what would be done")
	flags.DurationVar(&opts.timeout, "timeout", defaultTimeout, "how long to wait for Plumb to end, and for Flux to be ready")
	return cmd
}

func (p *program) releaseFlux(ctx context.Context, out, stderr io.Writer, opts releaseOptions) error {
	if _, err := p.format(); err != nil {
		return err
	}
	namespace, err := p.fluxNamespace()
	if err != nil {
		return err
	}
	config, err := p.restConfig()
	if err != nil {
		return err
	}
	c, err := adopt.Connect(config)
	if err != nil {
		return err
	}
	controllers, err := c.Controllers(ctx, namespace)
	if err != nil {
		return err
	}
	var back []adopt.Controller
	for _, ctl := range controllers {
		switch {
		case ctl.Before != nil:
			back = append(back, ctl)
		case ctl.Replaced && ctl.Running():
			return no("%s runs already", ctl.Component).hint("plumb adopt flux stops it; plumb get tells what is delivered")
		}
	}
	refused, err := c.Refusals(ctx)
	if err != nil {
		return err
	}
	for _, r := range refused {
		fmt.Fprintf(stderr, "warning: %s\n", r)
	}
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	if opts.dryRun {
		return p.releaseSteps(ctx, c, back, say)
	}
	ctx, cancel := context.WithTimeout(ctx, opts.timeout)
	defer cancel()
	err = c.Halt(ctx, func(i adopt.Installed) { say("Plumb in %s stopped, none of its pods is left", i.Namespace) })
	if outside := (*adopt.OutsideError)(nil); errors.As(err, &outside) {
		return no("%w", err).hint("end that process, and run plumb release flux again; Flux is not started before")
	}
	if err != nil {
		return err
	}
	cleaned, err := c.Forget(ctx)
	if err != nil {
		return err
	}
	say("%d statuses rid of what Plumb keeps in them", cleaned)
	err = c.Start(ctx, back, func(ctl adopt.Controller) { say("%s runs again, with %d replicas", ctl.Component, *ctl.Before) })
	if err != nil {
		return err
	}
	if len(back) == 0 {
		say("\nThere is no Flux in namespace %s that Plumb has stopped. Install it:\n\n  flux bootstrap", namespace)
		return nil
	}
	say("\nPlumb's definitions of the custom resources are still there. Where Git does not hold Flux's:\n\n  flux install")
	say("\nTo take over again:\n\n  plumb adopt flux")
	return nil
}

// releaseSteps tells what would be done.
func (p *program) releaseSteps(ctx context.Context, c *adopt.Cluster, back []adopt.Controller, say func(string, ...any)) error {
	installed, err := c.Installed(ctx)
	if err != nil {
		return err
	}
	for _, i := range installed {
		say("Plumb in %s would be stopped", i.Namespace)
	}
	alive, err := c.Alive(ctx)
	if err != nil {
		return err
	}
	for _, lease := range alive {
		say("the Lease %s would be waited for: if it is of a Plumb outside of the cluster, end that first", lease)
	}
	for i := len(back) - 1; i >= 0; i-- {
		say("%s would be scaled to %d", back[i].Component, *back[i].Before)
	}
	if len(back) == 0 {
		say("there is no Flux that Plumb has stopped: it would have to be installed")
	}
	return nil
}
