package app

import (
	"errors"
	"fmt"
	"time"
)

// Stage is the part of the straight line in which something happened.
type Stage string

// The stages, in their order.
const (
	StageSpec    Stage = "spec"    // the custom resource itself
	StageDepends Stage = "depends" // waiting for other apps
	StageFetch   Stage = "fetch"
	StageRender  Stage = "render"
	StageObserve Stage = "observe"
	StagePlan    Stage = "plan"
	StageApply   Stage = "apply"
	StagePrune   Stage = "prune"
	StageHealth  Stage = "health"
	StageDelete  Stage = "delete"
	StageArchive Stage = "archive" // what a source holds is made into a file for others
)

// Reason is why something failed, in words of this package; a dialect
// translates it to its own. Stage and Reason together must be enough for that.
type Reason string

// The reasons.
const (
	ReasonInvalidSpec      Reason = "InvalidSpec"      // the custom resource cannot mean anything
	ReasonInvalidExpr      Reason = "InvalidExpr"      // a CEL expression of the custom resource cannot be parsed
	ReasonUnsupported      Reason = "Unsupported"      // it asks for what this version cannot do
	ReasonSourceNotFound   Reason = "SourceNotFound"   // the referenced source resource does not exist
	ReasonSourceNotReady   Reason = "SourceNotReady"   // it exists and never delivered a revision
	ReasonSourceLost       Reason = "SourceLost"       // what was fetched has gone from the cache
	ReasonUnreachable      Reason = "Unreachable"      // the repository does not answer
	ReasonAuthentication   Reason = "Authentication"   // credentials are missing or refused
	ReasonRefNotFound      Reason = "RefNotFound"      // the ref resolves to nothing
	ReasonInvalidRef       Reason = "InvalidRef"       // the ref cannot resolve to anything
	ReasonRepoNotFound     Reason = "RepoNotFound"     // there is no such repository
	ReasonProvider         Reason = "Provider"         // the credentials are not of the sort that was announced
	ReasonVerifyKeys       Reason = "VerifyKeys"       // the keys that signatures are verified with are missing or no keys
	ReasonVerifyMode       Reason = "VerifyMode"       // a signed tag is asked for, and the ref selects no tag
	ReasonUnsignedTag      Reason = "UnsignedTag"      // the tag has no signature
	ReasonTagSignature     Reason = "TagSignature"     // the tag's signature is not one of a trusted key
	ReasonCommitSignature  Reason = "CommitSignature"  // the commit has no signature of a trusted key
	ReasonSubmodule        Reason = "Submodule"        // a submodule cannot be what .gitmodules says
	ReasonInclude          Reason = "Include"          // the files of another source cannot be put where they are wanted
	ReasonPathNotFound     Reason = "PathNotFound"     // the path does not exist in the revision
	ReasonCorrupt          Reason = "Corrupt"          // what came is not what it should be: another digest, too large, no archive
	ReasonBuild            Reason = "Build"            // manifests cannot be parsed or built
	ReasonEncrypted        Reason = "Encrypted"        // an object is still as SOPS encrypted it
	ReasonEmpty            Reason = "Empty"            // nothing is left to deliver, and that is not allowed
	ReasonDependency       Reason = "Dependency"       // a dependency is not ready
	ReasonCycle            Reason = "Cycle"            // dependencies go in a circle
	ReasonClusterUnknown   Reason = "ClusterUnknown"   // the destination is not a registered cluster
	ReasonClusterDown      Reason = "ClusterDown"      // the API server does not answer
	ReasonKindUnknown      Reason = "KindUnknown"      // the cluster serves no such kind
	ReasonInvalidObject    Reason = "InvalidObject"    // the API server refuses the object
	ReasonForbidden        Reason = "Forbidden"        // RBAC, a policy, or a missing namespace refuses it
	ReasonNamespaceMissing Reason = "NamespaceMissing" // the object's namespace does not exist
	ReasonImmutable        Reason = "Immutable"        // a field may not change; only replacement helps
	ReasonConflict         Reason = "Conflict"         // the object changed under a precondition
	ReasonUnhealthy        Reason = "Unhealthy"        // applied, and reported broken by the cluster
	ReasonTimeout          Reason = "Timeout"          // not done within the app's timeout
	ReasonSuperseded       Reason = "Superseded"       // a newer revision took over
	ReasonTerminated       Reason = "Terminated"       // a user stopped it
	ReasonPartial          Reason = "Partial"          // some steps failed, others were done
	ReasonInternal         Reason = "Internal"         // a fault of Plumb
	ReasonValues           Reason = "Values"           // values of a chart are missing, or no such thing as they should be
	ReasonArtifact         Reason = "Artifact"         // what was fetched is no chart
	ReasonHook             Reason = "Hook"             // a hook of a chart failed
	ReasonTests            Reason = "Tests"            // tests of a chart failed
	ReasonRetriesExceeded  Reason = "RetriesExceeded"  // no attempt is left
	ReasonNoRollbackTarget Reason = "NoRollbackTarget" // no good revision to roll back to
)

// Retry says when trying again can help.
type Retry struct {
	// Never means: not before the spec, the source or a referenced object
	// changes.
	Never bool
	// After is the wait that the failed stage itself asks for; 0 leaves it to
	// the app's policy.
	After time.Duration
}

// Failure is an error with its consequence. Conditions, exit codes and HTTP
// codes are derived from it, each in one place.
type Failure struct {
	Stage  Stage
	Reason Reason
	Retry  Retry
	Hint   string // what to do next, one sentence, may be empty
	Err    error  // never nil; already free of secrets
}

// Fail makes a Failure from a format, which may wrap with %w.
func Fail(stage Stage, reason Reason, format string, args ...any) *Failure {
	return &Failure{Stage: stage, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// WithHint returns f with a hint.
func (f *Failure) WithHint(format string, args ...any) *Failure {
	f.Hint = fmt.Sprintf(format, args...)
	return f
}

// Passes reports whether f is not the app's doing and ends without it: an API
// server that is away or in trouble, someone who was faster, a cache that was
// emptied. Such a failure is tried again soon and uses up none of the tries
// that a policy grants.
func (f *Failure) Passes() bool {
	switch f.Reason {
	case ReasonClusterDown, ReasonConflict, ReasonSourceLost:
		return true
	case ReasonInternal, ReasonTimeout: // what the API server answers when it is in trouble
		return f.Stage == StageObserve || f.Stage == StageApply || f.Stage == StagePrune
	}
	return false
}

// Error is the message of the cause; the hint is not part of it.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// AsFailure finds the Failure in err's chain, or wraps err as an internal one
// of the stage. It returns nil for nil.
func AsFailure(err error, stage Stage) *Failure {
	if err == nil {
		return nil
	}
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Stage: stage, Reason: ReasonInternal, Err: err}
}
