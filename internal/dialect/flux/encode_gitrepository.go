package flux

import "plumb.dev/plumb/internal/app"

// EncodeGitRepository is SourceKind.Encode.
func EncodeGitRepository(r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any {
	return encodeSource(gitRepositoryWords(), r, warnings, old)
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
