package flux

import (
	"maps"
	"slices"

	"plumb.dev/plumb/internal/app"
)

// EncodeGitRepository is SourceKind.Encode.
func EncodeGitRepository(r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any {
	old = modern(old)
	status := encodeSource(gitRepositoryWords(), r, warnings, old)
	if r.Failure != nil {
		return status
	}
	// What decided the content that is there now.
	observe := func(field string, given bool, value any) {
		delete(status, field)
		if given {
			status[field] = value
		}
	}
	observe("sourceVerificationMode", r.Of.Verify != nil, verifyMode(r.Of.Verify))
	observe("observedIgnore", r.Of.Ignore != nil, deref(r.Of.Ignore))
	observe("observedRecurseSubmodules", r.Of.Submodules, true)
	observe("observedInclude", len(r.Of.Include) > 0, observedInclude(r.Of.Include))
	observe("observedSparseCheckout", len(r.Of.Sparse) > 0, anys(r.Of.Sparse))
	if artifact := section(status, "artifact"); artifact != nil && partsMoved(r.Revision, old) {
		artifact["lastUpdateTime"] = stamp(r.At)
	}
	observe("includedArtifacts", len(r.Revision.Parts) > 0, includedArtifacts(r, old))
	return status
}

// verifyMode is the word for what is verified.
func verifyMode(v *app.Verification) string {
	switch {
	case v == nil:
		return ""
	case v.Tag && v.Commit:
		return "TagAndHEAD"
	case v.Tag:
		return "Tag"
	}
	return "HEAD"
}

func anys(texts []string) []any {
	out := make([]any, len(texts))
	for i, s := range texts {
		out[i] = s
	}
	return out
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// GitRepositoryEvents is SourceKind.Events.
func GitRepositoryEvents(r app.SourceReport, warnings []app.Warning, old map[string]any) []app.Event {
	old = modern(old)
	out := sourceEvents(gitRepositoryWords(), r, warnings, old)
	revision := FormatRevision(r.Revision)
	told := slices.ContainsFunc(out, func(e app.Event) bool { return e.Reason == "NewArtifact" })
	if r.Failure == nil && !told && partsMoved(r.Revision, old) {
		out = append(out, app.Event{Reason: "NewArtifact", Message: clip(gitRepositoryWords().news(r.Revision), maxNote),
			Annotations: map[string]string{SourceGroup + "/revision": revision}})
	}
	return out
}

// modern gives a status whose revision is written as Flux does now, in place
// of main/<commit>: the same revision is no news.
func modern(old map[string]any) map[string]any {
	artifact := section(old, "artifact")
	written := text(artifact, "revision")
	now := FormatRevision(ParseRevision(written))
	if now == "" || now == written {
		return old
	}
	artifact, old = maps.Clone(artifact), maps.Clone(old)
	artifact["revision"], old["artifact"] = now, artifact
	return old
}

// partsMoved reports whether what is included is another than the status
// tells.
func partsMoved(r app.Revision, old map[string]any) bool {
	known := list(old, "includedArtifacts")
	for i, part := range r.Parts {
		if i >= len(known) {
			return true
		}
		if m, _ := known[i].(map[string]any); text(m, "revision") != FormatRevision(part) {
			return true
		}
	}
	return len(known) != len(r.Parts)
}

// includedArtifacts tells of what is included, in the order of spec.include.
func includedArtifacts(r app.SourceReport, old map[string]any) []any {
	known := list(old, "includedArtifacts")
	var out []any
	for i, part := range r.Revision.Parts {
		since := stamp(r.At)
		if i < len(known) {
			if m, _ := known[i].(map[string]any); text(m, "revision") == FormatRevision(part) {
				since = orElse(text(m, "lastUpdateTime"), since)
			}
		}
		out = append(out, map[string]any{"revision": FormatRevision(part), "lastUpdateTime": since, "path": "", "url": ""})
	}
	return out
}

func observedInclude(includes []app.Include) []any {
	var out []any
	for _, in := range includes {
		one := map[string]any{"repository": map[string]any{"name": in.Source.Name}, "toPath": in.To}
		if in.From != "." {
			one["fromPath"] = in.From
		}
		out = append(out, one)
	}
	return out
}

func gitRepositoryWords() sourceWords {
	stored := func(r app.Revision) string { return "stored artifact for revision '" + FormatRevision(r) + "'" }
	return sourceWords{
		revision: FormatRevision,
		stored:   stored,
		news: func(r app.Revision) string {
			if r.Subject == "" {
				return stored(r)
			}
			return "stored artifact for commit '" + r.Subject + "'"
		},
		reasons: gitRepositoryReasons(),
		conditions: map[app.Reason]string{
			app.ReasonSourceNotFound: condIncludeMissing, app.ReasonSourceNotReady: condIncludeMissing, app.ReasonCycle: condIncludeMissing,
			app.ReasonInclude: condStorageFailed,
		},
	}
}
