package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/internal/adopt"
	"plumb.dev/plumb/internal/app"
)

func releaseCommand(p *program) *cobra.Command {
	return handoverCommand("release", "Hand back to the tool that Plumb has taken over from",
		`Hand a cluster back to the tool that Plumb has taken over from.`, releaseFluxCommand(p))
}

func releaseFluxCommand(p *program) *cobra.Command {
	var opts handoverOptions
	cmd := &cobra.Command{
		Use:   "flux",
		Short: "Hand back to Flux",
		Long: `Hand back to the Flux that plumb adopt flux has stopped. Plumb's Deployment is
scaled to 0 and its pods waited for, what Plumb keeps for itself in statuses is
removed, and Flux's controllers are scaled up to what they were, or to 1 where Plumb
has delivered them with none from the beginning. Nothing that was delivered is
touched: Flux finds its own finalizers, inventories and field managers. Then each
source, Kustomization and HelmRelease that is not suspended is asked for, as flux
reconcile does it, and waited for until Flux has taken it up.

Plumb's definitions of the custom resources stay: Flux works with them. Flux's own
come back with its next reconciliation where Git holds them, otherwise with
flux install.

A Plumb that runs outside of the cluster must be ended first. Where there is no
Flux to start, nothing is done, unless you confirm it or write --yes: then Plumb is
stopped, and nobody delivers until you install Flux. -n names the namespace of Flux,
flux-system by default. Interrupted, it can be run again.

The exit code is 0 when Flux has taken up all and all is ready, 1 if something is
not ready, or if nothing was done because Flux runs already, because a Plumb goes on
elsewhere, or because there is no Flux to start, and 5 if the time was up.`,
		Example: `  plumb release flux --dry-run
  plumb release flux`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := p.handover(cmd, opts, "json", "yaml")
			if err != nil {
				return err
			}
			return (&giveBack{handover: h}).run(cmd.Context())
		},
	}
	opts.add(cmd.Flags(), "only tell what would be done", "stop Plumb even where there is no Flux to start",
		"how long to wait for Plumb to end, and for Flux to have taken up all")
	return cmd
}

// giveBack is one run of `release flux`.
type giveBack struct {
	*handover

	controllers []adopt.Controller
	installed   []adopt.Installed
	alive       []string
	refused     []string        // what Flux would not take
	failed      map[app.ID]bool // under Plumb

	done   bool
	erased int // statuses
	takeup *takeup
}

// releaseOutput is what `release flux -o json` prints.
type releaseOutput struct {
	Namespace   string             `json:"namespace"`
	HandedBack  bool               `json:"handedBack"`
	Plumb       []releasedOutput   `json:"plumb"`
	Controllers []controllerOutput `json:"controllers"`
	Refused     []string           `json:"refused"`
	Erased      int                `json:"erased"`
	Ready       bool               `json:"ready"` // all is taken up by Flux, and ready
	Apps        []takenOutput      `json:"apps"`
}

type takenOutput struct {
	App       appName        `json:"app"`
	Delivered revisionOutput `json:"delivered"`
	Suspended bool           `json:"suspended"`
	TakenUp   bool           `json:"takenUp"`
	State     string         `json:"state"`
	Message   string         `json:"message"`
}

type releasedOutput struct {
	Namespace string `json:"namespace"`
	Replicas  int32  `json:"replicas"` // before
}

func (g *giveBack) run(ctx context.Context) error {
	if err := g.look(ctx); err != nil {
		return err
	}
	g.show()
	err := g.decide(ctx)
	if g.machine() {
		if writeErr := write(g.result, g.format, g.json()); writeErr != nil {
			return writeErr
		}
	}
	return err
}

// look finds out all there is to know. It writes nothing.
func (g *giveBack) look(ctx context.Context) (err error) {
	// Who may not even list them is told of all that is lacking.
	if g.installed, err = g.cluster.Installed(ctx); err != nil && !apierrors.IsForbidden(err) {
		return err
	}
	namespaces := []string{g.namespace}
	for _, i := range g.installed {
		namespaces = append(namespaces, i.Namespace)
	}
	if err := g.mayI(ctx, adopt.ToHandBack, namespaces...); err != nil {
		return err
	}
	if g.controllers, err = g.cluster.Controllers(ctx, g.namespace); err != nil {
		return err
	}
	if g.alive, err = g.cluster.Alive(ctx); err != nil {
		return err
	}
	resources, err := g.cluster.Resources(ctx)
	if err != nil {
		return err
	}
	nobodys := map[string]int{}
	g.failed = map[app.ID]bool{}
	for _, u := range resources.Apps {
		k, _ := kindNamed(u.GetKind())
		v := k.app(u)
		g.failed[v.ID] = v.State == app.StateFailed
		if !g.answered(u.GetKind()) {
			nobodys[u.GetKind()]++
		}
	}
	if g.refused, err = g.cluster.Refusals(ctx); err != nil || len(g.starts()) == 0 {
		return err
	}
	for _, kind := range slices.Sorted(maps.Keys(nobodys)) {
		g.refused = append(g.refused, fmt.Sprintf("no controller of Flux in namespace %s works on %ss: %d would be left to nobody", g.namespace, kind, nobodys[kind]))
	}
	return nil
}

// starts lists Flux's controllers that would be started.
func (g *giveBack) starts() []adopt.Controller {
	return slices.DeleteFunc(slices.Clone(g.controllers), func(ctl adopt.Controller) bool {
		replicas, ok := ctl.Back()
		return !ok || replicas == 0
	})
}

func (g *giveBack) show() {
	for _, r := range g.refused {
		fmt.Fprintf(g.stderr, "warning: %s\n", r)
	}
	if !g.opts.dryRun {
		return
	}
	for _, i := range g.installed {
		g.say("Plumb in %s would be stopped", i.Namespace)
	}
	for _, lease := range g.alive {
		g.say("the Lease %s would be waited for: if it is of a Plumb outside of the cluster, end that first", lease)
	}
	for _, ctl := range slices.Backward(g.starts()) {
		replicas, _ := ctl.Back()
		g.say("%s would be scaled to %d", ctl.Component, replicas)
	}
	if len(g.starts()) == 0 {
		g.say("there is no Flux in namespace %s that could be started: it would have to be installed", g.namespace)
	}
}

// decide hands back, or says why not.
func (g *giveBack) decide(ctx context.Context) error {
	running := slices.DeleteFunc(adopt.Replaced(g.controllers), func(ctl adopt.Controller) bool { return !ctl.Running() })
	switch none := len(g.starts()) == 0; {
	case none && len(running) > 0:
		return no("%s runs already", running[0].Component).hint("plumb adopt flux stops it; plumb get tells what is delivered")
	case g.opts.dryRun:
		return nil
	case none && !g.opts.yes && !g.confirm("There is no Flux to start in namespace "+g.namespace+" of "+g.server+". Stop Plumb all the same?"):
		err := no("nothing was done: there is no Flux in namespace %s to start, and nobody would deliver", g.namespace)
		err.Hint = explain(g.noFlux(ctx)).hint + "; --yes stops Plumb all the same"
		return err
	}
	within, cancel := context.WithTimeout(ctx, g.opts.timeout)
	defer cancel()
	err := g.handBack(within)
	if outside := (*adopt.OutsideError)(nil); errors.As(err, &outside) {
		return no("%w", err).hint("end that process, and run plumb release flux again; Flux is not started before")
	}
	if err := begun(ctx, err, "Plumb may be stopped already: plumb release flux goes on, plumb adopt flux goes back"); err != nil {
		return err
	}
	g.done = true
	if len(g.starts()) == 0 {
		g.say("\nNobody delivers now. Install Flux:\n\n  flux bootstrap")
		return nil
	}
	err = g.await(within)
	g.takeup.show()
	g.say("\nPlumb's definitions of the custom resources are still there. Where Git does not hold Flux's:\n\n  flux install")
	g.say("\nTo take over again:\n\n  plumb adopt flux")
	if err != nil {
		return begun(ctx, err, "Plumb is stopped, and Flux goes on by itself: plumb get --watch tells how far it is, and kubectl logs what its controllers do")
	}
	return g.takeup.verdict()
}

func (g *giveBack) handBack(ctx context.Context) (err error) {
	if len(g.alive) > 0 {
		g.doing("waiting for Plumb to end")
	}
	err = g.cluster.Halt(ctx, g.installed, func(i adopt.Installed, ended bool) {
		if ended {
			g.say("Plumb in %s stopped, none of its pods is left", i.Namespace)
		}
	})
	if err != nil {
		return err
	}
	if g.erased, err = g.cluster.Forget(ctx); err != nil {
		return err
	}
	g.say("%d statuses rid of what Plumb keeps in them", g.erased)
	return g.cluster.Start(ctx, g.controllers, func(ctl adopt.Controller, ready bool) {
		replicas, _ := ctl.Back()
		switch {
		case !ready:
			g.doing("starting %s", ctl.Component)
		case replicas == 0:
			g.say("%s had no replicas, and has none", ctl.Component)
		default:
			g.say("%s runs again, with %d replicas", ctl.Component, replicas)
		}
	})
}

func (g *giveBack) json() releaseOutput {
	out := releaseOutput{Namespace: g.namespace, HandedBack: g.done, Plumb: []releasedOutput{}, Controllers: controllersJSON(g.controllers),
		Refused: append([]string{}, g.refused...), Erased: g.erased, Apps: []takenOutput{}}
	for _, i := range g.installed {
		out.Plumb = append(out.Plumb, releasedOutput{i.Namespace, i.Replicas})
	}
	if g.takeup == nil {
		return out
	}
	out.Ready = g.done && g.takeup.ready()
	for _, s := range g.takeup.standings {
		v := s.view
		out.Apps = append(out.Apps, takenOutput{appName(v.ID), revisionOutput{v.Applied.Commit, v.Applied.Ref}, v.Suspended, s.taken, string(v.State), v.Message})
	}
	return out
}
