package release

import "plumb.dev/plumb/internal/app"

// Moved says what changed of where and what the release is, so that the one of
// the memory must be uninstalled before the app's is looked at, and "" if nothing
// did. A run with such an uninstall ends with it.
func Moved(r app.Release, chartName string) (what string) {
	m := r.Memory
	if m.StorageNamespace == "" || len(m.History) == 0 {
		return ""
	}
	switch was := m.History[0]; {
	case r.StorageNamespace != m.StorageNamespace:
		return "storage namespace"
	case r.Namespace != was.Namespace:
		return "release namespace"
	case r.Name != was.Name:
		return "release name"
	case chartName != was.ChartName && !r.Upgrade.InPlace:
		return "chart name"
	}
	return ""
}

// Old is the release that the memory tells of, to be uninstalled: because the
// app's is another now, or because the app is deleted.
func Old(r app.Release) app.Release {
	if m := r.Memory; m.StorageNamespace != "" && len(m.History) > 0 {
		r.Name, r.Namespace, r.StorageNamespace = m.History[0].Name, m.History[0].Namespace, m.StorageNamespace
	}
	return r
}

// Renew notes what is attempted, and forgets the failures if it is not what
// failed: another generation, chart version or values; or if that is requested.
// It says which. It comes before Decide.
func Renew(r app.Release, attempt app.ReleaseAttempt) (m app.ReleaseMemory, because string) {
	m = r.Memory
	switch was := m.Attempt; {
	case was.Generation != attempt.Generation:
		because = "the generation differs from the last attempt"
	case was.Revision != attempt.Revision:
		because = "the chart version differs from the last attempt"
	case was.ConfigDigest != "" && was.ConfigDigest != attempt.ConfigDigest:
		because = "the values differ from the last attempt"
	case r.Reset != "":
		because = "a reset was requested"
	}
	if because != "" {
		m.Failures, m.InstallFailures, m.UpgradeFailures = 0, 0, 0
	}
	attempt.Action, attempt.Duration = m.Attempt.Action, m.Attempt.Duration
	m.Attempt, m.StorageNamespace = attempt, r.StorageNamespace
	return m, because
}
