package flux

import (
	"strings"

	"plumb.dev/plumb/internal/app"
)

// outcome is what a failure means in the words of Flux.
type outcome struct {
	reason string
	// stalled: no retry helps before the spec changes.
	stalled bool
}

// translation is one row: the first whose stage and reason fit counts; ""
// fits all.
type translation struct {
	stage  app.Stage
	reason app.Reason
	means  outcome
}

// kustomizationReasons is the table for Kustomizations. InvalidSpec and
// Unsupported are not words of Flux, which refuses the one by its schema and
// has no need of the other.
func kustomizationReasons() []translation {
	return []translation{
		{app.StageSpec, app.ReasonInvalidSpec, outcome{"InvalidSpec", true}},
		{app.StageSpec, app.ReasonInvalidExpr, outcome{"InvalidCELExpression", true}},
		{app.StageSpec, app.ReasonUnsupported, outcome{"Unsupported", true}},
		{app.StageSpec, app.ReasonForbidden, outcome{"AccessDenied", true}},
		{app.StageDepends, "", outcome{"DependencyNotReady", false}},
		{app.StageFetch, "", outcome{"ArtifactFailed", false}},
		{app.StageRender, app.ReasonPathNotFound, outcome{"ArtifactFailed", false}},
		{app.StageRender, app.ReasonEncrypted, outcome{"ReconciliationFailed", false}}, // Flux looks when it applies
		{app.StageRender, "", outcome{"BuildFailed", false}},
		{app.StagePrune, "", outcome{"PruneFailed", false}},
		{app.StageHealth, app.ReasonSuperseded, outcome{"HealthCheckCanceled", false}},
		{app.StageHealth, app.ReasonTerminated, outcome{"HealthCheckCanceled", false}},
		{app.StageHealth, "", outcome{"HealthCheckFailed", false}},
		{app.StageDelete, "", outcome{"PruneFailed", false}},
		{"", "", outcome{"ReconciliationFailed", false}},
	}
}

// helmReleaseReasons is the table for HelmReleases, for what fails beside the
// actions of Helm.
func helmReleaseReasons() []translation {
	return []translation{
		{app.StageSpec, app.ReasonInvalidSpec, outcome{"InvalidSpec", true}},
		{app.StageSpec, app.ReasonInvalidExpr, outcome{"InvalidCELExpression", true}},
		{app.StageSpec, app.ReasonUnsupported, outcome{"Unsupported", true}},
		{app.StageSpec, app.ReasonForbidden, outcome{"AccessDenied", true}},
		{app.StageDepends, "", outcome{"DependencyNotReady", false}},
		{"", app.ReasonValues, outcome{"ValuesError", false}},
		{"", app.ReasonArtifact, outcome{"ArtifactFailed", false}},
		{app.StageFetch, app.ReasonSourceNotReady, outcome{"SourceNotReady", false}},
		{app.StageFetch, "", outcome{"ArtifactFailed", false}},
		{"", app.ReasonRetriesExceeded, outcome{"RetriesExceeded", true}},
		{"", app.ReasonNoRollbackTarget, outcome{"MissingRollbackTarget", true}},
		{app.StageHealth, app.ReasonSuperseded, outcome{"HealthCheckCanceled", false}},
		{app.StageDelete, "", outcome{"UninstallFailed", false}},
		{"", "", outcome{"ReconciliationFailed", false}},
	}
}

// gitRepositoryReasons is the table for GitRepositories.
func gitRepositoryReasons() []translation {
	return []translation{
		{app.StageFetch, app.ReasonInvalidSpec, outcome{"URLInvalid", true}},
		{"", app.ReasonInvalidSpec, outcome{"InvalidSpec", true}},
		{"", app.ReasonUnsupported, outcome{"Unsupported", true}},
		{"", app.ReasonAuthentication, outcome{"AuthenticationFailed", false}},
		{app.StageSpec, app.ReasonProvider, outcome{"InvalidProviderConfiguration", true}},
		{"", app.ReasonProvider, outcome{"InvalidProviderConfiguration", false}},
		{"", app.ReasonSourceNotFound, outcome{"NotFound", false}},
		{"", app.ReasonSourceNotReady, outcome{"NoArtifact", false}},
		{"", app.ReasonCycle, outcome{"IncludeCycle", false}},
		{"", app.ReasonInclude, outcome{"CopyFailure", false}},
		{"", app.ReasonVerifyKeys, outcome{"VerificationError", false}},
		{"", app.ReasonVerifyMode, outcome{"InvalidVerificationMode", true}},
		{"", app.ReasonUnsignedTag, outcome{"InvalidGitObject", false}},
		{"", app.ReasonTagSignature, outcome{"InvalidTagSignature", false}},
		{"", app.ReasonCommitSignature, outcome{"InvalidCommitSignature", false}},
		{"", "", outcome{"GitOperationFailed", false}},
	}
}

func translate(table []translation, f *app.Failure) outcome {
	if f.Stage == app.StageArchive { // of any kind of source
		return outcome{reason: "ArchiveOperationFailed"}
	}
	for _, row := range table {
		if (row.stage == "" || row.stage == f.Stage) && (row.reason == "" || row.reason == f.Reason) {
			return row.means
		}
	}
	return outcome{reason: "Failed"}
}

// failureMessage is what a condition and an event say of a failure.
func failureMessage(f *app.Failure) string {
	message := f.Error()
	const noPath = "kustomization path not found: " // people look for it
	if f.Stage == app.StageRender && f.Reason == app.ReasonPathNotFound && !strings.HasPrefix(message, noPath) {
		message = noPath + message
	}
	if f.Hint == "" {
		return message
	}
	return message + " (" + f.Hint + ")"
}
