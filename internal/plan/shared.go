package plan

import (
	"fmt"
	"slices"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// noteShared warns of an object that this app delivered, and that another app
// has delivered since: each run of the one undoes what the other did.
func (b *builder) noteShared(o object.Object, live Live, rec app.Record) {
	if rec.Owned == "" || !live.Exists || live.Owned == rec.Owned {
		return
	}
	var who []string
	note := func(key, value string) {
		if value != "" {
			who = append(who, key+"="+value)
		}
	}
	labels, annotations := b.Spec.Mark.Stamp(o.Ref())
	for key, want := range labels {
		if live.Labels[key] != want {
			note(key, live.Labels[key])
		}
	}
	for key, want := range annotations {
		if live.Annotations[key] != want {
			note(key, live.Annotations[key])
		}
	}
	for _, other := range b.Owners {
		if !slices.Contains(live.Others, other.Manager) {
			continue
		}
		for _, key := range other.Keys {
			note(key, live.Labels[key])
			note(key, live.Annotations[key])
		}
	}
	if len(who) == 0 {
		return
	}
	slices.Sort(who)
	b.plan.Warnings = append(b.plan.Warnings, app.Warning{Message: fmt.Sprintf(
		"%s (%s) is delivered by another app as well (%s): whichever runs last has it; leave it to one of them", o, o.Origin, strings.Join(who, ", "))})
}
