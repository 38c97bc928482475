package release

import (
	"fmt"
	"slices"

	"plumb.dev/plumb/internal/app"
)

// Situation is all that a decision depends on.
type Situation struct {
	Release    app.Release // with its memory, after Renew
	Generation int64
	// The chart and the values that are wanted.
	ChartName, ChartVersion, ConfigDigest string

	Storage Storage
	// Drifted: the cluster differs from the manifest of Storage.Last, and drift
	// is looked for. Decide without it first: it matters only if the decision
	// is ReleaseInSync without an action.
	Drifted bool
}

// Decision is what comes next.
type Decision struct {
	State   app.ReleaseState
	Because string            // why it is this state, one phrase; may be ""
	Action  app.ReleaseAction // ReleaseNone: nothing is to be done
	// Forced: a request to force is what made the action allowed.
	Forced bool
	// Failure: something would have to be done, and must not be. With
	// Retry.Never the release is stalled.
	Failure *app.Failure
	// Memory for the action, and for the next look: history that is not to be
	// relied on, or no longer needed, is gone from it.
	Memory app.ReleaseMemory
}

// Helm's words for the status of a revision, as far as decisions depend on them.
const (
	statusDeployed    = "deployed"
	statusFailed      = "failed"
	statusUninstalled = "uninstalled"

	statusUninstalling = "uninstalling"
)

// unended are those of an action that is at work, or whose process is dead.
// Flux has no way out of an uninstall that did not end: here it is ended.
var unended = []string{"pending-install", "pending-upgrade", "pending-rollback", statusUninstalling}

// Decide tells the state of a release and what is to be done about it. The rows
// of Flux's table come in its order, but for row 7, and the first that applies counts. A run
// hands a request to force to its first decision only.
func Decide(s Situation) Decision {
	state, because := s.state()
	d := Decision{State: state, Because: because, Memory: s.Release.Memory}
	switch state {
	case app.ReleaseAbsent:
		s.deliver(&d, app.ReleaseInstall, s.Release.Install.Remediation.Exhausted(d.Memory.InstallFailures))
	case app.ReleaseLocked:
		d.Action = app.ReleaseUnlock
		if s.Storage.Last.Snapshot.Status == statusUninstalling {
			d.Action = app.ReleaseRemove
		}
	case app.ReleaseUnmanaged:
		d.Memory.History, d.Action = nil, app.ReleaseUpgrade
	case app.ReleaseFailed:
		s.remedy(&d)
	case app.ReleaseOutOfSync:
		s.deliver(&d, app.ReleaseUpgrade, s.Release.Upgrade.Remediation.Exhausted(d.Memory.UpgradeFailures))
	case app.ReleaseUntested:
		d.Action = app.ReleaseTest
	case app.ReleaseDrifted:
		if s.Release.Drift.Mode == app.DriftCorrect {
			d.Action = app.ReleaseCorrect
		}
	case app.ReleaseInSync:
		d.Memory.History = s.recent()
		d.Memory.ObservedPostRenderers, d.Memory.ObservedMetadata = s.Release.PostRenderersDigest, s.Release.MetadataDigest
		if s.Release.Force != "" {
			d.Action, d.Forced, d.Because = app.ReleaseUpgrade, true, "it was requested"
		}
	default:
		d.Failure = app.Fail(app.StagePlan, app.ReasonInternal, "nothing is known of what to do about %s", because)
	}
	return d
}

// state goes through the table, a row a line.
func (s Situation) state() (app.ReleaseState, string) {
	m, last := s.Release.Memory, s.Storage.Last
	if last == nil {
		return app.ReleaseAbsent, "there is no release" // row 1
	}
	now := last.Snapshot
	var was app.ReleaseSnapshot
	if len(m.History) > 0 {
		was = m.History[0]
	}
	renewed := s.Generation != m.Generation
	test := s.Release.Test
	switch {
	case slices.Contains(unended, now.Status):
		return app.ReleaseLocked, "the last action did not end: the release is " + now.Status // row 2
	case len(m.History) == 0 && now.Status == statusUninstalled:
		return app.ReleaseAbsent, "the release is uninstalled" // row 3
	case len(m.History) == 0:
		return app.ReleaseUnmanaged, "the release was there before" // row 4
	case now.Status == statusUninstalled:
		return app.ReleaseAbsent, "the release is uninstalled" // row 7, which row 5 would only delay: Helm upgrades no such release
	case !s.Storage.Known:
		return app.ReleaseUnmanaged, "someone else changed the release" // row 5
	case now.Status == statusFailed:
		return app.ReleaseFailed, "the last action failed" // row 6
	case now.Status != statusDeployed:
		return app.ReleaseUnknown, "a release that is " + now.Status
	case now.ChartName != s.ChartName || now.ChartVersion != s.ChartVersion:
		return app.ReleaseOutOfSync, fmt.Sprintf("the chart is %s@%s, and was %s", s.ChartName, s.ChartVersion, now.Chart()) // row 8
	case was.ConfigDigest != s.ConfigDigest:
		return app.ReleaseOutOfSync, "the values changed" // row 8
	case renewed && s.Release.PostRenderersDigest != m.ObservedPostRenderers:
		return app.ReleaseOutOfSync, "the post renderers changed" // row 9
	case renewed && s.Release.MetadataDigest != m.ObservedMetadata:
		return app.ReleaseOutOfSync, "the common metadata changed" // row 9
	case test.Enable && !was.HasBeenTested():
		return app.ReleaseUntested, "its tests were not run" // row 10
	case test.Enable && s.testsCount() && was.TestFailed():
		return app.ReleaseFailed, "a test failed" // row 11
	case s.Release.Drift.Mode != app.DriftOff && s.Drifted:
		return app.ReleaseDrifted, "the cluster differs from the release" // row 12
	}
	return app.ReleaseInSync, "" // row 13
}

// deliver installs or upgrades, unless all attempts are used up.
func (s Situation) deliver(d *Decision, action app.ReleaseAction, exhausted bool) {
	d.Action = action
	if !exhausted {
		return
	}
	if s.Release.Force != "" {
		d.Forced = true
		return
	}
	d.Action, d.Failure = app.ReleaseNone, RetriesExceeded(d.Memory)
}

// remedy decides about a release whose last action, or test, failed.
func (s Situation) remedy(d *Decision) {
	policy, failures, active := s.remediation()
	d.Action = app.ReleaseUpgrade
	switch {
	case s.Release.RetryInterval(d.Memory.Attempt.Action) > 0:
		d.Memory.History = s.recent()
		return
	case !active, failures == 0: // what failed is not what is wanted now
		return
	case s.Release.Force != "":
		d.Forced = true
		return
	case policy.Exhausted(failures) && !policy.Last:
		d.Action, d.Failure = app.ReleaseNone, RetriesExceeded(d.Memory)
		return
	}
	d.Memory.History = s.recent()
	if policy.Uninstall {
		d.Action = app.ReleaseRemove
		return
	}
	switch s.Storage.Target {
	case TargetReady:
		d.Action = app.ReleaseRollback
	case TargetNone:
		d.Action = app.ReleaseNone
		d.Failure = app.Fail(app.StageApply, app.ReasonNoRollbackTarget, "missing target release for rollback: cannot remediate failed release").
			WithHint("Change the chart or the values, or force an upgrade.")
		d.Failure.Retry.Never = true
	}
}

// remediation is the policy that applies to what failed, and how often it did;
// active is false if nothing was attempted that a policy is for.
func (s Situation) remediation() (p app.Remediation, failures int64, active bool) {
	m := s.Release.Memory
	switch m.Attempt.Action {
	case app.ReleaseInstall:
		p = s.Release.Install.Remediation
		p.Uninstall = true
		return p, m.InstallFailures, true
	case app.ReleaseUpgrade:
		return s.Release.Upgrade.Remediation, m.UpgradeFailures, true
	}
	return app.Remediation{IgnoreTestFailures: s.Release.Test.IgnoreFailures}, 0, false
}

// testsCount reports whether a failed test makes the release a failure.
func (s Situation) testsCount() bool {
	p, _, active := s.remediation()
	return active && !p.IgnoreTestFailures
}

// recent is the history that is still of use: the newest snapshot and all down
// to the one that a rollback would go to, or the five newest.
func (s Situation) recent() []app.ReleaseSnapshot {
	h := s.Release.Memory.History
	if s.Release.RetryInterval(s.Release.Memory.Attempt.Action) == 0 {
		if at := rollbackTarget(s.Release); at > 0 {
			return h[:at+1]
		}
	}
	const most = 5
	return h[:min(len(h), most)]
}

// rollbackTarget is where in the history the revision is to go back to, 0 if
// there is none.
func rollbackTarget(r app.Release) int {
	p, _, _ := Situation{Release: r}.remediation()
	for i, snap := range r.Memory.History {
		if i > 0 && snap.Good(p.IgnoreTestFailures) {
			return i
		}
	}
	return 0
}

// RetriesExceeded is the failure of a release that no attempt is left for. After
// an action that Remedies it is due at once if Spent says so.
func RetriesExceeded(m app.ReleaseMemory) *app.Failure {
	failures := m.UpgradeFailures
	if m.Attempt.Action == app.ReleaseInstall {
		failures = m.InstallFailures
	}
	f := app.Fail(app.StageApply, app.ReasonRetriesExceeded, "Failed to %s after %d attempt(s)", m.Attempt.Action, failures).
		WithHint("Change the chart or the values, or request a reset or a forced action.")
	f.Retry.Never = true
	return f
}

// Spent reports whether, after an action that Remedies, no attempt is left. An
// upgrade that is remedied by an uninstall is followed by an install, which has
// attempts of its own.
func Spent(r app.Release) bool {
	p, failures, active := Situation{Release: r}.remediation()
	return active && p.Exhausted(failures) && !(r.Memory.Attempt.Action == app.ReleaseUpgrade && p.Uninstall)
}

// Follows reports whether a run that did the actions done goes on with next:
// each sort of action comes once in a run, and the next run does what is left.
// A run ends after an action that Remedies.
func Follows(done []app.ReleaseAction, next app.ReleaseAction) bool {
	for _, a := range done {
		if a == next || a.Remedies() || a.Delivers() && next.Delivers() {
			return false
		}
	}
	return true
}
