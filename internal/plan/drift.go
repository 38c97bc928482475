package plan

import (
	"slices"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// BuildDrift plans for objects that another tool has delivered in the app's
// name: what differs from them is written, or only reported where the intent
// does not apply, and what does not is recorded as it is. Nothing is ever
// pruned. The facts must be of a query that is Delivered and predicts from one
// object on.
func BuildDrift(in Input) Plan {
	b := newBuilder(in)
	for _, o := range in.Objects {
		b.verify(o)
	}
	if len(b.refused) > 0 {
		b.refuse(joinFailures(b.refused))
	} else {
		b.group()
	}
	return b.plan
}

// Unowned reports whether a plan of BuildDrift left objects as they are of which
// no change of ownership would tell that they drift.
func (p Plan) Unowned() bool {
	return slices.ContainsFunc(p.Rest, func(s Step) bool { return s.Verb == Keep && s.Recorded.Owned == "" })
}

// verify plans one object.
func (b *builder) verify(o object.Object) {
	ref, u := o.Ref(), o.Unstructured()
	live, rec := b.Facts.Live[ref], b.recorded[ref]
	s := Step{Ref: ref, Version: o.GVK().Version, Object: o, Desired: o.Digest(), Recorded: rec, UID: live.UID, Write: WriteOptions{Manager: b.Spec.FieldManager}}
	now := app.Record{Ref: ref, Version: s.Version}
	at := b.at(ref, func(string) string { return "" })
	seen := live.Prediction
	switch {
	case effectsOf(b.Spec.Policy.Switches, u.GetLabels(), u.GetAnnotations())[app.EffectIgnore],
		live.Exists && effectsOf(b.Spec.Policy.Switches, live.Labels, live.Annotations)[app.EffectIgnore]:
		s.Verb, s.Reason, s.Recorded = Skip, "a switch on the object says so", now
	case InSync(o, rec, live):
		s.Verb, s.Reason, s.Sync = Keep, reasonInSync, app.Synced
	case seen != nil && seen.Refused != nil:
		s.Verb, s.Reason, s.Sync = Report, reasonDrift, app.OutOfSync
		b.refused = append(b.refused, seen.Refused)
	case !live.Exists:
		s.Verb, s.Reason, s.Sync, s.Drifted, s.Recorded = Create, reasonDeleted, app.OutOfSync, true, now
	case seen == nil:
		s.Verb, s.Reason, s.Sync = Report, reasonDrift, app.OutOfSync
		b.refused = append(b.refused, app.Fail(app.StagePlan, app.ReasonInternal, "%s was not compared", ref))
	case len(seen.Changes) > 0:
		s.Verb, s.Reason, s.Sync, s.Drifted = Apply, reasonDrift, app.OutOfSync, true
		s.Changes, s.Held, s.Write.Explain = seen.Changes, seen.Regained, true
		now.Owned = seen.Owned // told once, not with each change of something else
		s.Recorded = now
	case len(seen.Regained) > 0 && seen.Owned != "" && b.Intent.Apply:
		s.Verb, s.Reason, s.Sync = Apply, reasonRetake, app.Synced
	default:
		s.Verb, s.Reason, s.Sync = Keep, reasonInSync, app.Synced
		now.Desired = s.Desired
		if len(seen.Regained) == 0 {
			now.Owned = seen.Owned
		}
		s.Recorded = now
	}
	if s.Verb.Writes() && !b.Intent.Apply {
		s.Verb = Report
	}
	b.add(s, at)
}
