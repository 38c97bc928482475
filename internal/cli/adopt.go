package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/adopt"
	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/source"
)

func adoptCommand(p *program) *cobra.Command {
	return handoverCommand("adopt", "Take over what another tool delivers",
		`Take over a cluster from another tool that keeps it true to Git.`, adoptFluxCommand(p))
}

func adoptFluxCommand(p *program) *cobra.Command {
	var opts handoverOptions
	var rules rules
	cmd := &cobra.Command{
		Use:   "flux",
		Short: "Take over from a running Flux",
		Long: `Take over from a Flux that runs in the cluster. First each Kustomization is
compared, as plumb diff does it, with what Plumb would do about it, and each
HelmRelease with what is stored of it: that must be nothing. Then Flux's
kustomize-controller, helm-controller and source-controller are scaled to 0, and
their pods waited for; how many replicas they had is noted in an annotation.
Plumb's definitions of the custom resources take the place of Flux's. Plumb, which
waits as long as Flux runs, goes on, and it is waited for until it has taken up
each Kustomization and HelmRelease. No resource of yours is changed, and nothing
that was delivered is touched.

If there are differences, or resources that Plumb does not know how to deliver, or
demands on tenants that Flux makes and Plumb would not, or if there is no Plumb,
nothing is done, unless you confirm it or write --yes. --dry-run only compares.

It is compared by the rules that will hold: the flags of the Plumb that is
installed. Those given here count instead, as for a Plumb outside of the cluster.

-n names the namespace of Flux, flux-system by default. Resources of all
namespaces are compared. plumb release flux goes back. Interrupted, it can be run
again.

The exit code is 0 when all is taken up and ready, 1 if there are differences and
nothing was done about them, or if something is not ready, and 5 if the time was
up.`,
		Example: `  plumb adopt flux --dry-run
  plumb adopt flux`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := p.handover(cmd, opts, "wide", "json", "yaml")
			if err != nil {
				return err
			}
			a := &adoption{handover: h, rules: &rules, flags: cmd}
			return a.run(cmd.Context())
		},
	}
	opts.add(cmd.Flags(), "compare, and tell what would be done", "take over in spite of differences",
		"how long to wait for Flux to end, and for Plumb to have taken up all")
	rules.add(cmd.Flags())
	return cmd
}

// adoption is one run of `adopt flux`.
type adoption struct {
	*handover
	rules *rules
	flags *cobra.Command

	controllers []adopt.Controller
	resources   adopt.Resources
	apps        []adopt.Comparison
	definitions []string // that differ from Plumb's
	laxer       []string // flags of Flux that Plumb has not
	installed   []adopt.Installed
	alive       []string

	done   bool // Flux was stopped
	takeup *takeup
}

func (a *adoption) run(ctx context.Context) error {
	if err := a.look(ctx); err != nil {
		return err
	}
	a.show(a.format == "wide")
	err := a.decide(ctx)
	if a.machine() {
		if writeErr := write(a.result, a.format, a.json()); writeErr != nil {
			return writeErr
		}
	}
	return err
}

// look finds out all there is to know. It writes nothing.
func (a *adoption) look(ctx context.Context) (err error) {
	namespaces := []string{a.namespace}
	// Who may not even list them is told of all that is lacking.
	if a.installed, err = a.cluster.Installed(ctx); err != nil && !apierrors.IsForbidden(err) {
		return err
	}
	for _, i := range a.installed {
		if i.Before != nil {
			namespaces = append(namespaces, i.Namespace)
		}
	}
	if err := a.mayI(ctx, adopt.ToTakeOver, namespaces...); err != nil {
		return err
	}
	if a.controllers, err = a.cluster.Controllers(ctx, a.namespace); err != nil {
		return err
	}
	replaced := adopt.Replaced(a.controllers)
	if len(replaced) == 0 {
		return a.noFlux(ctx)
	}
	for _, ctl := range replaced {
		if ctl.Operator && ctl.Running() {
			return no("%s is kept running by the Flux Operator, which would start it again", ctl.Component).
				hint("scale the Flux Operator to 0, and take its FluxInstance out of Git, first")
		}
	}
	if err := a.engineRules(ctx, a.cluster, a.flags.Flags(), noteTo(a.stderr)); err != nil {
		return err
	}
	a.laxer = laxer(a.rules.tenancy, a.controllers)
	if a.resources, err = a.cluster.Resources(ctx); err != nil {
		return err
	}
	if a.definitions, err = a.cluster.Define(ctx, true); err != nil {
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
		Tenancy: a.rules.tenancy, LenientVariables: a.rules.lenientVariables,
	}
	if a.rules.remoteBases {
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
	return len(a.resources.Unserved) > 0 || len(a.laxer) > 0 ||
		slices.ContainsFunc(a.apps, func(c adopt.Comparison) bool { return !c.Same() })
}

// expected reports whether there is a Plumb that will deliver.
func (a *adoption) expected() bool {
	return len(a.alive) > 0 || slices.ContainsFunc(a.installed, adopt.Installed.Meant)
}

// decide takes over, or says why not.
func (a *adoption) decide(ctx context.Context) error {
	switch {
	case a.opts.dryRun && a.differs():
		return &Error{Code: ExitNo}
	case a.opts.dryRun:
		return nil
	case a.differs() && !a.opts.yes && !a.confirm("Take over "+a.server+" in spite of the differences?"):
		return no("nothing was done: Plumb would change what is there").
			hint("settle the differences in Git, or write --yes to take over in spite of them")
	case !a.expected() && !a.opts.yes && !a.confirm("There is no Plumb in "+a.server+": nobody would deliver. Stop Flux all the same?"):
		return no("nothing was done: there is no Plumb, and nobody would deliver").
			hint("install it first, %s; or write --yes", installLine)
	}
	a.say("")
	within, cancel := context.WithTimeout(ctx, a.opts.timeout)
	defer cancel()
	if err := begun(ctx, a.takeOver(within), "Flux may be stopped in part: plumb adopt flux goes on, plumb release flux goes back"); err != nil {
		return err
	}
	a.done = true
	if !a.expected() {
		a.say("\nNobody delivers now. Install Plumb:\n\n  %s", installLine)
		return nil
	}
	err := a.await(within)
	a.takeup.show()
	a.say("\nTo go back:\n\n  plumb release flux")
	if err != nil {
		return begun(ctx, err, "Flux is stopped, and Plumb goes on by itself: plumb get --watch tells how far it is, and kubectl get pods -A -l app.kubernetes.io/name=plumb whether it runs")
	}
	return a.takeup.verdict()
}

// await follows the apps that were compared until Plumb has taken up all.
func (a *adoption) await(ctx context.Context) error {
	a.takeup = &takeup{handover: a.handover, by: "Plumb", after: "Flux", begun: len(a.alive) > 0,
		taken: func(u *unstructured.Unstructured, _ app.View) bool { return flux.IsPlumbs(u) }}
	for _, c := range a.apps {
		a.takeup.standings = append(a.takeup.standings, standing{view: app.View{ID: c.App, Suspended: c.Suspended}, failed: c.Failed})
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	return a.takeup.await(ctx, c, flux.KindKustomization, flux.KindHelmRelease)
}

const installLine = "plumb install | kubectl apply --server-side --force-conflicts -f -"

func (a *adoption) takeOver(ctx context.Context) error {
	defined, err := a.cluster.TakeOver(ctx, a.controllers, func(ctl adopt.Controller, ended bool) {
		if !ended {
			a.doing("stopping %s", ctl.Component)
			return
		}
		a.say("%s stopped, none of its pods is left", ctl.Component)
	})
	if err != nil {
		return err
	}
	if len(defined) > 0 {
		a.say("%d definitions of custom resources are Plumb's now", len(defined))
	}
	return a.cluster.Resume(ctx, a.installed, func(i adopt.Installed, ready bool) {
		if !ready {
			a.doing("starting Plumb in %s", i.Namespace)
			return
		}
		a.say("Plumb in %s started again", i.Namespace)
	})
}
