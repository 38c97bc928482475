package flux

import "plumb.dev/plumb/internal/app"

// Annotations of an artifact that say what it was made of.
const (
	originSource   = "org.opencontainers.image.source"
	originRevision = "org.opencontainers.image.revision"
)

// EncodeOCIRepository is SourceKind.Encode.
func EncodeOCIRepository(r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any {
	status := encodeSource(ociRepositoryWords(r), r, warnings, old)
	if r.Failure != nil {
		return status
	}
	// What decided the content that is there now.
	delete(status, "observedIgnore")
	if r.Of.Ignore != nil {
		status["observedIgnore"] = *r.Of.Ignore
	}
	delete(status, "observedLayerSelector")
	if a := r.Of.OCI; a != nil && (a.MediaType != "" || a.Copy) {
		selector := map[string]any{"operation": "extract"}
		if a.Copy {
			selector["operation"] = copyLayer
		}
		if a.MediaType != "" {
			selector["mediaType"] = a.MediaType
		}
		status["observedLayerSelector"] = selector
	}
	return status
}

// OCIRepositoryEvents is SourceKind.Events.
func OCIRepositoryEvents(r app.SourceReport, warnings []app.Warning, old map[string]any) []app.Event {
	return sourceEvents(ociRepositoryWords(r), r, warnings, old)
}

func ociRepositoryWords(r app.SourceReport) sourceWords {
	return sourceWords{
		revision: FormatRevision,
		stored:   func(r app.Revision) string { return "stored artifact for digest '" + FormatRevision(r) + "'" },
		news: func(rev app.Revision) string {
			message := "stored artifact with revision '" + FormatRevision(rev) + "' from '" + r.Of.URL + "'"
			source, revision := rev.Metadata[originSource], rev.Metadata[originRevision]
			if source != "" && revision != "" {
				message += ", origin source '" + source + "', origin revision '" + revision + "'"
			}
			return message
		},
		latest:  true,
		reasons: ociRepositoryReasons(),
	}
}

// ociRepositoryReasons is the table for OCIRepositories.
func ociRepositoryReasons() []translation {
	return []translation{
		{app.StageFetch, app.ReasonInvalidSpec, outcome{"URLInvalid", true}},
		{"", app.ReasonInvalidSpec, outcome{"InvalidSpec", true}},
		{"", app.ReasonUnsupported, outcome{"Unsupported", true}},
		{"", app.ReasonAuthentication, outcome{"AuthenticationFailed", false}},
		{"", app.ReasonUnverified, outcome{"VerificationError", false}},
		{"", app.ReasonBadArtifact, outcome{"OCIArtifactLayerOperationFailed", false}},
		{"", "", outcome{"OCIArtifactPullFailed", false}},
	}
}
