package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// What a control plane with webhooks, policies and quotas would answer; what
// the sandbox can answer is asked there.
func TestClassify(t *testing.T) {
	ref := object.Ref{Group: "apps", Kind: "Deployment", Namespace: "demo", Name: "web"}
	secret := object.Ref{Kind: "Secret", Namespace: "demo", Name: "web"}
	origin := object.Origin{Path: "deploy.yaml", Line: 1}
	status := func(code int32, reason metav1.StatusReason, message string, causes ...string) error {
		s := metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message, Details: &metav1.StatusDetails{Name: "web"}}
		for _, c := range causes {
			s.Details.Causes = append(s.Details.Causes, metav1.StatusCause{Message: c})
		}
		return &apierrors.StatusError{ErrStatus: s}
	}
	for _, tc := range []struct {
		name   string
		ref    object.Ref
		err    error
		reason app.Reason
		text   string
	}{
		{"invalid", ref, status(422, metav1.StatusReasonInvalid, "x is invalid", "Required value"), app.ReasonInvalidObject,
			"Deployment/demo/web dry-run failed (Invalid) (deploy.yaml:1): x is invalid"},
		{"immutable", ref, status(422, metav1.StatusReasonInvalid, "x", "Invalid value: {}: field is immutable"), app.ReasonImmutable, ""},
		{"immutable and invalid", ref, status(422, metav1.StatusReasonInvalid, "x field is immutable", "field is immutable", "Required value"), app.ReasonInvalidObject, ""},
		{"stateful set", ref, status(422, metav1.StatusReasonInvalid, "x", "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden"), app.ReasonImmutable, ""},
		{"webhook", ref, status(403, metav1.StatusReasonForbidden, `admission webhook "v.example" denied the request: no`), app.ReasonForbidden, "denied the request: no"},
		{"webhook that answers 400", ref, status(400, "", `admission webhook "v.example" denied the request: no`), app.ReasonForbidden, ""},
		{"webhook that is away", ref, status(500, metav1.StatusReasonInternalError, `Internal error occurred: failed calling webhook "v.example": timeout`), app.ReasonForbidden, ""},
		{"admission policy", ref, status(422, metav1.StatusReasonInvalid, `x is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no`), app.ReasonForbidden, ""},
		{"no rights", ref, apierrors.NewForbidden(schema.GroupResource{Resource: "deployments"}, "web", errors.New("no")), app.ReasonForbidden, ""},
		{"quota", ref, status(403, metav1.StatusReasonForbidden, "exceeded quota: q"), app.ReasonForbidden, ""},
		{"namespace missing", ref, apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "demo"), app.ReasonNamespaceMissing, ""},
		{"no such kind", ref, apierrors.NewGenericServerResponse(http.StatusNotFound, "patch", schema.GroupResource{}, "", "404 page not found", 0, true), app.ReasonKindUnknown, ""},
		{"deleted meanwhile", ref, apierrors.NewNotFound(schema.GroupResource{Group: "apps", Resource: "deployments"}, "web"), app.ReasonConflict, ""},
		{"conflict", ref, apierrors.NewConflict(schema.GroupResource{}, "web", errors.New("changed")), app.ReasonConflict, ""},
		{"unauthorized", ref, apierrors.NewUnauthorized("no"), app.ReasonAuthentication, ""},
		{"aggregated server away", ref, apierrors.NewServiceUnavailable("no"), app.ReasonClusterDown, ""},
		{"too many requests", ref, apierrors.NewTooManyRequests("no", 1), app.ReasonClusterDown, ""},
		{"too large", ref, apierrors.NewRequestEntityTooLargeError("no"), app.ReasonInvalidObject, ""},
		{"schema", ref, status(500, metav1.StatusReasonInternalError, "failed to create typed patch object: .spec.x: field not declared in schema"), app.ReasonInvalidObject, ""},
		{"no server-side apply", ref, apierrors.NewMethodNotSupported(schema.GroupResource{}, "patch"), app.ReasonUnsupported, ""},
		{"not reached", ref, errors.New("dial tcp: connection refused"), app.ReasonClusterDown, "connection refused"},
		{"no answer in time", ref, fmt.Errorf("patch: %w", context.DeadlineExceeded), app.ReasonClusterDown, ""},
		{"given up", ref, fmt.Errorf("patch: %w", context.Canceled), app.ReasonTerminated, ""},
		{"a failure stays one", ref, fmt.Errorf("x: %w", app.Fail(app.StageApply, app.ReasonSuperseded, "newer")), app.ReasonSuperseded, "newer"},
		{"secret", secret, status(422, metav1.StatusReasonInvalid, `Secret "web" is invalid: data[k]: Invalid value: "hunter2": no`), app.ReasonInvalidObject, `Secret "web" is invalid`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := Classify("dry-run", tc.ref, origin, tc.err)
			if f.Reason != tc.reason || !strings.Contains(f.Error(), tc.text) {
				t.Errorf("got %s: %v, want %s: …%s…", f.Reason, f, tc.reason, tc.text)
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", f, f.Err, errors.Unwrap(f)), "hunter2") {
				t.Errorf("a secret value is in %#v", f.Err)
			}
			if apierrors.IsNotFound(tc.err) != apierrors.IsNotFound(f) || errors.Is(tc.err, context.Canceled) != errors.Is(f, context.Canceled) {
				t.Error("what kind of error it was is lost")
			}
		})
	}
	if Classify("apply", ref, origin, nil) != nil {
		t.Error("no error is a failure")
	}
}
