// Package health tells how a live object fares, from the object alone. It
// holds two rule sets: the conventions of kstatus, which have a verdict for
// every kind, and rules by kind, which leave kinds without a rule without
// health. It must not know clusters, apps or time limits: waiting for health
// is the engine's business.
package health

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
)

// Assess judges one live object by a rule set; nil is an absent object. For
// kinds that Needs reports false for, an object with nothing but its kind and
// metadata is enough.
func Assess(u *unstructured.Unstructured, rules app.HealthRules) app.Health {
	if u == nil || u.Object == nil {
		return app.Health{Status: app.Missing, Message: "the object does not exist"}
	}
	if deleting(u) {
		return progressing("Pending deletion")
	}
	if rules == app.HealthByKind {
		if rule, ok := ruleFor(u.GroupVersionKind().GroupKind()); ok {
			return rule(u)
		}
		return app.Health{}
	}
	return assessKstatus(u)
}

// Needs reports whether the verdict on objects of a kind depends on more than
// that they exist and whether they are being deleted. Where it does not, the
// engine need not read them, which for Secrets is also a promise kept.
func Needs(gk schema.GroupKind, rules app.HealthRules) bool {
	if rules == app.HealthByKind {
		_, ok := ruleFor(gk)
		return ok
	}
	return !kstatusStatic(gk)
}

func deleting(u *unstructured.Unstructured) bool {
	at, _, _ := unstructured.NestedString(u.Object, "metadata", "deletionTimestamp")
	return at != ""
}

func healthy(message string) app.Health   { return app.Health{Status: app.Healthy, Message: message} }
func suspended(message string) app.Health { return app.Health{Status: app.Suspended, Message: message} }
func progressing(message string) app.Health {
	return app.Health{Status: app.Progressing, Message: message}
}
func degraded(message string) app.Health { return app.Health{Status: app.Degraded, Message: message} }
func lost(message string) app.Health     { return app.Health{Status: app.HealthLost, Message: message} }
