package release

import (
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
)

func TestFailedUpgradeIsRolledBack(t *testing.T) {
	w := newWorld(t)
	w.release.Upgrade.Remediation = app.Remediation{Retries: 1, Last: true}
	w.wants(app.ReleaseInSync, app.ReleaseInstall)

	w.inline = map[string]any{"text": "second", "hook": "Failed"}
	outs := w.wants(app.ReleaseOutOfSync, app.ReleaseUpgrade, app.ReleaseRollback)
	f := outs[0].Result.Failure
	if f == nil || f.Reason != app.ReasonHook || !strings.Contains(f.Error(), "pre-upgrade") {
		t.Errorf("the upgrade failed with %v (%s)", f, f.Reason)
	}
	if len(outs[0].Result.Log) == 0 {
		t.Error("nothing is told of what Helm logged")
	}
	if r := outs[1].Result; r.Failure != nil || r.Release.FullName() != w.namespace+"/web.v1" {
		t.Errorf("the rollback: %+v", r)
	}
	if got := w.configMap("web"); got["text"] != "hello" {
		t.Errorf("after the rollback the ConfigMap has %v", got)
	}
	if h := w.release.Memory.History; h[0].Version != 3 || h[0].Action != app.ReleaseRollback || h[0].Status != "deployed" {
		t.Errorf("the newest is %+v", h[0])
	}
	if m := w.release.Memory; m.UpgradeFailures != 1 || m.Failures != 1 || m.Attempt.Action != app.ReleaseUpgrade {
		t.Errorf("counted %+v", m)
	}
	if Spent(w.release) {
		t.Error("one retry should be left")
	}

	w.wants(app.ReleaseOutOfSync, app.ReleaseUpgrade, app.ReleaseRollback)
	if !Spent(w.release) {
		t.Error("no retry should be left")
	}
	w.wants(app.ReleaseOutOfSync) // and stalled
	if d := w.decide(); d.Failure == nil || d.Failure.Reason != app.ReasonRetriesExceeded || !d.Failure.Retry.Never {
		t.Errorf("not stalled: %+v", d)
	}
	w.release.Force = "please"
	w.wants(app.ReleaseOutOfSync, app.ReleaseUpgrade, app.ReleaseRollback)

	w.inline = map[string]any{"text": "third"}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if got := w.configMap("web"); got["text"] != "third" {
		t.Errorf("the ConfigMap has %v", got)
	}
}

func TestFailedUpgradeIsUninstalled(t *testing.T) {
	w := newWorld(t)
	w.release.Upgrade.Remediation = app.Remediation{Retries: 1, Last: true, Uninstall: true}
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
	w.inline = map[string]any{"hook": "Failed"}
	w.wants(app.ReleaseAbsent, app.ReleaseUpgrade, app.ReleaseRemove)
	if got := w.configMap("web"); got != nil {
		t.Errorf("the ConfigMap is still there: %v", got)
	}
	if h := w.release.Memory.History; h[0].Status != "uninstalled" {
		t.Errorf("the newest is %+v", h[0])
	}
	w.inline = nil
	w.wants(app.ReleaseInSync, app.ReleaseInstall)
}

func TestFailedInstallIsUninstalled(t *testing.T) {
	w := newWorld(t)
	w.release.Install.Remediation.Retries = 1
	w.inline = map[string]any{"hook": "Failed"}
	outs := w.wants(app.ReleaseAbsent, app.ReleaseInstall, app.ReleaseRemove)
	if f := outs[0].Result.Failure; f.Reason != app.ReasonHook {
		t.Errorf("the install failed with %v (%s)", f, f.Reason)
	}
	w.wants(app.ReleaseFailed, app.ReleaseInstall) // the last failure is left as it is
	if d := w.decide(); d.Failure == nil || d.Failure.Reason != app.ReasonRetriesExceeded {
		t.Errorf("not stalled: %+v", d)
	}
	w.release.Reset = "please"
	w.wants(app.ReleaseFailed, app.ReleaseUpgrade)
	w.inline = nil
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
}

func TestRetryOnFailure(t *testing.T) {
	w := newWorld(t)
	w.release.Install.RetryInterval, w.release.Upgrade.RetryInterval = time.Minute, time.Minute
	w.inline = map[string]any{"hook": "Failed"}
	w.wants(app.ReleaseFailed, app.ReleaseInstall)
	w.wants(app.ReleaseFailed, app.ReleaseUpgrade)
	w.wants(app.ReleaseFailed, app.ReleaseUpgrade)
	if m := w.release.Memory; m.InstallFailures != 1 || m.UpgradeFailures != 2 {
		t.Errorf("counted %+v", m)
	}
	w.inline = nil
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	if m := w.release.Memory; m.Failures+m.InstallFailures+m.UpgradeFailures != 0 {
		t.Errorf("counted %+v", m)
	}
}

func TestTests(t *testing.T) {
	w := newWorld(t)
	w.release.Test.Enable = true
	outs := w.wants(app.ReleaseInSync, app.ReleaseInstall, app.ReleaseTest)
	if r := outs[1].Result; r.Tests != 0 || !r.Release.HasBeenTested() {
		t.Errorf("without tests: %+v", r)
	}

	w.inline = map[string]any{"tests": map[string]any{"works": "Succeeded", "breaks": "Failed"}}
	w.release.Test.Filters = []app.TestFilter{{Name: "web-breaks", Exclude: true}}
	outs = w.wants(app.ReleaseInSync, app.ReleaseUpgrade, app.ReleaseTest)
	if r := outs[1].Result; r.Tests != 1 || r.Release.Tests["web-works"].Phase != "Succeeded" {
		t.Errorf("of the tests that are chosen: %+v", r)
	}
	w.wants(app.ReleaseInSync)

	w.release.Test.Filters = []app.TestFilter{{Name: "web-breaks"}}
	w.release.Upgrade.Remediation = app.Remediation{Retries: 1, Last: true}
	w.inline["text"] = "broken"
	outs = w.wants(app.ReleaseOutOfSync, app.ReleaseUpgrade, app.ReleaseTest, app.ReleaseRollback)
	if r := outs[1].Result; r.Failure == nil || r.Failure.Reason != app.ReasonTests || r.TestsFailed != 1 {
		t.Errorf("the failed test: %+v %v", r, r.Failure)
	}
	if m := w.release.Memory; m.UpgradeFailures != 1 {
		t.Errorf("counted %+v", m)
	}

	w.release.Test.IgnoreFailures, w.release.Upgrade.Remediation.IgnoreTestFailures = true, true
	w.generation++
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade, app.ReleaseTest)
	if m := w.release.Memory; m.UpgradeFailures != 0 || !m.History[0].TestFailed() {
		t.Errorf("ignored, and counted %+v", m)
	}
}

func TestWaits(t *testing.T) {
	w := newWorld(t)
	w.release.Timeout = 5 * time.Second
	w.inline = map[string]any{"pods": "Pending"}
	outs := w.wants(app.ReleaseFailed, app.ReleaseInstall)
	if f := outs[0].Result.Failure; f.Reason != app.ReasonTimeout && f.Reason != app.ReasonUnhealthy || !strings.Contains(f.Error(), "Deployment") {
		t.Errorf("it failed with %v (%s)", f, f.Reason)
	}
	w.release.Upgrade.DisableWait = true
	w.generation++
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
	w.release.Upgrade.DisableWait, w.release.Wait = false, app.WaitLegacy
	w.inline, w.release.Timeout = map[string]any{"pods": "Running"}, time.Minute
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
}

func TestHookThatNeverEnds(t *testing.T) {
	w := newWorld(t)
	w.release.Install.Timeout = 3 * time.Second
	w.inline = map[string]any{"hook": "Running"}
	outs := w.wants(app.ReleaseFailed, app.ReleaseInstall)
	if f := outs[0].Result.Failure; f.Reason != app.ReasonTimeout || !strings.Contains(f.Error(), "web-before") {
		t.Errorf("it failed with %v (%s)", f, f.Reason)
	}
	w.release.Upgrade.DisableHooks = true
	w.generation++
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
}

func TestHealthExpressions(t *testing.T) {
	w := newWorld(t)
	w.release.Timeout = 5 * time.Second
	w.exprs = []app.HealthExpr{{Kind: "ConfigMap", Current: "data.text == 'well'", Failed: "data.text == 'broken'"}}
	w.inline = map[string]any{"text": "broken"}
	outs := w.wants(app.ReleaseFailed, app.ReleaseInstall)
	if f := outs[0].Result.Failure; !strings.Contains(f.Error(), "ConfigMap") || !strings.Contains(f.Error(), "Failed") {
		t.Errorf("it failed with %v (%s)", f, f.Reason)
	}
	w.inline = map[string]any{"text": "well"}
	w.wants(app.ReleaseInSync, app.ReleaseUpgrade)
}
