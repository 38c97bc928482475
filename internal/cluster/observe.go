package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
)

// parallel bounds the requests of one observation.
const parallel = 8

// Observe tells what a plan needs to know of the cluster. For objects that are
// remembered, and for those that are known not to exist, it costs no request.
// Whatever cannot be told fails the whole: an error is never an empty answer.
//
// Predictions are made under the writer's identity, everything else is looked
// at by Plumb itself.
func (w *Writer) Observe(ctx context.Context, q plan.Query) (plan.Facts, error) {
	c := w.cluster
	manager := c.managerIndex(q.Manager)
	if manager < 0 {
		return plan.Facts{}, app.Fail(app.StageObserve, app.ReasonInternal, "field manager %q is not among those watched", q.Manager)
	}
	if err := c.remembersAll(q); err != nil {
		return plan.Facts{}, err
	}
	if err := c.reachable(ctx); err != nil {
		return plan.Facts{}, w.fail(ctx, "observation", object.Ref{}, object.Origin{}, err)
	}
	refs := refsOf(q)
	facts := plan.Facts{Live: map[object.Ref]plan.Live{}}
	var err error
	if facts.Kinds, err = c.Kinds(ctx, kindsOf(q)); err != nil {
		return plan.Facts{}, err
	}
	for gk := range facts.Kinds {
		if facts.Kinds[gk].Served {
			c.track(gk) // all lists at once, before the first is waited for
		}
	}
	for _, gk := range slices.SortedFunc(maps.Keys(refs), compareKinds) {
		if err := c.look(ctx, gk, refs[gk], facts.Live, manager); err != nil {
			return plan.Facts{}, w.fail(ctx, "observation", object.Ref{Group: gk.Group, Kind: gk.Kind, Name: "*"}, object.Origin{}, err)
		}
	}
	setMarked(facts.Live, q.Mark)
	if err := c.confirmLost(ctx, q, facts, manager); err != nil {
		return plan.Facts{}, w.fail(ctx, "observation", object.Ref{}, object.Origin{}, err)
	}
	setMarked(facts.Live, q.Mark)
	if err := c.lookForUse(ctx, q, facts.Live); err != nil {
		return plan.Facts{}, err
	}
	if err := w.predictAll(ctx, q, facts); err != nil {
		return plan.Facts{}, err
	}
	return facts, nil
}

func setMarked(objects map[object.Ref]plan.Live, mark app.Mark) {
	for ref, live := range objects {
		live.Marked = mark.On(ref, live.Labels, live.Annotations)
		objects[ref] = live
	}
}

// confirmLost asks the API server for the objects that are recorded, no longer
// desired, and not remembered, or remembered as another app's. They are about
// to leave the record for good, and a watch may lag behind: after an outage,
// behind a write of which only the answer was lost, or behind what another
// process wrote for this app. Of two apps that deliver the same object each
// would leave it to the other.
func (c *Cluster) confirmLost(ctx context.Context, q plan.Query, facts plan.Facts, manager int) error {
	desired := map[object.Ref]bool{}
	for _, o := range q.Desired {
		desired[o.Ref()] = true
	}
	var lost []object.Ref
	for _, r := range q.Recorded {
		if !facts.Live[r.Ref].Marked && !desired[r.Ref] && facts.Kinds[r.Ref.GroupKind()].Served {
			lost = append(lost, r.Ref)
		}
	}
	return c.lookOneByOne(ctx, lost, facts.Live, manager)
}

func compareKinds(a, b schema.GroupKind) int {
	return strings.Compare(a.String(), b.String())
}

func (c *Cluster) managerIndex(manager string) int { return slices.Index(c.opts.Managers, manager) }

// remembersAll refuses a query that looks at labels or annotations which are
// not remembered: it would find them missing.
func (c *Cluster) remembersAll(q plan.Query) error {
	keys := slices.Concat(q.Waves, slices.Collect(maps.Keys(q.Mark.Labels)), slices.Collect(maps.Keys(q.Mark.Annotations)))
	for _, s := range q.Switches {
		keys = append(keys, s.Key)
	}
	keep := keeper{keys: c.opts.Keys}
	for _, key := range keys {
		if !keep.keeps(key) {
			return app.Fail(app.StageObserve, app.ReasonInternal, "the label or annotation %s is looked at and not remembered", key)
		}
	}
	return nil
}

// refsOf lists the objects that a query is about, by kind.
func refsOf(q plan.Query) map[schema.GroupKind][]object.Ref {
	seen := map[object.Ref]bool{}
	out := map[schema.GroupKind][]object.Ref{}
	add := func(ref object.Ref) {
		if !seen[ref] {
			seen[ref] = true
			out[ref.GroupKind()] = append(out[ref.GroupKind()], ref)
		}
	}
	for _, o := range q.Desired {
		add(o.Ref())
	}
	for _, r := range q.Recorded {
		add(r.Ref)
	}
	if !q.Namespace.IsZero() {
		add(q.Namespace.Ref())
	}
	return out
}

func kindsOf(q plan.Query) []schema.GroupVersionKind {
	kinds := plan.GVKs(q.Desired, q.Recorded)
	if !q.Namespace.IsZero() {
		kinds = append(kinds, q.Namespace.GVK())
	}
	return kinds
}

// look puts what exists of refs, all of one kind, into live.
func (c *Cluster) look(ctx context.Context, gk schema.GroupKind, refs []object.Ref, live map[object.Ref]plan.Live, manager int) error {
	info, found, err := c.lookup(ctx, gk)
	if err != nil || !found {
		return err
	}
	if !info.watchable {
		return c.lookOneByOne(ctx, refs, live, manager)
	}
	k := c.track(gk)
	if err := k.ready(ctx); err != nil {
		return err
	}
	if err := c.recall(ctx, k.store, refs); err != nil {
		return err
	}
	for _, ref := range refs {
		if r, _ := k.store.get(nameIn(ref)); r != nil {
			l := r.live(manager)
			l.Others = r.others(c.opts.Managers, manager)
			live[ref] = l
		}
	}
	return nil
}

// recall makes s remember refs. Those that exist and were of no interest so
// far are read; for the others there is no request.
func (c *Cluster) recall(ctx context.Context, s *store, refs []object.Ref) error {
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallel)
	for _, ref := range refs {
		if _, foreign := s.ask(nameIn(ref)); !foreign {
			continue
		}
		eg.Go(func() error {
			meta, found, err := c.self.GetMeta(ctx, ref)
			if err == nil && found {
				s.learn(meta)
			}
			return err
		})
	}
	return eg.Wait()
}

// lookOneByOne is for kinds that cannot be watched.
func (c *Cluster) lookOneByOne(ctx context.Context, refs []object.Ref, live map[object.Ref]plan.Live, manager int) error {
	found := make([]*plan.Live, len(refs))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallel)
	for i, ref := range refs {
		eg.Go(func() error {
			meta, ok, err := c.self.GetMeta(ctx, ref)
			if err == nil && ok {
				l := c.keeper().record(meta).live(manager)
				l.ResourceVersion = meta.ResourceVersion
				found[i] = &l
			}
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	for i, l := range found {
		if l != nil {
			live[refs[i]] = *l
		}
	}
	return nil
}

func (c *Cluster) keeper() keeper { return keeper{c.opts.Managers, c.opts.Keys, c.opts.Strip} }

// lookForUse sets InUse on definitions that are recorded and no longer
// desired, and still have objects.
func (c *Cluster) lookForUse(ctx context.Context, q plan.Query, live map[object.Ref]plan.Live) error {
	desired := map[object.Ref]bool{}
	for _, o := range q.Desired {
		desired[o.Ref()] = true
	}
	for _, r := range q.Recorded {
		l, exists := live[r.Ref]
		if r.Ref.GroupKind() != crdKind || desired[r.Ref] || !exists {
			continue
		}
		plural, group, _ := strings.Cut(r.Ref.Name, ".")
		info, served, err := c.discovery.resource(ctx, schema.GroupResource{Group: group, Resource: plural})
		if err != nil {
			return err
		}
		if !served {
			continue
		}
		gvr := info.gvr(group, "")
		list, err := c.meta.Resource(gvr).List(ctx, metav1.ListOptions{Limit: 1})
		if err != nil {
			return c.self.fail(ctx, "observation", object.Ref{Group: group, Kind: info.kind, Name: "*"}, object.Origin{}, err)
		}
		l.InUse = len(list.Items) > 0
		live[r.Ref] = l
	}
	return nil
}

// definedBy lists the kinds that definitions among the desired objects bring,
// with the definition's reference.
func definedBy(desired []object.Object) map[schema.GroupKind]object.Ref {
	out := map[schema.GroupKind]object.Ref{}
	for _, o := range desired {
		if o.Ref().GroupKind() != crdKind {
			continue
		}
		spec, _ := o.Unstructured().Object["spec"].(map[string]any)
		names, _ := spec["names"].(map[string]any)
		out[schema.GroupKind{Group: fmt.Sprint(spec["group"]), Kind: fmt.Sprint(names["kind"])}] = o.Ref()
	}
	return out
}
