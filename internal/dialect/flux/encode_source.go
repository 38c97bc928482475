package flux

import (
	"k8s.io/apimachinery/pkg/runtime"

	"plumb.dev/plumb/internal/app"
)

// sourceWords is in what one kind of source differs from the others, in telling
// of a look.
type sourceWords struct {
	revision func(app.Revision) string // "" for the zero revision
	stored   func(app.Revision) string // what Ready says
	news     func(app.Revision) string // what the event of a new revision says
	ready    string                    // reason of Ready; "" is Succeeded
	latest   bool                      // whether status.url names the current archive
	reasons  []translation
	// conditions tell, beside Ready, of failures by their reason; of others
	// FetchFailed or SourceVerified does.
	conditions map[app.Reason]string

	// What follows may be left out.
	digest     func(app.Revision) string // of what is delivered, where that is not the revision
	newsReason string                    // reason of the event of a new revision; "" is NewArtifact
	summaries  map[string]string         // by the reason of a failure: what its message begins with
}

// failure is what a condition and an event say of a failure.
func (w sourceWords) failure(f *app.Failure) (outcome, string) {
	means, message := translate(w.reasons, f), failureMessage(f)
	if summary := w.summaries[means.reason]; summary != "" && f.Stage == app.StageFetch {
		message = summary + ": " + message
	}
	return means, message
}

func (w sourceWords) digestOf(r app.Revision) string {
	if w.digest == nil || r.IsZero() {
		return ""
	}
	return w.digest(r)
}

// encodeSource gives the status that tells of r, made from the status before;
// old stays as it is. A report that says nothing new gives a status equal to
// old, so that nothing need be written.
func encodeSource(words sourceWords, r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any {
	status := runtime.DeepCopyJSON(orEmpty(old))
	conds := readConditions(status, r.At, r.Generation)
	if r.Handled != "" {
		status["lastHandledReconcileAt"] = r.Handled
	}
	setArtifact(words, r, status)
	if content := words.digestOf(r.Revision); content != "" {
		setContent(status, content)
	}
	if r.Failure == nil {
		stored := words.stored(r.Revision)
		conds.set(condReady, "True", orElse(words.ready, "Succeeded"), stored)
		conds.set(condArtifactInStorage, "True", orElse(words.ready, "Succeeded"), stored)
		conds.drop(condReconciling, condStalled, condFetchFailed, condArtifactOutdated, condStorageFailed, condSourceVerified, condIncludeMissing, condBuildFailed)
		if r.Revision.Verified != "" {
			conds.set(condSourceVerified, "True", "Succeeded", r.Revision.Verified)
		}
		status["observedGeneration"] = r.Generation
	} else {
		failedFetch(words, r, status, conds)
	}
	status["conditions"] = conds.encode()
	setPlumb(status, "warnings", encodeWarnings(warnings))
	return status
}

// setArtifact tells of what is delivered, and where it can be fetched. Without
// archives it has only the revision and the time at which it was found.
func setArtifact(words sourceWords, r app.SourceReport, status map[string]any) {
	old := section(status, "artifact")
	revision := words.revision(r.Revision)
	switch {
	case revision == "":
		return
	case r.Artifact == nil && r.Failure != nil && text(old, "url") != "":
		return // it can still be fetched
	}
	artifact := map[string]any{"revision": revision}
	if a := r.Artifact; a != nil {
		artifact["url"], artifact["path"], artifact["digest"], artifact["size"] = a.URL, a.Path, a.Digest, a.Size
		if words.latest {
			status["url"] = a.Latest
		}
	} else {
		delete(status, "url")
	}
	if len(r.Revision.Metadata) > 0 {
		metadata := map[string]any{}
		for key, value := range r.Revision.Metadata {
			metadata[key] = value
		}
		artifact["metadata"] = metadata
	}
	artifact["lastUpdateTime"] = stamp(r.At)
	if found := text(old, "lastUpdateTime"); found != "" && revision == text(old, "revision") && text(artifact, "digest") == text(old, "digest") {
		artifact["lastUpdateTime"] = found
	}
	status["artifact"] = artifact
}

// contentOf is the digest of what a source delivers, where the revision does not
// tell it. A status of Flux has it as that of the artifact.
func contentOf(status map[string]any) string {
	return orElse(text(status, "plumb", "content"), text(status, "artifact", "digest"))
}

func setContent(status map[string]any, digest string) {
	plumb := section(status, "plumb")
	if plumb == nil {
		plumb = map[string]any{}
		status["plumb"] = plumb
	}
	plumb["content"] = digest
}

// failedFetch keeps the artifact, so that consumers go on with it.
func failedFetch(words sourceWords, r app.SourceReport, status map[string]any, conds *conditionSet) {
	means, message := words.failure(r.Failure)
	conds.set(condReady, "False", means.reason, message)
	kind := orElse(words.conditions[r.Failure.Reason], failedCondition(r.Failure))
	for _, other := range []string{condFetchFailed, condStorageFailed, condIncludeMissing, condBuildFailed, condSourceVerified} {
		kept := other == condSourceVerified && conds.has(other, "True") // of the revision that stays
		if other != kind && !kept {
			conds.drop(other)
		}
	}
	conds.set(kind, failedStatus(kind), means.reason, message)
	if kind != condSourceVerified && failedCondition(r.Failure) == condSourceVerified {
		conds.set(condSourceVerified, "False", "VerificationError", message)
	}
	if conds.stall(means, message, status, r.Generation) {
		return
	}
	conds.set(condReconciling, "True", "ProgressingWithRetry", "reconciliation in progress")
}

// failedCondition is the condition, besides Ready, that tells of a failure.
func failedCondition(f *app.Failure) string {
	if f.Stage == app.StageArchive {
		return condStorageFailed
	}
	switch f.Reason {
	case app.ReasonVerifyKeys, app.ReasonVerifyMode, app.ReasonUnsignedTag, app.ReasonTagSignature, app.ReasonCommitSignature, app.ReasonUnverified:
		return condSourceVerified
	}
	return condFetchFailed
}

// failedStatus is the status by which a condition tells of a failure.
func failedStatus(kind string) string {
	if kind == condSourceVerified {
		return "False"
	}
	return "True"
}

// sourceEvents are the events of a look at a source, given the status before it.
func sourceEvents(words sourceWords, r app.SourceReport, warnings []app.Warning, old map[string]any) []app.Event {
	out := warningEvents(warnings, old)
	revision := words.revision(r.Revision)
	notes := map[string]string{SourceGroup + "/revision": revision}
	if r.Artifact != nil {
		notes[SourceGroup+"/digest"] = r.Artifact.Digest
	}
	if v := r.Revision.Verified; r.Failure == nil && v != "" && v != readConditions(old, r.At, 0).message(condSourceVerified) {
		out = append(out, app.Event{Reason: "Succeeded", Message: clip(v, maxNote), Annotations: notes})
	}
	switch {
	case r.Failure != nil:
		means, message := words.failure(r.Failure)
		out = append(out, app.Event{Warning: true, Reason: means.reason, Message: clip(message, maxNote)})
	case revision != text(old, "artifact", "revision"), words.digest != nil && words.digestOf(r.Revision) != contentOf(old),
		words.digest == nil && r.Artifact != nil && text(old, "artifact", "digest") != "" && r.Artifact.Digest != text(old, "artifact", "digest"):
		out = append(out, app.Event{Reason: orElse(words.newsReason, "NewArtifact"), Message: clip(words.news(r.Revision), maxNote), Annotations: notes})
	case readConditions(old, r.At, 0).has(condReady, "False"):
		out = append(out, app.Event{Reason: "Succeeded", Message: clip(words.stored(r.Revision), maxNote), Annotations: notes})
	}
	return out
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
