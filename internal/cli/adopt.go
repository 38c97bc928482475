package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/adopt"
	"plumb.dev/plumb/internal/source"
)

type adoptOptions struct {
	dryRun      bool
	yes         bool
	remoteBases bool
	timeout     time.Duration
}

func adoptCommand(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:               "adopt",
		Short:             "Take over what another tool delivers",
		GroupID:           groupRun,
		Long:              `Take over a cluster from another tool that keeps it true to Git.`,
		Args:              knownCommand,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(adoptFluxCommand(p))
	return cmd
}

func adoptFluxCommand(p *program) *cobra.Command {
	var opts adoptOptions
	cmd := &cobra.Command{
		Use:   "flux",
		Short: "Take over from a running Flux",
		Long: `Take over from a Flux that runs in the cluster. First each Kustomization is
compared, as plumb diff does it, with what Plumb would do about it, and each
HelmRelease with what is stored of it: that must be nothing. Then Flux's kustomize-controller, helm-controller and source-controller
are scaled to 0, and their pods waited for; how many replicas they had is noted in
an annotation. Plumb's definitions of the custom resources take the place of
Flux's. From then on a Plumb that is installed goes on; it waits as long as Flux
runs. No resource of yours is changed, and nothing that was delivered is touched.

If there are differences, or resources that Plumb does not know how to deliver,
nothing is done, unless you confirm it or write --yes. --dry-run only compares.

-n names the namespace of Flux, flux-system by default. Resources of all
namespaces are compared. plumb release flux goes back.

The exit code is 1 if there are differences and nothing was done about them.`,
		Example: `  plumb adopt flux --dry-run
  plumb adopt flux`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.adoptFlux(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&opts.dryRun, "dry-run", false, "compare, and tell what would be done")
	flags.BoolVar(&opts.yes, "yes", false, "take over in spite of differences")
	flags.BoolVar(&opts.remoteBases, "allow-remote-bases", false, "allow kustomizations to build on other Git repositories, as the engine may")
	flags.DurationVar(&opts.timeout, "timeout", defaultTimeout, "how long to wait for Flux to end")
	return cmd
}

// fluxNamespace is where Flux is, unless -n says otherwise.
func (p *program) fluxNamespace() (string, error) {
	switch {
	case p.allNamespaces:
		return "", usage("-A makes no sense here").hint("-n names the namespace of Flux")
	case p.namespace != "":
		return p.namespace, nil
	}
	return "flux-system", nil
}

func (p *program) adoptFlux(ctx context.Context, in io.Reader, out, stderr io.Writer, opts adoptOptions) error {
	format, err := p.format("wide", "json", "yaml")
	if err != nil {
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
	a := adoption{program: p, cluster: c, opts: opts, out: out, stderr: stderr, namespace: namespace}
	if err := a.look(ctx); err != nil {
		return err
	}
	if format == "json" || format == "yaml" {
		a.out = io.Discard
	}
	a.show(format == "wide")
	if err := a.decide(ctx, in); err != nil && format != "" && format != "wide" {
		if writeErr := write(out, format, a.json()); writeErr != nil {
			return writeErr
		}
		return err
	} else if err != nil {
		return err
	}
	if format == "json" || format == "yaml" {
		return write(out, format, a.json())
	}
	return nil
}

// adoption is one run of `adopt flux`.
type adoption struct {
	*program
	cluster     *adopt.Cluster
	opts        adoptOptions
	out, stderr io.Writer
	namespace   string

	controllers []adopt.Controller
	resources   adopt.Resources
	apps        []adopt.Comparison
	definitions []string // that differ from Plumb's
	installed   []adopt.Installed
	alive       []string
	done        bool
}

// look finds out all there is to know. It writes nothing.
func (a *adoption) look(ctx context.Context) (err error) {
	if a.controllers, err = a.cluster.Controllers(ctx, a.namespace); err != nil {
		return err
	}
	replaced := 0
	for _, ctl := range a.controllers {
		if ctl.Replaced {
			replaced++
		}
		if ctl.Operator && ctl.Replaced && ctl.Running() {
			return no("%s is kept running by the Flux Operator, which would start it again", ctl.Component).
				hint("scale the Flux Operator to 0, and take its FluxInstance out of Git, first")
		}
	}
	if replaced == 0 {
		return notFound("there is no Flux in namespace %s", a.namespace).hint("-n names the namespace that Flux is installed in")
	}
	if a.resources, err = a.cluster.Resources(ctx); err != nil {
		return err
	}
	if a.definitions, err = a.cluster.Define(ctx, true); err != nil {
		return err
	}
	if a.installed, err = a.cluster.Installed(ctx); err != nil {
		return err
	}
	if a.alive, err = a.cluster.Alive(ctx); err != nil {
		return err
	}
	cache, done, err := a.cache("repositories")
	if err != nil {
		return err
	}
	defer done()
	comparer := adopt.Comparer{
		Sources: source.Open(source.Options{Dir: cache, Local: true, Proxy: a.env.Proxy, Now: a.env.Now}),
		Version: a.build.Version,
	}
	if a.opts.remoteBases {
		comparer.Bases = a.bases(cache)
	}
	if a.env.ErrorTerminal {
		comparer.Progress = func(done, all int) { fmt.Fprintf(a.stderr, "\rcompared %d of %d", done, all) }
		defer fmt.Fprintln(a.stderr)
	}
	a.apps, err = comparer.Compare(ctx, a.cluster, a.resources.Apps)
	return err
}

// differs reports whether taking over would change anything, or leave
// something undelivered.
func (a *adoption) differs() bool {
	for _, c := range a.apps {
		if !c.Same() {
			return true
		}
	}
	return len(a.resources.Unserved) > 0
}

// decide takes over, or says why not.
func (a *adoption) decide(ctx context.Context, in io.Reader) error {
	switch {
	case a.opts.dryRun && a.differs():
		return &Error{Code: ExitNo}
	case a.opts.dryRun:
		return nil
	case a.differs() && !a.opts.yes && !a.confirm(in, "Take over in spite of the differences?"):
		return no("nothing was done: Plumb would change what is there").
			hint("settle the differences in Git, or write --yes to take over in spite of them")
	}
	ctx, cancel := context.WithTimeout(ctx, a.opts.timeout)
	defer cancel()
	if err := a.takeOver(ctx); err != nil {
		return err
	}
	a.done = true
	a.sayNext()
	return nil
}

func (a *adoption) takeOver(ctx context.Context) error {
	say := func(format string, args ...any) { fmt.Fprintf(a.out, format+"\n", args...) }
	err := a.cluster.Stop(ctx, a.controllers, func(ctl adopt.Controller) {
		say("%s stopped, none of its pods is left", ctl.Component)
	})
	if err != nil {
		return err
	}
	changed, err := a.cluster.Define(ctx, false)
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		say("%d definitions of custom resources are Plumb's now", len(changed))
	}
	return a.cluster.Resume(ctx, func(p adopt.Installed) { say("Plumb in %s started again", p.Namespace) })
}

// confirm asks who sits at the terminal; nobody there is a no.
func (a *adoption) confirm(in io.Reader, question string) bool {
	if !a.env.InputTerminal || !a.env.ErrorTerminal {
		return false
	}
	fmt.Fprintf(a.stderr, "%s [y/N] ", question)
	var answer string
	_, _ = fmt.Fscanln(in, &answer) // an empty answer is a no
	return answer == "y" || answer == "yes"
}
