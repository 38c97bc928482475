package expr

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
)

// Health judges objects of the kinds that have expressions. A nil *Health has
// none.
type Health struct{ rules []rule }

type rule struct {
	group, kind string // kind "" is all of the group
	steps       []step // in the order in which they are asked
}

type step struct {
	expression
	name   string
	status app.HealthStatus
}

// ParseHealth reads rules. The error names the rule by its index and the
// expression.
func ParseHealth(exprs []app.HealthExpr) (*Health, error) {
	if len(exprs) == 0 {
		return nil, nil
	}
	h := &Health{}
	for i, e := range exprs {
		r := rule{group: e.Group, kind: e.Kind}
		if e.Current == "" {
			return nil, fmt.Errorf("healthCheckExprs[%d]: %w", i, errors.New("current is missing"))
		}
		for _, s := range []struct {
			name, text string
			status     app.HealthStatus
		}{{"inProgress", e.InProgress, app.Progressing}, {"failed", e.Failed, app.Degraded}, {"current", e.Current, app.Healthy}} {
			if s.text == "" {
				continue
			}
			parsed, err := parse(s.text)
			if err != nil {
				return nil, fmt.Errorf("healthCheckExprs[%d].%s: %w", i, s.name, err)
			}
			r.steps = append(r.steps, step{parsed, s.name, s.status})
		}
		h.rules = append(h.rules, r)
	}
	return h, nil
}

// Has reports whether objects of a kind are judged by expressions.
func (h *Health) Has(gk schema.GroupKind) bool { return h.rule(gk) != nil }

// rule prefers one for the kind to one for its group.
func (h *Health) rule(gk schema.GroupKind) *rule {
	if h == nil {
		return nil
	}
	var group *rule
	for i := range h.rules {
		r := &h.rules[i]
		switch {
		case r.group != gk.Group:
		case r.kind == gk.Kind:
			return r
		case r.kind == "" && group == nil:
			group = r
		}
	}
	return group
}

// Assess judges an object of a kind that Has is true for, as Flux does: one
// whose status is of an older generation is in progress; otherwise the first of
// inProgress, failed and current that holds counts. One that cannot be
// evaluated, for want of a field, means that the object is not there yet.
func (h *Health) Assess(ctx context.Context, u *unstructured.Unstructured) app.Health {
	r := h.rule(u.GroupVersionKind().GroupKind())
	if r == nil {
		return app.Health{Status: app.HealthLost, Message: "there is no expression for this kind"}
	}
	if u.GetDeletionTimestamp() != nil {
		return app.Health{Status: app.Progressing, Message: "Pending deletion"}
	}
	if seen, ok, err := unstructured.NestedInt64(u.Object, "status", "observedGeneration"); ok && err == nil && u.GetGeneration() != 0 && seen != u.GetGeneration() {
		return app.Health{Status: app.Progressing, Message: "the status is of an older generation"}
	}
	for _, s := range r.steps {
		holds, err := s.eval(ctx, u.Object)
		if err != nil {
			return app.Health{Status: app.Progressing, Message: "expression " + s.name + ": " + err.Error()}
		}
		if holds {
			return app.Health{Status: s.status, Message: "expression " + s.name + " holds"}
		}
	}
	return app.Health{Status: app.Progressing, Message: "none of the expressions holds"}
}
