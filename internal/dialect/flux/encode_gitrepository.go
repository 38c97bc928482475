package flux

import (
	"plumb.dev/plumb/internal/app"
)

// EncodeGitRepository is SourceKind.Encode.
func EncodeGitRepository(r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any {
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

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// GitRepositoryEvents is SourceKind.Events.
func GitRepositoryEvents(r app.SourceReport, warnings []app.Warning, old map[string]any) []app.Event {
	return sourceEvents(gitRepositoryWords(), r, warnings, old)
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
	}
}
