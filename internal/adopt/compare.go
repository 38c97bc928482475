package adopt

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/cluster"
	"plumb.dev/plumb/internal/controller"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/engine"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/source"
)

// atOnce is how many apps are compared at a time.
const atOnce = 4

// Comparison is what Plumb would do about one app.
type Comparison struct {
	App       app.ID
	Suspended bool         // nobody does anything about it
	Failed    bool         // under Flux, so far
	Revision  app.Revision // compared with
	Applied   app.Revision // what Flux has delivered last
	Objects   int          // how many were compared
	Changes   []plan.Step  // what would be changed; the takeover itself is not among it
	// Action is what would be done to a Helm release, and why; "" for nothing.
	Action, Because string
	Warnings        []app.Warning
	// Err is why Plumb could not deliver the app, or why it could not be
	// compared; nil if neither.
	Err error
	// Flux lists where the app delivers Flux's own controllers from.
	Flux []plan.Step
}

// Same reports whether nothing would happen to the app.
func (c Comparison) Same() bool { return c.Err == nil && len(c.Changes) == 0 && c.Action == "" }

// Moved reports whether Git has moved on since Flux delivered last: then
// differences may be no more than that.
func (c Comparison) Moved() bool {
	return !c.Revision.IsZero() && !c.Applied.IsZero() && c.Revision.Commit != c.Applied.Commit
}

// Comparer compares apps with what Plumb would do, by dry run. It writes
// nothing.
type Comparer struct {
	Sources *source.Store
	Bases   *source.Store // remote bases; nil refuses them
	Version string        // of Plumb
	// Tenancy and LenientVariables are as the engine has them that takes over.
	Tenancy          flux.Tenancy
	LenientVariables bool
	// Progress, if set, is told how many of all are done.
	Progress func(done, all int)

	resolver *controller.Controller
	mu       sync.Mutex
	clusters map[string]*cluster.Cluster
}

// Compare compares all of apps, in their order. An error means that the
// cluster could not be asked at all.
func (c *Comparer) Compare(ctx context.Context, in *Cluster, apps []*unstructured.Unstructured) ([]Comparison, error) {
	var err error
	if c.resolver, err = controller.New(controller.Options{Config: in.config, Tenancy: c.Tenancy, Log: slog.New(slog.DiscardHandler)}); err != nil {
		return nil, err
	}
	c.clusters = map[string]*cluster.Cluster{}
	defer func() {
		for _, cl := range c.clusters {
			cl.Close()
		}
	}()
	if c.clusters[""], err = cluster.Connect(in.config, c.options()); err != nil {
		return nil, err
	}
	out := make([]Comparison, len(apps))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	done := 0
	for i, u := range apps {
		group.Go(func() error {
			out[i] = c.one(ctx, u)
			c.mu.Lock()
			defer c.mu.Unlock()
			if done++; c.Progress != nil {
				c.Progress(done, len(apps))
			}
			return ctx.Err()
		})
	}
	return out, group.Wait()
}

func (c *Comparer) options() cluster.Options {
	return cluster.Options{
		Managers: []string{flux.FieldManager, flux.HelmFieldManager, argo.FieldManager},
		Keys:     append(flux.Keys(), argo.Keys()...), Version: c.Version,
	}
}

func (c *Comparer) one(ctx context.Context, u *unstructured.Unstructured) (out Comparison) {
	view := viewOf(u)
	out = Comparison{App: view.ID, Suspended: view.Suspended, Failed: view.State == app.StateFailed, Applied: view.Applied}
	if view.Suspended {
		return out
	}
	spec, src, err := c.resolver.Resolve(ctx, view.ID)
	if err != nil {
		out.Err = err
		return out
	}
	cl, err := c.connect(ctx, spec)
	if err != nil {
		out.Err = err
		return out
	}
	parts, err := engine.Parts(ctx, c.Sources, src, c.resolver.Source)
	if err != nil {
		out.Err = err
		return out
	}
	looking := engine.Looking{Sources: c.Sources, Bases: c.Bases, Cluster: cl, AsAccount: true, LenientVariables: c.LenientVariables}
	mine := out
	out = c.preview(ctx, out, looking, spec, src, parts)
	if spec.Target.ServiceAccount == "" || !mayNotImpersonate(out.Err) {
		return out
	}
	looking.AsAccount = false
	out = c.preview(ctx, mine, looking, spec, src, parts)
	out.Warnings = append(out.Warnings, app.Warning{Message: fmt.Sprintf(
		"compared with your rights: you may not act as the service account %s, which it is delivered as", spec.Target.ServiceAccount)})
	return out
}

// mayNotImpersonate reports whether the API server refuses that the user acts
// as someone else; of a failure only the message tells.
func mayNotImpersonate(err error) bool {
	return err != nil && strings.Contains(err.Error(), "cannot impersonate resource")
}

// preview compares one app as looking says.
func (c *Comparer) preview(ctx context.Context, out Comparison, looking engine.Looking, spec app.Spec, src app.Source, parts []source.Part) Comparison {
	if spec.Release != nil {
		return c.release(ctx, out, looking, spec, src, parts)
	}
	revision, p, err := engine.Preview(ctx, looking, spec, src, parts...)
	out.Revision, out.Warnings, out.Err = revision, p.Warnings, err
	if err == nil && p.Refused != nil {
		out.Err = p.Refused
	}
	for _, s := range p.Steps() {
		if !s.Object.IsZero() {
			out.Objects++
			if plan.Idles(spec.StandIn, s.Object.Unstructured()) {
				out.Flux = append(out.Flux, s)
			}
		}
	}
	for _, s := range p.Differing() {
		if !isTakeover(spec.StandIn, s) {
			out.Changes = append(out.Changes, s)
		}
	}
	return out
}

// release compares a Helm release: what stands in its storage with what is
// asked for and, where the release has drift looked for, with the cluster.
func (c *Comparer) release(ctx context.Context, out Comparison, looking engine.Looking, spec app.Spec, src app.Source, parts []source.Part) Comparison {
	revision, next, drift, err := engine.PreviewRelease(ctx, looking, spec, src, parts...)
	out.Revision, out.Err, out.Changes = revision, err, drift.Differing()
	out.Objects = len(drift.Steps())
	out.Applied = app.Revision{} // it names a version of the chart, not a commit
	if next.Action != app.ReleaseNone {
		out.Action, out.Because = string(next.Action), next.Because
	}
	return out
}

// isTakeover reports whether a step does no more than stop what Plumb does the
// work of.
func isTakeover(in *app.StandIn, s plan.Step) bool {
	if s.Object.IsZero() || !plan.Idles(in, s.Object.Unstructured()) {
		return false
	}
	for _, change := range s.Changes {
		if change.Path != ".spec.replicas" {
			return false
		}
	}
	return s.UID != ""
}

// connect gives the cluster that an app goes to.
func (c *Comparer) connect(ctx context.Context, spec app.Spec) (*cluster.Cluster, error) {
	id := spec.Target.Cluster
	c.mu.Lock()
	cl := c.clusters[id]
	c.mu.Unlock()
	if cl != nil {
		return cl, nil
	}
	to, err := c.resolver.Cluster(ctx, spec)
	if err != nil {
		return nil, err
	}
	config, err := cluster.Config(to.Access)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", to.ID, err)
	}
	options := c.options()
	options.Token = c.home().Tokens(to.Access)
	if cl, err = cluster.Connect(config, options); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.clusters[id]; other != nil {
		cl.Close()
		return other, nil
	}
	c.clusters[id] = cl
	return cl, nil
}

// home is the cluster that the apps are in.
func (c *Comparer) home() *cluster.Cluster {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clusters[""]
}

func viewOf(u *unstructured.Unstructured) app.View {
	for _, k := range kinds() {
		if k.name == u.GetKind() && k.view != nil {
			return k.view(u)
		}
	}
	return app.View{ID: app.ID{Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName()}}
}
