package flux

import (
	"k8s.io/apimachinery/pkg/runtime"

	"plumb.dev/plumb/internal/app"
)

// EncodeGitRepository gives the status that tells of r, made from the status
// before; old stays as it is. A report that says nothing new gives a status
// equal to old, so that nothing need be written.
//
// There is no archive to download yet: status.artifact has the revision and
// the time at which it was found, and neither URL nor digest.
func EncodeGitRepository(r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any {
	status := runtime.DeepCopyJSON(orEmpty(old))
	conds := readConditions(status, r.At, r.Generation)
	if r.Handled != "" {
		status["lastHandledReconcileAt"] = r.Handled
	}
	if revision := FormatRevision(r.Revision); revision != "" && revision != text(status, "artifact", "revision") {
		status["artifact"] = map[string]any{"revision": revision, "lastUpdateTime": stamp(r.At)}
	}
	if r.Failure == nil {
		stored := "stored artifact for revision '" + FormatRevision(r.Revision) + "'"
		conds.set(condReady, "True", "Succeeded", stored)
		conds.set(condArtifactInStorage, "True", "Succeeded", stored)
		conds.drop(condReconciling, condStalled, condFetchFailed, condArtifactOutdated, condStorageFailed)
		status["observedGeneration"] = r.Generation
	} else {
		failedFetch(r, status, conds)
	}
	status["conditions"] = conds.encode()
	setPlumb(status, "warnings", encodeWarnings(warnings))
	return status
}

// failedFetch keeps the artifact, so that consumers go on with it.
func failedFetch(r app.SourceReport, status map[string]any, conds *conditionSet) {
	means := translate(gitRepositoryReasons(), r.Failure)
	message := failureMessage(r.Failure)
	conds.set(condReady, "False", means.reason, message)
	conds.set(condFetchFailed, "True", means.reason, message)
	if means.stalled {
		conds.set(condStalled, "True", means.reason, message)
		conds.drop(condReconciling)
		status["observedGeneration"] = r.Generation
		return
	}
	conds.drop(condStalled)
	conds.set(condReconciling, "True", "ProgressingWithRetry", "reconciliation in progress")
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// setPlumb sets a field of status.plumb, which is what Plumb remembers beyond
// the status of Flux; an empty list takes it away.
func setPlumb(status map[string]any, field string, value []any) {
	plumb := section(status, "plumb")
	if len(value) == 0 {
		delete(plumb, field)
		if plumb != nil && len(plumb) == 0 {
			delete(status, "plumb")
		}
		return
	}
	if plumb == nil {
		plumb = map[string]any{}
		status["plumb"] = plumb
	}
	plumb[field] = value
}

// encodeWarnings: a line for each, none twice.
func encodeWarnings(warnings []app.Warning) []any {
	var out []any
	seen := map[string]bool{}
	for _, w := range warnings {
		line := warningLine(w)
		if !seen[line] && len(out) < maxWarnings {
			seen[line] = true
			out = append(out, line)
		}
	}
	return out
}

// maxWarnings bounds the warnings that a status keeps.
const maxWarnings = 50

func warningLine(w app.Warning) string {
	if w.Field == "" {
		return clip(w.Message, 1024)
	}
	return clip(w.Field+": "+w.Message, 1024)
}
