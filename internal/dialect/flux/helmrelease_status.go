package flux

import (
	"time"

	"plumb.dev/plumb/internal/app"
)

// decodeMemory reads what the status remembers of a release.
func decodeMemory(status map[string]any) app.ReleaseMemory {
	m := app.ReleaseMemory{
		Generation:            integer(status, "observedGeneration"),
		StorageNamespace:      text(status, "storageNamespace"),
		Failures:              integer(status, "failures"),
		InstallFailures:       integer(status, "installFailures"),
		UpgradeFailures:       integer(status, "upgradeFailures"),
		ObservedPostRenderers: text(status, "observedPostRenderersDigest"),
		ObservedMetadata:      text(status, "observedCommonMetadataDigest"),
		Attempt: app.ReleaseAttempt{
			Revision:       text(status, "lastAttemptedRevision"),
			RevisionDigest: text(status, "lastAttemptedRevisionDigest"),
			Generation:     integer(status, "lastAttemptedGeneration"),
			ConfigDigest:   text(status, "lastAttemptedConfigDigest"),
			Action:         app.ReleaseAction(text(status, "lastAttemptedReleaseAction")),
		},
	}
	m.Attempt.Duration, _ = time.ParseDuration(text(status, "lastAttemptedReleaseActionDuration"))
	for _, item := range list(status, "history") {
		if entry, ok := item.(map[string]any); ok {
			m.History = append(m.History, decodeSnapshot(entry))
		}
	}
	return m
}

// snapshotVersion is how the digest of a snapshot is made.
const snapshotVersion = "v2"

func decodeSnapshot(m map[string]any) app.ReleaseSnapshot {
	s := app.ReleaseSnapshot{
		Unverified: text(m, "apiVersion") != snapshotVersion,
		Digest:     text(m, "digest"), Name: text(m, "name"), Namespace: text(m, "namespace"),
		Version: int(integer(m, "version")), Status: text(m, "status"), Action: app.ReleaseAction(text(m, "action")),
		ChartName: text(m, "chartName"), ChartVersion: text(m, "chartVersion"), AppVersion: text(m, "appVersion"),
		ConfigDigest: text(m, "configDigest"), OCIDigest: text(m, "ociDigest"),
		FirstDeployed: viewTime(text(m, "firstDeployed")), LastDeployed: viewTime(text(m, "lastDeployed")), Deleted: viewTime(text(m, "deleted")),
	}
	tests, tested := m["testHooks"].(map[string]any)
	s.Tested = tested
	for name := range tests {
		t := section(tests, name)
		if s.Tests == nil {
			s.Tests = map[string]app.ReleaseTested{}
		}
		s.Tests[name] = app.ReleaseTested{Phase: text(t, "phase"), Started: viewTime(text(t, "lastStarted")), Completed: viewTime(text(t, "lastCompleted"))}
	}
	return s
}

// encodeMemory is the reverse of decodeMemory, without the generation: that is
// for the outcome to say.
func encodeMemory(m app.ReleaseMemory, status map[string]any) {
	for field, value := range map[string]string{
		"storageNamespace":                   m.StorageNamespace,
		"observedPostRenderersDigest":        m.ObservedPostRenderers,
		"observedCommonMetadataDigest":       m.ObservedMetadata,
		"lastAttemptedRevision":              m.Attempt.Revision,
		"lastAttemptedRevisionDigest":        m.Attempt.RevisionDigest,
		"lastAttemptedConfigDigest":          m.Attempt.ConfigDigest,
		"lastAttemptedReleaseAction":         string(m.Attempt.Action),
		"lastAttemptedReleaseActionDuration": spanText(m.Attempt.Duration),
	} {
		if value == "" {
			delete(status, field)
		} else {
			status[field] = value
		}
	}
	for field, value := range map[string]int64{
		"failures": m.Failures, "installFailures": m.InstallFailures, "upgradeFailures": m.UpgradeFailures,
		"lastAttemptedGeneration": m.Attempt.Generation,
	} {
		if value == 0 {
			delete(status, field)
		} else {
			status[field] = value
		}
	}
	var history []any
	for _, s := range m.History {
		history = append(history, encodeSnapshot(s))
	}
	if history == nil {
		delete(status, "history")
	} else {
		status["history"] = history
	}
}

func spanText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return duration(d)
}

func encodeSnapshot(s app.ReleaseSnapshot) map[string]any {
	out := map[string]any{
		"digest": s.Digest, "name": s.Name, "namespace": s.Namespace, "version": int64(s.Version), "status": s.Status,
		"chartName": s.ChartName, "chartVersion": s.ChartVersion, "configDigest": s.ConfigDigest,
		"firstDeployed": stamp(s.FirstDeployed), "lastDeployed": stamp(s.LastDeployed),
	}
	if !s.Unverified {
		out["apiVersion"] = snapshotVersion
	}
	for field, value := range map[string]string{"action": string(s.Action), "appVersion": s.AppVersion, "ociDigest": s.OCIDigest} {
		if value != "" {
			out[field] = value
		}
	}
	if !s.Deleted.IsZero() {
		out["deleted"] = stamp(s.Deleted)
	}
	if s.Tested {
		tests := map[string]any{}
		for name, t := range s.Tests {
			one := map[string]any{}
			if t.Phase != "" {
				one["phase"] = t.Phase
			}
			if !t.Started.IsZero() {
				one["lastStarted"] = stamp(t.Started)
			}
			if !t.Completed.IsZero() {
				one["lastCompleted"] = stamp(t.Completed)
			}
			tests[name] = one
		}
		out["testHooks"] = tests
	}
	return out
}
