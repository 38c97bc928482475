package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"plumb.dev/plumb/internal/app"
	gitremote "plumb.dev/plumb/internal/source/remote"
)

// failed finds the reason and the hint for what went wrong in talking to the
// registry; what says what was asked for.
func (a *Artifact) failed(ctx context.Context, what string, err error) error {
	var known *app.Failure
	if errors.As(err, &known) {
		return known
	}
	var answer *transport.Error
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusNotFound || !ofContent(answer.Request) {
		a.client.forget(a.conn) // a login that failed would fail for ever
	}
	if ctx.Err() != nil {
		return gitremote.Interrupted(ctx, a)
	}
	fail := func(reason app.Reason, format string, args ...any) *app.Failure {
		return app.Fail(app.StageFetch, reason, "%s: %w", what, fmt.Errorf(format, args...))
	}
	if answer != nil {
		return a.refused(answer, fail)
	}
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		dial      *net.OpError
		dns       *net.DNSError
		record    tls.RecordHeaderError
		wrapped   *url.Error
	)
	switch {
	case errors.As(err, &authority):
		return fail(app.ReasonUnreachable, "the certificate of %s is signed by an authority that is not trusted", a.repo.RegistryStr()).
			WithHint("Add the authority's certificate as ca.crt to the Secret that certSecretRef names.")
	case errors.As(err, &hostname), errors.As(err, &invalid):
		return fail(app.ReasonUnreachable, "the certificate of %s is not valid: %w", a.repo.RegistryStr(), err)
	case errors.As(err, &dial) && dial.Op == "remote error": // how crypto/tls marks an alert
		return fail(app.ReasonAuthentication, "%s refuses the TLS connection: %w", a.repo.RegistryStr(), dial.Err).
			WithHint("Give a client certificate (tls.crt and tls.key) in the Secret that certSecretRef names.")
	case errors.Is(err, errPlain), errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fail(app.ReasonUnreachable, "%s does not speak TLS", a.repo.RegistryStr()).
			WithHint("Set insecure: true if it may be reached without.")
	case errors.As(err, &dns) && dns.IsNotFound:
		return fail(app.ReasonUnreachable, "the host name %s is not known", dns.Name)
	case errors.As(err, &wrapped): // it repeats the URL
		return fail(app.ReasonUnreachable, "%w", wrapped.Err)
	}
	return fail(app.ReasonUnreachable, "%w", clipped(err))
}

// ofContent reports whether a request was for content, and not for the login.
func ofContent(req *http.Request) bool {
	return req != nil && req.URL != nil && isAnswer(req.URL.Path)
}

// refused translates what the registry answers.
func (a *Artifact) refused(answer *transport.Error, fail func(app.Reason, string, ...any) *app.Failure) *app.Failure {
	says := func(code transport.ErrorCode) bool {
		return slices.ContainsFunc(answer.Errors, func(d transport.Diagnostic) bool { return d.Code == code })
	}
	cause := clipped(answer)
	if len(answer.Errors) == 0 { // as to HEAD: the rest would be a page of HTML
		cause = fmt.Errorf("HTTP %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	switch {
	case answer.StatusCode == http.StatusUnauthorized, answer.StatusCode == http.StatusForbidden, says(transport.UnauthorizedErrorCode), says(transport.DeniedErrorCode):
		what := "refuses the credentials"
		if a.conn.anonymous {
			what = "asks for credentials, and there are none for it"
		}
		return fail(app.ReasonAuthentication, "%s %s: %w", a.repo.RegistryStr(), what, cause).
			WithHint("Name a Secret in secretRef whose Docker configuration has an entry for %s that may read the repository. Registries also answer so for repositories that do not exist.", a.repo.RegistryStr())
	case says(transport.NameUnknownErrorCode):
		return fail(app.ReasonRepoNotFound, "%w", cause).WithHint("Check the URL.")
	case answer.StatusCode == http.StatusNotFound:
		return fail(app.ReasonRefNotFound, "%w", cause).WithHint("Check the URL, and the tag or digest in ref.")
	}
	return fail(app.ReasonUnreachable, "%w", cause)
}

// maxCause bounds what is repeated of an answer.
const maxCause = 500

// clipped keeps of an error what fits into a message.
func clipped(err error) error {
	text := err.Error()
	if len(text) <= maxCause {
		return err
	}
	return errors.New(strings.ToValidUTF8(text[:maxCause], "") + "…")
}
