package release

import (
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
)

// situation is a release that is as it should be: row 13 of the table.
func situation() Situation {
	was := app.ReleaseSnapshot{Name: "web", Namespace: "apps", Version: 2, Status: "deployed",
		ChartName: "web", ChartVersion: "1.0.0", ConfigDigest: "sha256:values"}
	before := was
	before.Version, before.Status = 1, "superseded"
	return Situation{
		Generation: 7, ChartName: "web", ChartVersion: "1.0.0", ConfigDigest: "sha256:values",
		Release: app.Release{
			Name: "web", Namespace: "apps", StorageNamespace: "apps",
			PostRenderersDigest: "sha256:post", MetadataDigest: "sha256:meta",
			Memory: app.ReleaseMemory{
				Generation: 7, StorageNamespace: "apps", History: []app.ReleaseSnapshot{was, before},
				ObservedPostRenderers: "sha256:post", ObservedMetadata: "sha256:meta",
				Attempt: app.ReleaseAttempt{Action: app.ReleaseUpgrade, Revision: "1.0.0", Generation: 7, ConfigDigest: "sha256:values"},
			},
		},
		Storage: Storage{Last: &Stored{Snapshot: was}, Known: true, Target: TargetReady},
	}
}

// failed is row 6: the last upgrade failed, for the first time.
func failed(s *Situation) {
	s.Storage.Last.Snapshot.Status = "failed"
	s.Release.Memory.History[0].Status = "failed"
	s.Release.Memory.Failures, s.Release.Memory.UpgradeFailures = 1, 1
	s.Release.Upgrade.Remediation = app.Remediation{Retries: 3, Last: true}
}

// failedInstall is row 6 after an install.
func failedInstall(s *Situation) {
	failed(s)
	m := &s.Release.Memory
	m.History, m.UpgradeFailures, m.InstallFailures, m.Attempt.Action = m.History[:1], 0, 1, app.ReleaseInstall
	s.Release.Install.Remediation.Retries = 3
	s.Storage.Target = TargetNone
}

func tested(phase string) func(*Situation) {
	return func(s *Situation) {
		s.Release.Test.Enable = true
		h := &s.Release.Memory.History[0]
		h.Tested, h.Tests = true, map[string]app.ReleaseTested{"works": {Phase: phase}}
		s.Release.Upgrade.Remediation = app.Remediation{Retries: 1}
		s.Release.Memory.UpgradeFailures = 1
	}
}

func TestDecide(t *testing.T) {
	const never = "never: "
	for _, tt := range []struct {
		row    string
		change func(s *Situation)
		state  app.ReleaseState
		want   string // the action; or "never: " and the reason
	}{
		// The rows of the table, each alone.
		{"1 no release in storage", func(s *Situation) { s.Storage = Storage{} }, app.ReleaseAbsent, "install"},
		{"2 pending-install", func(s *Situation) { s.Storage.Last.Snapshot.Status = "pending-install" }, app.ReleaseLocked, "unlock"},
		{"2 pending-upgrade", func(s *Situation) { s.Storage.Last.Snapshot.Status = "pending-upgrade" }, app.ReleaseLocked, "unlock"},
		{"2 pending-rollback", func(s *Situation) { s.Storage.Last.Snapshot.Status = "pending-rollback" }, app.ReleaseLocked, "unlock"},
		{"2 uninstalling", func(s *Situation) { s.Storage.Last.Snapshot.Status = "uninstalling" }, app.ReleaseLocked, "uninstall-to-remedy"},
		{"3 no history, uninstalled", func(s *Situation) {
			s.Release.Memory.History, s.Storage.Last.Snapshot.Status = nil, "uninstalled"
		}, app.ReleaseAbsent, "install"},
		{"4 no history", func(s *Situation) { s.Release.Memory.History, s.Storage.Known = nil, false }, app.ReleaseUnmanaged, "upgrade"},
		{"5 someone else's revision", func(s *Situation) { s.Storage.Known = false }, app.ReleaseUnmanaged, "upgrade"},
		{"6 failed", failed, app.ReleaseFailed, "rollback"},
		{"7 uninstalled", func(s *Situation) { s.Storage.Last.Snapshot.Status = "uninstalled" }, app.ReleaseAbsent, "install"},
		{"7 by someone else", func(s *Situation) { s.Storage.Last.Snapshot.Status, s.Storage.Known = "uninstalled", false }, app.ReleaseAbsent, "install"},
		{"8 chart version", func(s *Situation) { s.ChartVersion = "1.0.1" }, app.ReleaseOutOfSync, "upgrade"},
		{"8 chart name", func(s *Situation) { s.ChartName = "site" }, app.ReleaseOutOfSync, "upgrade"},
		{"8 values", func(s *Situation) { s.ConfigDigest = "sha256:others" }, app.ReleaseOutOfSync, "upgrade"},
		{"9 post renderers", func(s *Situation) { s.Generation, s.Release.PostRenderersDigest = 8, "sha256:x" }, app.ReleaseOutOfSync, "upgrade"},
		{"9 common metadata", func(s *Situation) { s.Generation, s.Release.MetadataDigest = 8, "" }, app.ReleaseOutOfSync, "upgrade"},
		{"9 not in the same generation", func(s *Situation) { s.Release.PostRenderersDigest = "sha256:x" }, app.ReleaseInSync, ""},
		{"10 untested", func(s *Situation) { s.Release.Test.Enable = true }, app.ReleaseUntested, "test"},
		{"10 a test did not end", tested("Running"), app.ReleaseUntested, "test"},
		{"11 a test failed", tested("Failed"), app.ReleaseFailed, "rollback"},
		{"11 and is ignored", func(s *Situation) { tested("Failed")(s); s.Release.Upgrade.Remediation.IgnoreTestFailures = true }, app.ReleaseInSync, ""},
		{"11 and tests are off", func(s *Situation) { tested("Failed")(s); s.Release.Test.Enable = false }, app.ReleaseInSync, ""},
		{"11 tests are well", tested("Succeeded"), app.ReleaseInSync, ""},
		{"12 drift is corrected", func(s *Situation) { s.Drifted, s.Release.Drift.Mode = true, app.DriftCorrect }, app.ReleaseDrifted, "correct"},
		{"12 drift is told", func(s *Situation) { s.Drifted, s.Release.Drift.Mode = true, app.DriftWarn }, app.ReleaseDrifted, ""},
		{"12 drift is not looked for", func(s *Situation) { s.Drifted = true }, app.ReleaseInSync, ""},
		{"13 in sync", func(*Situation) {}, app.ReleaseInSync, ""},

		// An earlier row wins.
		{"2 before 4", func(s *Situation) { s.Release.Memory.History, s.Storage.Last.Snapshot.Status = nil, "pending-install" }, app.ReleaseLocked, "unlock"},
		{"5 before 6", func(s *Situation) { failed(s); s.Storage.Known = false }, app.ReleaseUnmanaged, "upgrade"},
		{"6 before 8", func(s *Situation) { failed(s); s.ChartVersion = "2.0.0" }, app.ReleaseFailed, "rollback"},
		{"8 before 10", func(s *Situation) { s.Release.Test.Enable, s.ConfigDigest = true, "sha256:others" }, app.ReleaseOutOfSync, "upgrade"},
		{"10 before 12", func(s *Situation) {
			s.Release.Test.Enable, s.Drifted, s.Release.Drift.Mode = true, true, app.DriftCorrect
		}, app.ReleaseUntested, "test"},
		{"a status that is none of Helm's", func(s *Situation) { s.Storage.Last.Snapshot.Status = "unknown" }, app.ReleaseUnknown, "Internal"},

		// Failed, and what is to be done about it.
		{"nothing was attempted", func(s *Situation) { failed(s); s.Release.Memory.Attempt.Action = "" }, app.ReleaseFailed, "upgrade"},
		{"what failed has changed", func(s *Situation) { failed(s); s.Release.Memory.UpgradeFailures = 0 }, app.ReleaseFailed, "upgrade"},
		{"no remediation", func(s *Situation) { failed(s); s.Release.Upgrade.Remediation = app.Remediation{} }, app.ReleaseFailed, never + "RetriesExceeded"},
		{"the last failure too", func(s *Situation) { failed(s); s.Release.Memory.UpgradeFailures = 4 }, app.ReleaseFailed, "rollback"},
		{"not the last failure", func(s *Situation) {
			failed(s)
			s.Release.Memory.UpgradeFailures, s.Release.Upgrade.Remediation.Last = 4, false
		}, app.ReleaseFailed, never + "RetriesExceeded"},
		{"without limit", func(s *Situation) {
			failed(s)
			s.Release.Memory.UpgradeFailures, s.Release.Upgrade.Remediation = 400, app.Remediation{Retries: -1}
		}, app.ReleaseFailed, "rollback"},
		{"by uninstall", func(s *Situation) { failed(s); s.Release.Upgrade.Remediation.Uninstall = true }, app.ReleaseFailed, "uninstall-to-remedy"},
		{"no target", func(s *Situation) {
			failed(s)
			s.Release.Memory.History, s.Storage.Target = s.Release.Memory.History[:1], TargetNone
		}, app.ReleaseFailed, never + "NoRollbackTarget"},
		{"a target that is gone", func(s *Situation) { failed(s); s.Storage.Target = TargetChanged }, app.ReleaseFailed, "upgrade"},
		{"an install is uninstalled", failedInstall, app.ReleaseFailed, "uninstall-to-remedy"},
		{"an install without remediation", func(s *Situation) { failedInstall(s); s.Release.Install.Remediation.Retries = 0 }, app.ReleaseFailed, never + "RetriesExceeded"},
		{"an install whose test failed", func(s *Situation) {
			tested("Failed")(s)
			s.Release.Memory.Attempt.Action, s.Release.Memory.InstallFailures = app.ReleaseInstall, 1
			s.Release.Install.Remediation.Retries = 1
		}, app.ReleaseFailed, "uninstall-to-remedy"},
		{"retried, not remedied", func(s *Situation) {
			failed(s)
			s.Release.Upgrade.RetryInterval = 1
			s.Release.Memory.UpgradeFailures = 99
		}, app.ReleaseFailed, "upgrade"},
		{"an install is retried by an upgrade", func(s *Situation) { failedInstall(s); s.Release.Install.RetryInterval = 1 }, app.ReleaseFailed, "upgrade"},

		// Attempts that are used up.
		{"no install is left", func(s *Situation) { s.Storage = Storage{}; s.Release.Memory.InstallFailures = 1 }, app.ReleaseAbsent, never + "RetriesExceeded"},
		{"no upgrade is left", func(s *Situation) { s.ChartVersion, s.Release.Memory.UpgradeFailures = "2.0.0", 1 }, app.ReleaseOutOfSync, never + "RetriesExceeded"},
		{"one upgrade is left", func(s *Situation) {
			s.ChartVersion, s.Release.Memory.UpgradeFailures, s.Release.Upgrade.Remediation.Retries = "2.0.0", 1, 1
		}, app.ReleaseOutOfSync, "upgrade"},

		// Forced.
		{"forced in sync", func(s *Situation) { s.Release.Force = "now" }, app.ReleaseInSync, "upgrade"},
		{"forced when no install is left", func(s *Situation) {
			s.Storage, s.Release.Memory.InstallFailures, s.Release.Force = Storage{}, 1, "now"
		}, app.ReleaseAbsent, "install"},
		{"forced when no upgrade is left", func(s *Situation) {
			s.ChartVersion, s.Release.Memory.UpgradeFailures, s.Release.Force = "2.0.0", 1, "now"
		}, app.ReleaseOutOfSync, "upgrade"},
		{"forced instead of remedied", func(s *Situation) { failed(s); s.Release.Force = "now" }, app.ReleaseFailed, "upgrade"},
		{"forced does not break a lock", func(s *Situation) { s.Storage.Last.Snapshot.Status, s.Release.Force = "pending-upgrade", "now" }, app.ReleaseLocked, "unlock"},
	} {
		t.Run(tt.row, func(t *testing.T) {
			s := situation()
			tt.change(&s)
			d := Decide(s)
			got := string(d.Action)
			if d.Failure != nil {
				if got != "" {
					t.Errorf("it acts, %s, and fails: %v", got, d.Failure)
				}
				if got = string(d.Failure.Reason); d.Failure.Retry.Never {
					got = never + got
				}
			}
			if d.State != tt.state || got != tt.want {
				t.Errorf("%s (%s): %q, want %s: %q", d.State, d.Because, got, tt.state, tt.want)
			}
		})
	}
}

func TestDecideHistory(t *testing.T) {
	s := situation()
	for v := range 8 {
		old := s.Release.Memory.History[1]
		old.Version = -v
		s.Release.Memory.History = append(s.Release.Memory.History, old)
	}
	if h := Decide(s).Memory.History; len(h) != 2 {
		t.Errorf("in sync, %d snapshots are kept: the newest and the one to go back to are enough", len(h))
	}
	s.Release.Upgrade.RetryInterval = 1
	if h := Decide(s).Memory.History; len(h) != 5 {
		t.Errorf("without rollbacks %d snapshots are kept, want 5", len(h))
	}
	s.Storage.Known = false
	if h := Decide(s).Memory.History; len(h) != 0 {
		t.Errorf("of an unmanaged release %d snapshots are kept", len(h))
	}
	s = situation()
	s.Release.Memory.ObservedMetadata = "" // as of a status from before it was remembered
	if m := Decide(s).Memory; m.ObservedMetadata != "sha256:meta" {
		t.Errorf("in sync, the metadata that is observed is %q", m.ObservedMetadata)
	}
}

func TestFollows(t *testing.T) {
	for _, tt := range []struct {
		done []app.ReleaseAction
		next app.ReleaseAction
		want bool
	}{
		{nil, app.ReleaseInstall, true},
		{[]app.ReleaseAction{app.ReleaseUnlock}, app.ReleaseUpgrade, true},
		{[]app.ReleaseAction{app.ReleaseInstall}, app.ReleaseTest, true},
		{[]app.ReleaseAction{app.ReleaseInstall}, app.ReleaseUpgrade, false},
		{[]app.ReleaseAction{app.ReleaseUpgrade}, app.ReleaseRollback, true},
		{[]app.ReleaseAction{app.ReleaseUpgrade, app.ReleaseRollback}, app.ReleaseUpgrade, false},
		{[]app.ReleaseAction{app.ReleaseRemove}, app.ReleaseInstall, false},
		{[]app.ReleaseAction{app.ReleaseCorrect}, app.ReleaseCorrect, false},
		{[]app.ReleaseAction{app.ReleaseUnlock}, app.ReleaseUnlock, false},
	} {
		if got := Follows(tt.done, tt.next); got != tt.want {
			t.Errorf("after %v, %s: %v", tt.done, tt.next, got)
		}
	}
}

func TestMoved(t *testing.T) {
	for want, change := range map[string]func(r *app.Release, chart *string){
		"":                  func(*app.Release, *string) {},
		"storage namespace": func(r *app.Release, _ *string) { r.StorageNamespace = "elsewhere" },
		"release namespace": func(r *app.Release, _ *string) { r.Namespace = "elsewhere" },
		"release name":      func(r *app.Release, _ *string) { r.Name = "other" },
		"chart name":        func(_ *app.Release, chart *string) { *chart = "other" },
	} {
		r, chart := situation().Release, "web"
		change(&r, &chart)
		if got := Moved(r, chart); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if old := Old(r); old.Name != "web" || old.Namespace != "apps" || old.StorageNamespace != "apps" {
			t.Errorf("%s: the old release is %s/%s in %s", want, old.Namespace, old.Name, old.StorageNamespace)
		}
	}
	r := situation().Release
	r.Upgrade.InPlace = true
	if got := Moved(r, "other"); got != "" {
		t.Errorf("in place, and yet it moved: %s", got)
	}
	r = app.Release{Name: "other", Memory: app.ReleaseMemory{StorageNamespace: "apps"}}
	if got := Moved(r, "web"); got != "" {
		t.Errorf("nothing was installed, and yet it moved: %s", got)
	}
}

func TestRenew(t *testing.T) {
	same := app.ReleaseAttempt{Revision: "1.0.0", Generation: 7, ConfigDigest: "sha256:values"}
	for because, change := range map[string]func(a *app.ReleaseAttempt, r *app.Release){
		"":           func(*app.ReleaseAttempt, *app.Release) {},
		"generation": func(a *app.ReleaseAttempt, _ *app.Release) { a.Generation++ },
		"version":    func(a *app.ReleaseAttempt, _ *app.Release) { a.Revision = "1.0.1" },
		"values":     func(a *app.ReleaseAttempt, _ *app.Release) { a.ConfigDigest = "sha256:others" },
		"reset":      func(_ *app.ReleaseAttempt, r *app.Release) { r.Reset = "now" },
	} {
		r, attempt := situation().Release, same
		r.Memory.Failures, r.Memory.UpgradeFailures, r.Memory.InstallFailures = 3, 2, 1
		change(&attempt, &r)
		m, why := Renew(r, attempt)
		if !strings.Contains(why, because) || (because == "") != (why == "") {
			t.Errorf("%q: renewed because %q", because, why)
		}
		if forgot := m.Failures+m.UpgradeFailures+m.InstallFailures == 0; forgot != (because != "") {
			t.Errorf("%q: failures are %d, %d, %d", because, m.Failures, m.UpgradeFailures, m.InstallFailures)
		}
		if m.Attempt.Action != app.ReleaseUpgrade || m.Attempt.Revision != attempt.Revision {
			t.Errorf("%q: the attempt is %+v", because, m.Attempt)
		}
	}
}

func TestSpent(t *testing.T) {
	s := situation()
	failed(&s)
	s.Release.Memory.UpgradeFailures = 4
	if !Spent(s.Release) {
		t.Error("four failures of three retries, and an attempt is left")
	}
	if f := RetriesExceeded(s.Release.Memory); f.Error() != "Failed to upgrade after 4 attempt(s)" {
		t.Error(f)
	}
	s.Release.Upgrade.Remediation.Uninstall = true
	if Spent(s.Release) {
		t.Error("after an uninstall, an install is tried")
	}
}
