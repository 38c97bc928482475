package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"golang.org/x/crypto/ssh/knownhosts"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
)

// failure finds the reason and hint for what went wrong in talking to addr.
func failure(ctx context.Context, addr giturl.Address, err error) *app.Failure {
	var known *app.Failure
	if errors.As(err, &known) {
		return known
	}
	fail := func(reason app.Reason, format string, args ...any) *app.Failure {
		return app.Fail(app.StageFetch, reason, "%s: %w", addr, fmt.Errorf(format, args...))
	}
	if ctx.Err() != nil {
		return Interrupted(ctx, addr)
	}
	var refused *refusal
	if errors.As(err, &refused) {
		return refusalFailure(addr, refused)
	}
	var (
		install *installError
		hostKey *knownhosts.KeyError
		revoked *knownhosts.RevokedError
	)
	switch {
	case errors.As(err, &install):
		return fail(app.ReasonInternal, "storing the fetched objects: %w", install.err).
			WithHint("Check that the cache directory can be written and has space.")
	case errors.As(err, &hostKey) && len(hostKey.Want) == 0:
		return fail(app.ReasonAuthentication, "known_hosts has no key of %s", addr.HostPort()).
			WithHint("Add the output of ssh-keyscan for this host to known_hosts in the Secret, after comparing it with what the server's owner publishes.")
	case errors.As(err, &hostKey):
		return fail(app.ReasonAuthentication, "the host key of %s is not the one in known_hosts", addr.HostPort()).
			WithHint("If the server's key was changed on purpose, update known_hosts in the Secret.")
	case errors.As(err, &revoked):
		return fail(app.ReasonAuthentication, "the host key of %s is revoked in known_hosts", addr.HostPort())
	case strings.Contains(err.Error(), "ssh: unable to authenticate"):
		return fail(app.ReasonAuthentication, "the server refuses the SSH key").
			WithHint("Add the public key to the repository as a deploy key, or correct the key in the Secret.")
	}
	return ConnectionFailure(ctx, addr, err)
}

// ConnectionFailure finds the reason and hint for a request to a server, of
// whatever protocol over TLS or TCP, that came to nothing.
func ConnectionFailure(ctx context.Context, from fmt.Stringer, err error) *app.Failure {
	var known *app.Failure
	if errors.As(err, &known) {
		return known
	}
	if ctx.Err() != nil {
		return Interrupted(ctx, from)
	}
	fail := func(reason app.Reason, format string, args ...any) *app.Failure {
		return app.Fail(app.StageFetch, reason, "%s: %w", from, fmt.Errorf(format, args...))
	}
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		remote    *net.OpError
		record    tls.RecordHeaderError
		dns       *net.DNSError
	)
	switch {
	case errors.As(err, &authority):
		return fail(app.ReasonUnreachable, "the server's certificate is signed by an authority that is not trusted").
			WithHint("Add the authority's certificate as ca.crt to the Secret of the source.")
	case errors.As(err, &hostname), errors.As(err, &invalid):
		return fail(app.ReasonUnreachable, "the server's certificate is not valid: %w", err).
			WithHint("Correct the URL or the server's certificate.")
	case errors.As(err, &remote) && remote.Op == "remote error": // how crypto/tls marks an alert
		return fail(app.ReasonAuthentication, "the server refuses the TLS connection: %w", remote.Err).
			WithHint("Give a client certificate (tls.crt and tls.key) that the server accepts.")
	case errors.As(err, &record):
		return fail(app.ReasonUnreachable, "the server does not speak TLS on this port")
	case strings.Contains(err.Error(), http.StatusText(http.StatusProxyAuthRequired)), strings.Contains(err.Error(), "socks") && strings.Contains(err.Error(), "auth"):
		return proxyRefuses(from)
	case errors.As(err, &dns) && dns.IsNotFound:
		return fail(app.ReasonUnreachable, "the host name %s is not known", dns.Name)
	}
	return fail(app.ReasonUnreachable, "%w", err)
}

func refusalFailure(addr giturl.Address, r *refusal) *app.Failure {
	text := strings.ToLower(r.text)
	has := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case r.notOurRef():
		return app.Fail(app.StageFetch, app.ReasonRefNotFound, "%s: %w: %s", addr, ErrGone, r.text)
	case has("not found", "does not exist", "does not appear to be a git repository", "no such", "could not be found"):
		return notFound(addr, r)
	case has("denied", "not authorized", "unauthorized", "permission", "forbidden", "authentication"):
		return app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: %w", addr, r).
			WithHint("Give credentials that may read the repository.")
	}
	return app.Fail(app.StageFetch, app.ReasonUnreachable, "%s: %w", addr, r)
}

func notFound(addr giturl.Address, cause error) *app.Failure {
	return app.Fail(app.StageFetch, app.ReasonRepoNotFound, "%s: there is no such repository: %w", addr, cause).
		WithHint("Check the URL. Servers also answer so when the credentials may not see the repository.")
}

// Interrupted is the failure for a fetch whose context ended.
func Interrupted(ctx context.Context, addr fmt.Stringer) *app.Failure {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return app.Fail(app.StageFetch, app.ReasonUnreachable, "%s: no complete answer in time: %w", addr, context.DeadlineExceeded).
			WithHint("Check that the server can be reached, or set a longer timeout on the source.")
	}
	return app.Fail(app.StageFetch, app.ReasonTerminated, "%s: %w", addr, context.Cause(ctx))
}
