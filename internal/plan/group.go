package plan

import (
	"cmp"
	"fmt"
	"slices"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// group puts the steps in order. Applies go by wave, stage and kind; each wave
// but the last must be healthy before the next, each stage ready before the
// next, and definitions served before what they define.
func (b *builder) group() {
	var applies, prunes, last []placed
	for _, s := range b.steps {
		switch {
		case !s.Verb.Writes():
			b.plan.Rest = append(b.plan.Rest, s.Step)
		case s.Verb != Prune:
			applies = append(applies, s)
		case s.pruneLast || !b.Spec.Policy.PruneFirst:
			last = append(last, s)
		default:
			prunes = append(prunes, s)
		}
	}
	slices.SortStableFunc(applies, func(x, y placed) int {
		return cmp.Or(x.position.compare(y.position), x.Ref.Compare(y.Ref))
	})
	mirrorWaves(prunes)

	// Waves are those of all desired objects: one that is in sync already may
	// still have to become healthy before the next wave.
	for i, wave := range b.waves(applies, prunes) {
		b.prune(fmt.Sprintf("prune wave %d", wave), of(prunes, wave))
		members := of(applies, wave)
		for len(members) > 0 {
			n := 1
			for n < len(members) && members[n].position == members[0].position {
				n++
			}
			b.apply(members[:n], n == len(members) || members[n].stage != members[0].stage)
			members = members[n:]
		}
		if b.multiWave() && i < len(b.waves(applies, prunes))-1 {
			b.await(fmt.Sprintf("wave %d", wave), b.inWave(wave))
		}
	}
	if len(last) > 0 && b.Spec.Policy.PruneLast && b.multiWave() {
		b.await("all waves", b.all())
	}
	b.prune("prune", last)
	switch {
	case len(b.Spec.Policy.HealthChecks) > 0:
		refs := make([]object.Ref, 0, len(b.Spec.Policy.HealthChecks))
		for _, h := range b.Spec.Policy.HealthChecks {
			refs = append(refs, object.Ref{Group: h.Group, Kind: h.Kind, Namespace: h.Namespace, Name: h.Name})
		}
		b.await("health checks", refs)
	case b.Spec.Policy.Wait, b.multiWave() && b.plan.Writes() > 0:
		b.await("health", b.all())
	}
}

// apply adds the steps of one position; endsStage says whether the next
// position is in another stage.
func (b *builder) apply(members []placed, endsStage bool) {
	g := Group{Name: members[0].Ref.Kind}
	for _, s := range members {
		g.Steps = append(g.Steps, s.Step)
		waitsForStage := endsStage && s.stage >= 0 && s.stage < len(b.order.Stages)
		if waitsForStage || s.Ref.Kind == crdKind {
			g.Await = append(g.Await, s.Ref)
		}
	}
	b.plan.Groups = append(b.plan.Groups, g)
}

func (b *builder) prune(name string, members []placed) {
	if len(members) == 0 {
		return
	}
	// The reverse of the order of applying; issued without waits in between.
	slices.SortStableFunc(members, func(x, y placed) int {
		return cmp.Or(y.position.compare(x.position), y.Ref.Compare(x.Ref))
	})
	for len(members) > 0 {
		n := 1
		for n < len(members) && members[n].position == members[0].position {
			n++
		}
		g := Group{Name: name}
		for _, s := range members[:n] {
			g.Steps = append(g.Steps, s.Step)
		}
		b.plan.Groups = append(b.plan.Groups, g)
		members = members[n:]
	}
}

func (b *builder) await(name string, refs []object.Ref) {
	if len(refs) > 0 {
		b.plan.Groups = append(b.plan.Groups, Group{Name: name, Await: refs})
	}
}

// multiWave reports whether the desired objects are in more than one wave.
func (b *builder) multiWave() bool {
	waves := map[int]bool{}
	for _, s := range b.steps {
		if b.counts(s) {
			waves[s.wave] = true
		}
	}
	return len(waves) > 1
}

// counts reports whether a step's object is one that waves and waits look at:
// delivered now or before, and in a partial sync only what is written.
func (b *builder) counts(s placed) bool {
	if s.Verb == Skip || s.Verb == Leave || s.Verb == Prune || s.OfNamespace() {
		return false
	}
	return !b.plan.Partial || b.Spec.Policy.Wait || s.Verb.Writes()
}

func (b *builder) inWave(wave int) []object.Ref {
	var refs []object.Ref
	for _, s := range b.steps {
		if b.counts(s) && s.wave == wave {
			refs = append(refs, s.Ref)
		}
	}
	return refs
}

func (b *builder) all() []object.Ref {
	var refs []object.Ref
	for _, s := range b.steps {
		if b.counts(s) {
			refs = append(refs, s.Ref)
		}
	}
	return refs
}

func (b *builder) waves(sets ...[]placed) []int {
	var waves []int
	for _, set := range sets {
		for _, s := range set {
			waves = append(waves, s.wave)
		}
	}
	if b.plan.Writes() == 0 || b.multiWave() {
		for _, s := range b.steps {
			if len(sets[0])+len(sets[1]) > 0 && b.counts(s) {
				waves = append(waves, s.wave)
			}
		}
	}
	slices.Sort(waves)
	return slices.Compact(waves)
}

// of gives the members of a wave, in their order.
func of(set []placed, wave int) []placed {
	var out []placed
	for _, s := range set {
		if s.wave == wave {
			out = append(out, s)
		}
	}
	return out
}

// mirrorWaves reverses the waves of what is pruned: what came first goes last.
func mirrorWaves(prunes []placed) {
	var waves []int
	for _, s := range prunes {
		waves = append(waves, s.wave)
	}
	slices.Sort(waves)
	waves = slices.Compact(waves)
	for i := range prunes {
		at, _ := slices.BinarySearch(waves, prunes[i].wave)
		prunes[i].wave = waves[len(waves)-1-at]
	}
}

// BuildDeletion plans the end of an app: nothing is desired any more.
func BuildDeletion(spec app.Spec, facts Facts) Plan {
	b := builder{Input: Input{Spec: spec, Facts: facts}, placer: placer{spec.Policy.Order, spec.Policy.WaveAnnotations}}
	d := spec.Deletion
	if d == nil || !d.Prune {
		return Plan{}
	}
	b.Spec.Policy.PruneFirst, b.Spec.Policy.PruneLast = true, false
	b.Intent.Prune = true
	if d.Propagation != "" {
		b.Spec.Policy.Propagation = d.Propagation
	}
	var leaving []object.Ref
	for _, r := range spec.Recorded {
		live := facts.Live[r.Ref]
		marks := effectsOf(spec.Policy.Switches, live.Labels, live.Annotations)
		if marks[app.EffectKeepOnDelete] {
			continue
		}
		live.InUse = false // the user deletes the whole app
		facts.Live[r.Ref] = live
		if live.Deleting && live.Marked {
			// Already on its way: waited for, not deleted again.
			b.plan.Rest = append(b.plan.Rest, Step{Verb: Leave, Ref: r.Ref, Version: r.Version, Recorded: r, Reason: ReasonDeleting})
			leaving = append(leaving, r.Ref)
			continue
		}
		b.drop(r)
	}
	b.group()
	for i := range b.plan.Groups {
		b.plan.Groups[i].Gone = d.Wait
	}
	if d.Wait && len(leaving) > 0 {
		b.plan.Groups = append(b.plan.Groups, Group{Name: "being deleted", Leaving: leaving})
	}
	return b.plan
}
