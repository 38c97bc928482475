package health

import "plumb.dev/plumb/internal/app"

// badness orders the states, best to worst.
var badness = [...]app.HealthStatus{
	app.HealthNone, app.Healthy, app.Suspended, app.Progressing, app.Missing, app.Degraded, app.HealthLost,
}

func rank(s app.HealthStatus) int {
	for i, known := range badness {
		if known == s {
			return i
		}
	}
	return len(badness)
}

// Worse reports whether a is worse than b.
func Worse(a, b app.HealthStatus) bool { return rank(a) > rank(b) }

// Worst is the health of an app from that of its objects, with the first of
// the worst named as the ground. No object at all is healthy, as are objects
// without health.
//
// By kind, as Argo CD has it: absent objects do not count (they are out of
// sync instead) unless all are absent, nor do child Applications that are
// absent or unknown. By kstatus an absent object counts. The caller leaves
// out what must not count: hooks, and the resource that declares the app.
func Worst(objects []app.ObjectReport, rules app.HealthRules) app.Health {
	worst := app.Health{Status: app.Healthy}
	absent := 0
	for _, o := range objects {
		status := o.Health.Status
		if status == app.Missing {
			absent++
		}
		if rules == app.HealthByKind {
			child := o.Ref.Kind == "Application" && o.Ref.Group == "argoproj.io"
			if status == app.Missing || child && status == app.HealthLost {
				continue
			}
		}
		if Worse(status, worst.Status) {
			worst.Status = status
			worst.Message = o.Ref.String()
			if o.Health.Message != "" {
				worst.Message += ": " + o.Health.Message
			}
		}
	}
	if absent > 0 && absent == len(objects) {
		return app.Health{Status: app.Missing, Message: "none of the objects exists"}
	}
	return worst
}
