package plan

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// ConfirmPrune is the annotation that lets a CustomResourceDefinition which
// still has objects be pruned; its value is "true".
const ConfirmPrune = "plumb.dev/confirm-prune"

// The reasons that steps give.
const (
	reasonNew       = "not in the cluster yet"
	reasonDeleted   = "deleted from the cluster"
	reasonGit       = "changed in Git"
	reasonDrift     = "changed in the cluster"
	reasonUnknown   = "not recorded as delivered"
	reasonRetake    = "ownership lost, value equal"
	reasonGone      = "removed from Git"
	reasonNamespace = "namespace asked for by the app"
	reasonInSync    = "in sync"
)

// ReasonDeleting is that of an object which was pruned, or deleted by someone
// else, and is not gone yet.
const ReasonDeleting = "being deleted"

// Input is what Build looks at.
type Input struct {
	Spec    app.Spec
	Objects []object.Object // prepared
	Facts   Facts
	Intent  Intent
	// Owners are how objects tell which app delivers them, to name another one.
	Owners []app.Owner
}

// Build plans the delivery of an app. It never plans a deletion on the ground
// of something missing but the object in Git: an input that cannot be had is a
// failure before it comes here.
func Build(in Input) Plan {
	b := newBuilder(in)
	return b.build()
}

func newBuilder(in Input) builder {
	b := builder{Input: in, placer: placer{in.Spec.Policy.Order, in.Spec.Policy.WaveAnnotations},
		recorded: map[object.Ref]app.Record{}, desired: map[object.Ref]bool{}, coming: definedKinds(in.Objects)}
	for _, r := range in.Spec.Recorded {
		b.recorded[r.Ref] = r
	}
	for _, o := range in.Objects {
		b.desired[o.Ref()] = true
	}
	return b
}

type builder struct {
	Input
	placer
	recorded map[object.Ref]app.Record
	desired  map[object.Ref]bool
	coming   map[schema.GroupKind]Kind
	steps    []placed
	refused  []*app.Failure
	plan     Plan
}

// placed is a step with its place in the order.
type placed struct {
	Step
	position
	pruneLast bool
}

func (b *builder) build() Plan {
	b.namespace()
	for _, o := range b.Objects {
		b.deliver(o)
	}
	for _, r := range b.Spec.Recorded {
		if !b.desired[r.Ref] {
			b.drop(r)
		}
	}
	b.plan.Partial = b.Intent.Heal || len(b.Intent.Only) > 0
	if len(b.refused) > 0 {
		b.refuse(joinFailures(b.refused))
	} else if b.wipes() {
		why := app.Fail(app.StagePlan, app.ReasonEmpty,
			"nothing is left to deliver: all %d objects of the app would be deleted", len(b.Spec.Recorded)).
			WithHint("allow empty in the app's sync policy if that is meant")
		why.Retry.Never = true // only a commit, or the policy, changes it
		b.refuse(why)
	}
	if b.plan.Refused == nil {
		b.group()
	}
	return b.plan
}

// refuse turns every step that would write into a report.
func (b *builder) refuse(why *app.Failure) {
	b.plan.Refused = why
	for _, s := range b.steps {
		if s.Verb.Writes() {
			s.Verb = Report
		}
		b.plan.Rest = append(b.plan.Rest, s.Step)
	}
}

// wipes reports whether the plan would leave an app that had objects without
// any, and its policy does not allow that.
func (b *builder) wipes() bool {
	if b.Spec.Policy.AllowEmpty || len(b.Objects) > 0 || b.Intent.By != "" {
		return false
	}
	for _, s := range b.steps {
		if s.Verb == Prune {
			return true
		}
	}
	return false
}

// namespace adds the app's own namespace where the policy asks for it and Git
// does not hold it.
func (b *builder) namespace() {
	policy, name := b.Spec.Policy, b.Spec.Target.Namespace
	ref := object.Ref{Kind: "Namespace", Name: name}
	if !policy.CreateNamespace || name == "" || b.desired[ref] {
		return
	}
	o := NamespaceOf(b.Spec)
	if o.IsZero() {
		return
	}
	live, there := b.Facts.Live[ref]
	if there && live.Exists && len(policy.NamespaceLabels)+len(policy.NamespaceAnnotations) == 0 {
		return
	}
	if b.Spec.Permits != nil {
		if why := b.Spec.Permits(ref, false); why != nil {
			b.refused = append(b.refused, why)
			return
		}
	}
	s := Step{Verb: Create, Ref: ref, Version: "v1", Object: o, Desired: o.Digest(), Reason: reasonNamespace, Sync: app.OutOfSync}
	s.Write = WriteOptions{Manager: b.Spec.FieldManager}
	if there && live.Exists {
		s.Verb, s.Sync = Apply, app.Synced
		if p := live.Prediction; p != nil && p.Refused == nil && len(p.Changes) == 0 {
			s.Verb = Keep
		}
	}
	// Before everything, whatever the waves.
	at := position{stage: -1, wave: -1 << 31}
	b.add(s, at)
}

// NamespaceOf is the namespace that an app's policy asks for; zero if none.
func NamespaceOf(spec app.Spec) object.Object {
	if !spec.Policy.CreateNamespace || spec.Target.Namespace == "" {
		return object.Object{}
	}
	meta := map[string]any{"name": spec.Target.Namespace}
	for field, values := range map[string]map[string]string{"labels": spec.Policy.NamespaceLabels, "annotations": spec.Policy.NamespaceAnnotations} {
		if len(values) > 0 {
			m := map[string]any{}
			for k, v := range values {
				m[k] = v
			}
			meta[field] = m
		}
	}
	return object.New(map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}, object.Origin{})
}

// deliver plans one desired object.
func (b *builder) deliver(o object.Object) {
	ref, u := o.Ref(), o.Unstructured()
	live := b.Facts.Live[ref]
	rec := b.recorded[ref]
	marks := effectsOf(b.Spec.Policy.Switches, u.GetLabels(), u.GetAnnotations())
	onLive := effectsOf(b.Spec.Policy.Switches, live.Labels, live.Annotations)
	s := Step{Ref: ref, Version: o.GVK().Version, Object: o, Desired: o.Digest(), Recorded: rec, UID: live.UID}
	at := b.at(ref, func(key string) string { return u.GetAnnotations()[key] })
	s.Wave = at.wave

	_, comes := b.coming[ref.GroupKind()]
	served := b.Facts.Kinds[ref.GroupKind()].Served
	switch {
	case marks[app.EffectIgnore] || live.Exists && onLive[app.EffectIgnore]:
		s.Verb, s.Reason = Skip, "a switch on the object says so"
		b.noteSkipped(o)
		b.add(s, at)
		return
	case !served && !comes:
		b.refused = append(b.refused, app.Fail(app.StageApply, app.ReasonKindUnknown,
			"%s (%s): no matches for kind %q in version %q", ref, o.Origin, ref.Kind, u.GetAPIVersion()).
			WithHint("install the CustomResourceDefinition first, in this app or in one that this app depends on"))
		s.Verb, s.Reason, s.Sync = Report, "the cluster serves no such kind", app.OutOfSync
		b.add(s, at)
		return
	case live.Exists && marks[app.EffectCreateOnly]:
		s.Verb, s.Reason, s.Sync = Skip, "exists, and is to be created only", app.Synced
		b.add(s, at)
		return
	}

	b.noteShared(o, live, rec)
	b.compare(&s, o, live, rec)
	if s.Verb.Writes() {
		b.write(&s, live, marks)
	}
	if s.Verb.Writes() && !b.chosen(ref) {
		s.Verb = Report
	}
	b.add(s, at)
}

// noteSkipped warns where leaving an object alone is not what its author means.
func (b *builder) noteSkipped(o object.Object) {
	u := o.Unstructured()
	for _, sw := range b.Spec.Policy.Switches {
		if sw.Note != "" && effectsOf([]app.Switch{sw}, u.GetLabels(), u.GetAnnotations())[sw.Effect] {
			b.plan.Warnings = append(b.plan.Warnings, app.Warning{Message: fmt.Sprintf("%s (%s): %s", o, o.Origin, sw.Note)})
			return
		}
	}
}

// compare sets verb, reason and sync state from what is known of the object.
func (b *builder) compare(s *Step, o object.Object, live Live, rec app.Record) {
	predicted := live.Prediction
	switch {
	case InSync(o, rec, live):
		s.Verb, s.Reason, s.Sync = Keep, reasonInSync, app.Synced
		return
	case !live.Exists && rec.Owned != "":
		s.Verb, s.Reason, s.Sync, s.Drifted = Create, reasonDeleted, app.OutOfSync, true
	case !live.Exists:
		s.Verb, s.Reason, s.Sync = Create, reasonNew, app.OutOfSync
	case rec.Desired == "":
		s.Verb, s.Reason, s.Sync = Apply, reasonUnknown, app.OutOfSync
	case rec.Desired != o.Digest():
		s.Verb, s.Reason, s.Sync = Apply, reasonGit, app.OutOfSync
	default:
		s.Verb, s.Reason, s.Sync, s.Drifted = Apply, reasonDrift, app.OutOfSync, true
	}
	if predicted == nil {
		return
	}
	s.Changes, s.Held = predicted.Changes, predicted.Regained
	if predicted.Refused != nil {
		if b.mayRecreate(o, predicted.Refused) {
			s.Verb, s.Reason = Recreate, "a field cannot be changed in place"
			return
		}
		b.refuseUnlessCreated(s, predicted.Refused)
		return
	}
	if live.Exists && predicted.Deferred == "" && len(predicted.Changes) == 0 {
		s.Sync = app.Synced
		if s.Drifted {
			s.Reason = reasonRetake
		}
	}
}

// refuseUnlessCreated takes a refusal for what it is, unless it only says that
// a namespace is missing which this very plan creates.
func (b *builder) refuseUnlessCreated(s *Step, why *app.Failure) {
	if why.Reason == app.ReasonNamespaceMissing && b.createsNamespace(s.Ref.Namespace) {
		return
	}
	b.refused = append(b.refused, why)
}

func (b *builder) createsNamespace(name string) bool {
	return b.desired[object.Ref{Kind: "Namespace", Name: name}] ||
		b.Spec.Policy.CreateNamespace && name == b.Spec.Target.Namespace
}

func (b *builder) mayRecreate(o object.Object, why *app.Failure) bool {
	if why.Reason != app.ReasonImmutable {
		return false
	}
	u := o.Unstructured()
	return b.Intent.Force || effectsOf(b.Spec.Policy.Switches, u.GetLabels(), u.GetAnnotations())[app.EffectForce]
}

func (b *builder) write(s *Step, live Live, marks effects) {
	s.Write = WriteOptions{Manager: b.Spec.FieldManager}
	if live.Exists && !marks[app.EffectMerge] && s.Recorded.Owned == "" {
		// Taken over now: what others wrote by hand or by kubectl becomes ours.
		s.Write.AdoptFrom, s.Write.Strip = b.Spec.AdoptFrom, b.Spec.Strip
	}
	if s.Drifted {
		s.Write.Explain = live.Exists
		if !marks[app.EffectMerge] {
			s.Write.AdoptFrom = b.Spec.AdoptFrom
		}
	}
	if live.Exists && s.Verb == Apply && (b.Spec.Policy.Replace || marks[app.EffectReplace]) {
		s.Verb, s.Write.Replace = Replace, true
	}
}

// drop plans what becomes of a recorded object that Git no longer holds.
func (b *builder) drop(r app.Record) {
	live, there := b.Facts.Live[r.Ref]
	if !there || !live.Exists {
		return
	}
	if in := b.Spec.StandIn; in != nil && r.Ref.Kind == crdKind && in.Definitions[r.Ref.Name] {
		// Plumb brings it, whoever did so before; it leaves the record.
		return
	}
	s := Step{Ref: r.Ref, Version: r.Version, Recorded: r, UID: live.UID, Sync: app.OutOfSync, Reason: reasonGone}
	s.Propagation = b.Spec.Policy.Propagation
	marks := effectsOf(b.Spec.Policy.Switches, live.Labels, live.Annotations)
	at := b.at(r.Ref, func(key string) string { return live.Annotations[key] })
	s.Wave = at.wave
	switch {
	case !live.Marked:
		// Someone else's by now, or never ours: it is not touched and leaves
		// the record.
		return
	case b.Spec.Policy.Forget && b.Spec.Deletion == nil && (!b.Spec.Policy.Prune || marks[app.EffectKeep] || marks[app.EffectIgnore]):
		return // it leaves the record
	case marks[app.EffectKeep] || marks[app.EffectIgnore]:
		s.Verb, s.Reason = Leave, "removed from Git, kept by a switch on the object"
	case live.Deleting:
		s.Verb, s.Reason = Leave, ReasonDeleting
	case live.InUse && live.Annotations[ConfirmPrune] != "true":
		s.Verb, s.Reason = Leave, "removed from Git, kept because objects of its kind exist"
		b.plan.Warnings = append(b.plan.Warnings, app.Warning{Message: fmt.Sprintf(
			"%s was removed from Git and is kept, because pruning it would delete all objects of its kind; confirm with the annotation %s=true", r.Ref, ConfirmPrune)})
	case !b.Intent.Prune:
		s.Verb, s.Reason = Leave, "removed from Git, pruning is off"
	case !b.chosen(r.Ref):
		s.Verb = Report
	default:
		s.Verb = Prune
	}
	b.steps = append(b.steps, placed{Step: s, position: at,
		pruneLast: b.Spec.Policy.PruneLast || marks[app.EffectPruneLast]})
}

// chosen reports whether a user's selection covers ref.
func (b *builder) chosen(ref object.Ref) bool {
	if len(b.Intent.Only) == 0 {
		return true
	}
	return slices.ContainsFunc(b.Intent.Only, func(o object.Ref) bool {
		return o.Group == ref.Group && o.Kind == ref.Kind && o.Name == ref.Name &&
			(o.Namespace == "" || o.Namespace == ref.Namespace)
	})
}

func (b *builder) add(s Step, at position) {
	b.steps = append(b.steps, placed{Step: s, position: at})
}

// joinFailures makes one failure of several; the first decides stage, reason
// and hint.
func joinFailures(all []*app.Failure) *app.Failure {
	if len(all) == 1 {
		return all[0]
	}
	lines := make([]string, len(all))
	for i, f := range all {
		lines[i] = f.Error()
	}
	const most = 20
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", len(all)-most))
	}
	joined := *all[0]
	joined.Err = fmt.Errorf("%s", strings.Join(lines, "\n"))
	return &joined
}
