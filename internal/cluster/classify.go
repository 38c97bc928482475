package cluster

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Classify makes a failure of what the API server, or the way to it, answered
// to op ("dry-run", "apply", "delete", "read") on ref. The message names the
// object and where it was written, and holds no secret.
func Classify(op string, ref object.Ref, origin object.Origin, err error) *app.Failure {
	if err == nil {
		return nil
	}
	var failure *app.Failure
	if errors.As(err, &failure) {
		return failure
	}
	reason, hint := judge(ref, err)
	what := op
	if ref != (object.Ref{}) {
		what = ref.String() + " " + op
	}
	what += " failed"
	if r := apierrors.ReasonForError(err); r != metav1.StatusReasonUnknown {
		what += " (" + string(r) + ")"
	}
	if origin != (object.Origin{}) {
		what += " (" + origin.String() + ")"
	}
	stage := app.StageApply
	switch op {
	case "delete":
		stage = app.StagePrune
	case "observation", "read":
		stage = app.StageObserve
	}
	return &app.Failure{Stage: stage, Reason: reason, Hint: hint, Retry: app.Retry{After: retryAfter(err)},
		Err: &apiError{message: what + ": " + shown(ref, err), status: statusOf(err), context: contextError(err)}}
}

// retryAfter is the wait that the API server asks for, or after which the
// breaker has asked it again; 0 if nobody says.
func retryAfter(err error) time.Duration {
	var away *unavailable
	if errors.As(err, &away) {
		return away.retry
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		return time.Duration(seconds) * time.Second
	}
	return 0
}

// shown is the message of err without what it may quote of a Secret. A refusal
// by RBAC quotes the identity and what it lacks, never content.
func shown(ref object.Ref, err error) string {
	if message := err.Error(); apierrors.IsForbidden(err) && rbacRefusal.MatchString(message) {
		return message
	}
	return object.RedactError(ref, err.Error())
}

var rbacRefusal = regexp.MustCompile(`^[a-z0-9.-]+ "[^"]*" is forbidden: User "[^"]*" cannot [a-z]+ resource "[^"]*" in API group "[^"]*"( in the namespace "[^"]*"| at the cluster scope)$`)

// apiError shows a redacted message and still answers to apierrors.IsNotFound
// and errors.Is(err, context.Canceled). It holds neither the original message
// nor its details.
type apiError struct {
	message string
	status  metav1.Status
	context error
}

func (e *apiError) Error() string         { return e.message }
func (e *apiError) Status() metav1.Status { return e.status }
func (e *apiError) Unwrap() error         { return e.context }

func statusOf(err error) metav1.Status {
	var api apierrors.APIStatus
	if !errors.As(err, &api) {
		return metav1.Status{}
	}
	return metav1.Status{Reason: api.Status().Reason, Code: api.Status().Code}
}

func contextError(err error) error {
	for _, known := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}

// judge is the table: what the API server says, and what that means. Reasons
// alone do not tell an immutable field from an invalid one or a policy from a
// schema; there the messages are looked at.
func judge(ref object.Ref, err error) (app.Reason, string) {
	var api apierrors.APIStatus
	var away *unavailable
	switch {
	case errors.As(err, &away):
		return app.ReasonClusterDown, "check that the API server runs and can be reached"
	case errors.Is(err, context.Canceled):
		return app.ReasonTerminated, ""
	case errors.Is(err, errNotServed):
		return app.ReasonKindUnknown, "install its CustomResourceDefinition first"
	case errors.Is(err, errNotWatchable):
		return app.ReasonClusterDown, "the API that serves this kind has just changed; it is looked at anew"
	case !errors.As(err, &api): // it did not answer, not even in time
		return app.ReasonClusterDown, "check that the API server runs and can be reached"
	}
	status := api.Status()
	text := status.Message
	switch {
	case deniedByPolicy(text):
		return app.ReasonForbidden, "an admission policy refuses the object; its message says why"
	case strings.Contains(text, "failed calling webhook"):
		return app.ReasonForbidden, "an admission webhook does not answer; check its Service and Pods"
	case apierrors.IsInvalid(err):
		if immutable(status) {
			return app.ReasonImmutable, "allow the object to be recreated, or give it another name"
		}
		return app.ReasonInvalidObject, ""
	case apierrors.IsNotFound(err):
		return judgeNotFound(ref, status)
	case apierrors.HasStatusCause(err, "NamespaceTerminating"):
		return app.ReasonNamespaceMissing, fmt.Sprintf("namespace %s is being deleted; wait, or see what holds it up", ref.Namespace)
	case apierrors.IsForbidden(err):
		return app.ReasonForbidden, "grant the identity that applies it what the message names"
	case apierrors.IsUnauthorized(err):
		return app.ReasonAuthentication, "check the credentials of the cluster"
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return app.ReasonConflict, ""
	case apierrors.IsTimeout(err), apierrors.IsServerTimeout(err):
		return app.ReasonTimeout, ""
	case apierrors.IsServiceUnavailable(err), apierrors.IsTooManyRequests(err):
		return app.ReasonClusterDown, "the API server, or the one that serves this kind behind it, does not answer"
	case apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err), unparsable(text):
		return app.ReasonInvalidObject, ""
	case apierrors.IsMethodNotSupported(err), apierrors.IsUnsupportedMediaType(err), apierrors.IsNotAcceptable(err):
		return app.ReasonUnsupported, "the API that serves this kind does not support server-side apply"
	}
	return app.ReasonInternal, ""
}

func judgeNotFound(ref object.Ref, status metav1.Status) (app.Reason, string) {
	d := status.Details
	switch {
	case d != nil && d.Kind == "namespaces" && d.Group == "" && d.Name == ref.Namespace && ref.Namespace != "":
		return app.ReasonNamespaceMissing, fmt.Sprintf("create namespace %s, or let the app create it", ref.Namespace)
	case d == nil || d.Name == "":
		return app.ReasonKindUnknown, "install the CustomResourceDefinition of this kind first"
	}
	return app.ReasonConflict, "the object was deleted meanwhile"
}

func deniedByPolicy(text string) bool {
	return strings.Contains(text, "admission webhook") && strings.Contains(text, "denied the request") ||
		strings.Contains(text, "ValidatingAdmissionPolicy ") && strings.Contains(text, "denied request")
}

// immutable reports whether nothing but fields that may not change stands
// against an object, so that it could be created anew. There is no reason code
// for it: this is how the API server's validators word it.
func immutable(status metav1.Status) bool {
	if status.Details == nil || len(status.Details.Causes) == 0 {
		return mayNotChange(status.Message)
	}
	for _, cause := range status.Details.Causes {
		if !mayNotChange(cause.Message) {
			return false
		}
	}
	return true
}

func mayNotChange(text string) bool {
	for _, phrase := range []string{
		"is immutable",
		"updates to statefulset spec for fields other than",
		"may not change once set",
		"may not be changed once set",
		"cannot be changed",
		"cannot change",
		"pod updates may not change fields other than",
		"is forbidden after creation",
	} {
		if strings.Contains(text, phrase) {
			return true
		}
	}
	return false
}

// unparsable tells what server-side apply answers with code 500 to an object
// that does not fit its schema.
func unparsable(text string) bool {
	for _, phrase := range []string{"failed to create typed patch object", "field not declared in schema", "failed to convert", "cannot convert", "unable to convert"} {
		if strings.Contains(text, phrase) {
			return true
		}
	}
	return false
}

// stopped gives the failure that ended ctx, if one did: the cause that its
// owner set, or a timeout.
func stopped(ctx context.Context, op string, ref object.Ref) *app.Failure {
	if ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(ctx)
	var failure *app.Failure
	if errors.As(cause, &failure) {
		return failure
	}
	reason := app.ReasonTerminated
	if errors.Is(cause, context.DeadlineExceeded) {
		reason = app.ReasonTimeout
	}
	return app.Fail(app.StageApply, reason, "%s %s was not finished: %w", ref, op, cause)
}
