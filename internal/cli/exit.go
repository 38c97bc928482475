package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// The exit codes, as docs/commands/exit-codes.md promises them.
const (
	ExitOK          = 0   // done, or yes
	ExitNo          = 1   // the answer is no: it differs, drifted, failed, is not ready
	ExitUsage       = 2   // the command line makes no sense
	ExitUnreachable = 3   // the cluster or a repository cannot be reached, or refuses this user
	ExitNotFound    = 4   // what was named does not exist
	ExitTimeout     = 5   // no answer in the time given
	ExitContent     = 6   // the repository's content, or the app's spec, is at fault
	ExitOther       = 7   // anything else
	ExitInterrupted = 130 // by Ctrl-C or a signal
)

// Error is an error that knows its exit code. An empty message ends the
// command with the code and says nothing.
type Error struct {
	Code int
	Err  error  // nil to say nothing
	Hint string // what to do next, may be empty
}

func (e *Error) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func (e *Error) hint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

func fail(code int, format string, args ...any) *Error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...)}
}

func usage(format string, args ...any) *Error    { return fail(ExitUsage, format, args...) }
func no(format string, args ...any) *Error       { return fail(ExitNo, format, args...) }
func notFound(format string, args ...any) *Error { return fail(ExitNotFound, format, args...) }

// verdict is what becomes of an error.
type verdict struct {
	code          int
	message, hint string
}

// explain maps an error to its exit code and its hint: the only place that
// does.
func explain(err error) verdict {
	v := verdict{}
	if err != nil {
		v.message = err.Error()
	}
	var (
		own     *Error
		failure *app.Failure
		decode  *object.DecodeError
		call    *url.Error
		network net.Error
		file    *fs.PathError
	)
	switch {
	case err == nil:
		v.code = ExitOK
	case errors.As(err, &own):
		v.code, v.hint = own.Code, own.Hint
	case errors.As(err, &file) && errors.Is(err, fs.ErrPermission):
		v.code, v.hint = ExitOther, "let this user read it"
	case errors.Is(err, context.Canceled):
		v = verdict{code: ExitInterrupted, message: "interrupted"}
	case errors.Is(err, context.DeadlineExceeded):
		v.code, v.hint = ExitTimeout, "--timeout gives it more time"
	case errors.As(err, &failure):
		v.code, v.hint = failureCode(failure.Reason), failure.Hint
		if v.hint == "" && failure.Reason == app.ReasonUnreachable {
			v.hint = "is the address right, and the server up? this machine must reach it, by a proxy or without"
		}
	case errors.As(err, &decode):
		v.code = ExitContent
	case apierrors.IsUnauthorized(err):
		v.code, v.hint = ExitUnreachable, "log in to the cluster again, or choose another --context"
	case apierrors.IsForbidden(err):
		v.code, v.hint = ExitUnreachable, "ask for the right, or look in one namespace with -n"
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		v.code = ExitNotFound
	case apierrors.IsServiceUnavailable(err), apierrors.IsServerTimeout(err), apierrors.IsTooManyRequests(err):
		v.code, v.hint = ExitUnreachable, "the API server is there but busy: try again"
	case errors.As(err, &call):
		v.code, v.hint = ExitUnreachable, "is the cluster running? --context and --kubeconfig choose another"
		v.message = fmt.Sprintf("cannot reach the cluster at %s: %v", serverOf(call.URL), call.Err)
	case errors.As(err, &file): // which is a net.Error, too
		v.code = ExitOther
	case errors.As(err, &network):
		v.code = ExitUnreachable
	default:
		v.code = ExitOther
	}
	return v
}

// failureCode is the part of explain that is about the reasons of an app.
func failureCode(reason app.Reason) int {
	switch reason {
	case app.ReasonClusterDown, app.ReasonClusterUnknown, app.ReasonForbidden, app.ReasonUnreachable, app.ReasonAuthentication:
		return ExitUnreachable
	case app.ReasonSourceNotFound, app.ReasonRefNotFound, app.ReasonRepoNotFound, app.ReasonPathNotFound:
		return ExitNotFound
	case app.ReasonInvalidSpec, app.ReasonUnsupported, app.ReasonBuild, app.ReasonEmpty, app.ReasonInvalidObject, app.ReasonImmutable,
		app.ReasonKindUnknown, app.ReasonNamespaceMissing:
		return ExitContent
	case app.ReasonTimeout:
		return ExitTimeout
	case app.ReasonUnhealthy, app.ReasonDependency, app.ReasonPartial, app.ReasonTerminated, app.ReasonSuperseded:
		return ExitNo
	}
	return ExitOther
}

func serverOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "its address"
	}
	return u.Scheme + "://" + u.Host
}
