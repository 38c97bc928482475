package plan

import (
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Situation is what Decide looks at besides the spec.
type Situation struct {
	Cause    app.Cause
	Freed    bool   // what stood against the last attempt may have come about, whatever the cause
	Revision string // the commit that is to be delivered
	SpecHash string // of all else that decides the outcome
	LastSync *app.Attempt
	Now      time.Time
}

// Intent says whether, and how much of, a plan may be carried out.
type Intent struct {
	Apply bool
	// Heal: the revision was delivered before; only what is out of sync since
	// is written, and the sync counts as partial.
	Heal bool
	// Retry counts the tries before this one at the same revision.
	Retry, Heals int
	// NotBefore is when a plan that is not empty may be carried out; zero for
	// now.
	NotBefore time.Time
	// Refused says why the policy does not try again by itself.
	Refused *app.Failure

	Prune  bool
	DryRun bool
	Force  bool
	Only   []object.Ref
	By     string // the user, "" if automatic
}

// Decide applies the sync policy. A user's request always applies; a manual
// app never does without; a new revision or spec applies once; what drifted
// since is healed by ModeEnforce only, with its backoff.
func Decide(spec app.Spec, s Situation) Intent {
	in := Intent{Prune: spec.Policy.Prune, Force: spec.Policy.Force}
	if r := spec.Request; r != nil && r.Sync && !r.Automated {
		in.Apply, in.By, in.DryRun, in.Only = true, r.By, r.DryRun, r.Resources
		in.Prune = r.Prune || spec.Policy.Prune && spec.Policy.Mode == app.ModeEnforce && r.By == ""
		in.Force = in.Force || r.Force
		return in
	}
	if spec.Policy.Mode == app.ModeManual {
		return in
	}
	last := s.LastSync
	if last == nil || last.Revision != s.Revision || last.SpecHash != s.SpecHash {
		in.Apply = true
		return in
	}
	if !last.Succeeded {
		return decideRetry(spec, s, in)
	}
	if spec.Policy.Mode != app.ModeEnforce {
		return in
	}
	in.Apply, in.Heal = true, true
	in.Heals = last.Heals
	backoff := spec.Policy.HealBackoff
	if backoff.Initial == 0 || backoff.Max > 0 && s.Now.Sub(last.Finished) > 2*backoff.Max {
		in.Heals = 0 // no backoff, or calm for long enough to begin anew
	}
	if in.Heals > 0 {
		in.NotBefore = s.after(backoff.After(in.Heals - 1))
	}
	return in
}

// skew is how far apart the clocks of machines may be that are right.
const skew = time.Minute

// after is the time that a wait since the last attempt is over. An attempt
// that ended in the future was noted by a clock that was wrong: waiting for
// that time to come could take years.
func (s Situation) after(wait time.Duration) time.Time {
	if s.LastSync.Finished.After(s.Now.Add(skew)) {
		return time.Time{}
	}
	return s.LastSync.Finished.Add(wait)
}

func decideRetry(spec app.Spec, s Situation, in Intent) Intent {
	last, policy := s.LastSync, spec.Policy
	if s.Freed || s.Cause == app.CauseDepends {
		// What stood against it has come about: no try is used up, none waited for.
		in.Apply, in.Retry = true, last.Retries
		return in
	}
	in.Retry = last.Retries + 1
	if policy.RetryInterval > 0 {
		in.Apply = true
		switch s.Cause {
		case app.CauseDrift, app.CauseHealth:
			in.NotBefore = s.after(policy.RetryInterval)
		}
		return in
	}
	if policy.RetryLimit >= 0 && last.Retries >= policy.RetryLimit {
		in.Refused = app.Fail(app.StageApply, app.ReasonPartial,
			"failed last sync attempt to %s", s.Revision)
		in.Refused.Retry.Never = true
		return in
	}
	in.Apply = true
	in.NotBefore = s.after(policy.Retry.After(in.Retry))
	return in
}
