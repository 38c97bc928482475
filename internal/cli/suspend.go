package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

type suspendOptions struct{ all bool }

func suspendCommand(p *program) *cobra.Command {
	return suspendOrResume(p, true, &cobra.Command{
		Use:   "suspend (APP | SOURCE)... | --all",
		Short: "Stop delivering apps until they are resumed",
		Long: `Stop delivering apps, or fetching sources, until they are resumed. Drift is
neither undone nor looked for meanwhile, and nothing is deleted.

A Kustomization or GitRepository is suspended by spec.suspend, an Application by
the annotation argocd.argoproj.io/skip-reconcile. Where the resource itself is
delivered from Git with that field in it, change it there.`,
		Example: `  plumb suspend ks/shop
  plumb suspend --all -n team-a`,
	})
}

func resumeCommand(p *program) *cobra.Command {
	return suspendOrResume(p, false, &cobra.Command{
		Use:   "resume (APP | SOURCE)... | --all",
		Short: "Go on with apps that were suspended",
		Long: `Go on delivering apps, or fetching sources, that were suspended. They are looked
at right away; plumb get -w shows how they fare.`,
		Example: `  plumb resume ks/shop
  plumb resume --all -A`,
	})
}

func suspendOrResume(p *program, on bool, cmd *cobra.Command) *cobra.Command {
	var opts suspendOptions
	cmd.GroupID = groupAct
	cmd.Args = arguments(0, -1)
	cmd.ValidArgsFunction = p.complete(true)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.suspend(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts, on, args)
	}
	cmd.Flags().BoolVar(&opts.all, "all", false, "all apps of the namespace that -n names, or with -A of the cluster")
	return cmd
}

func (p *program) suspend(ctx context.Context, out, stderr io.Writer, opts suspendOptions, on bool, args []string) error {
	if _, err := p.format(); err != nil {
		return err
	}
	namespace, err := p.scope()
	if err != nil {
		return err
	}
	switch {
	case opts.all && len(args) > 0:
		return usage("--all and names exclude each other").hint("leave one out")
	case opts.all && namespace == "" && !p.allNamespaces:
		return usage("--all of which namespace?").hint("add -n NAMESPACE, or -A for the whole cluster")
	case !opts.all && len(args) == 0:
		return usage("which app?").hint("name apps, or write --all")
	}
	c, err := p.connect()
	if err != nil {
		return err
	}
	targets, err := c.finds(ctx, args, namespace)
	if err != nil {
		return err
	}
	if opts.all {
		// Only those that change are told of.
		streams, err := c.streams(ctx, selection{kinds: appKinds()}, namespace)
		if err != nil {
			return err
		}
		for _, s := range streams {
			for _, u := range s.start.items {
				if t := (target{s.kind, u}); t.view().Suspended != on {
					targets = append(targets, t)
				}
			}
		}
		if len(targets) == 0 {
			fmt.Fprintln(stderr, "nothing to do")
		}
	}
	for _, t := range targets {
		if err := c.setSuspended(ctx, out, t, on); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) setSuspended(ctx context.Context, out io.Writer, t target, on bool) error {
	if t.kind.suspend == nil {
		return anothers(t, "suspended").hint("suspend the apps that are delivered from it")
	}
	is := false
	if t.kind.app != nil {
		is = t.view().Suspended
	} else {
		is = t.kind.source(t.object).Suspended
	}
	done, how := "resumed", "removed"
	if on {
		done, how = "suspended", "set"
	}
	if is == on {
		fmt.Fprintf(out, "%s was %s already\n", t.full(), done)
		return nil
	}
	if _, err := c.patch(ctx, t, t.kind.suspend(on)); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %s (%s %s)\n", t.full(), done, how, t.kind.suspendedBy)
	return nil
}
