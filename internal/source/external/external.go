// Package external fetches artifacts that someone else has made: a .tar.gz file
// at a URL, which counts only if it has the digest that was told.
//
// It must know nothing of custom resources and of how long anything is kept.
// All errors are *app.Failures of the fetch stage.
package external

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/oci"
	"plumb.dev/plumb/internal/source/remote"
)

const (
	// maxBytes bounds the file.
	maxBytes = 1 << 30
	// notThereYet is the wait after a server does not have the file: whoever
	// makes it may be about to, or has restarted. It is Flux's.
	notThereYet = 30 * time.Second
	maxHops     = 5
)

// Artifact is one that is told of.
type Artifact struct {
	spec      app.External
	transport http.RoundTripper
	scratch   string
	algorithm func() hash.Hash
	digest    string // hexadecimal
}

// Open reads what is told of an artifact; src.External must be set. It makes no
// request. Files are kept in scratch while they are read.
func Open(src app.Source, transport http.RoundTripper, scratch string) (*Artifact, error) {
	a := &Artifact{spec: *src.External, transport: transport, scratch: scratch}
	if a.spec.URL == "" || a.spec.Digest == "" {
		return nil, app.Fail(app.StageFetch, app.ReasonSourceNotReady, "source %s is not ready, artifact not found", src.External.ID).
			WithHint("nothing needs to be done if the controller that makes it is at work")
	}
	algorithm, digest, _ := strings.Cut(a.spec.Digest, ":")
	switch algorithm {
	case "sha256":
		a.algorithm = sha256.New
	case "sha384":
		a.algorithm = sha512.New384
	case "sha512":
		a.algorithm = sha512.New
	}
	if a.algorithm == nil || len(digest) != 2*a.algorithm().Size() || strings.Trim(digest, "0123456789abcdef") != "" {
		return nil, app.Fail(app.StageFetch, app.ReasonBadArtifact, "artifact of %s: %q is no digest that can be checked", src.External.ID, a.spec.Digest).
			WithHint("the controller that makes the artifact must tell it as sha256:<64 hexadecimal digits>, or with sha384 or sha512")
	}
	a.digest = digest
	if u, err := url.Parse(a.spec.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, app.Fail(app.StageFetch, app.ReasonBadArtifact, "artifact of %s: its URL is not one of http or https", src.External.ID)
	}
	return a, nil
}

// String is the address.
func (a *Artifact) String() string {
	u, err := url.Parse(a.spec.URL)
	if err != nil {
		return a.spec.ID.String()
	}
	u.User, u.RawQuery, u.Fragment = nil, "", "" // they may hold what is not for everyone
	return u.String()
}

// Find implements source.Upstream. The digest names the content; the revision
// is what is told.
func (a *Artifact) Find(context.Context) (app.Revision, error) {
	rev := app.Revision{Commit: a.digest, Ref: a.spec.Revision}
	if at := strings.LastIndex(a.spec.Revision, "@"); at >= 0 || strings.Contains(a.spec.Revision, ":") {
		if _, commit, ok := strings.Cut(a.spec.Revision[at+1:], ":"); ok && commit != "" && strings.Trim(commit, "0123456789abcdef") == "" {
			rev.Commit, rev.Ref, rev.Content = commit, a.spec.Revision[:max(at, 0)], a.digest
		}
	}
	return rev, nil
}

// Bring implements source.Upstream. Nothing is unpacked before all of it is
// there and has the digest.
func (a *Artifact) Bring(ctx context.Context, rev app.Revision, into *objects.Build) error {
	if rev.ID() != a.digest {
		return app.Fail(app.StageFetch, app.ReasonSourceLost, "%s: the artifact %s is not told of any more", a, rev.ID())
	}
	file, err := os.CreateTemp(a.scratch, "artifact-*")
	if err != nil {
		return app.AsFailure(err, app.StageFetch)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if err := a.fetch(ctx, file); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return app.AsFailure(err, app.StageFetch)
	}
	if err := oci.Unpack(ctx, file, into); err != nil {
		if ctx.Err() != nil {
			return remote.Interrupted(ctx, a)
		}
		return app.Fail(app.StageFetch, app.ReasonBadArtifact, "artifact %s: %w", a, err)
	}
	return nil
}

func (a *Artifact) fetch(ctx context.Context, to io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.spec.URL, nil)
	if err != nil {
		return app.Fail(app.StageFetch, app.ReasonBadArtifact, "artifact %s: its URL cannot be used", a)
	}
	req.Header.Set("User-Agent", "plumb")
	req.Header.Set("Accept-Encoding", "identity") // the digest is of the file as it is
	client := &http.Client{Transport: a.transport, CheckRedirect: func(to *http.Request, via []*http.Request) error {
		if len(via) > maxHops || to.URL.Scheme != "https" && to.URL.Scheme != via[0].URL.Scheme {
			return errors.New("it redirects too often, or to where there is no TLS")
		}
		return nil
	}}
	res, err := client.Do(req)
	if err != nil {
		return a.failed(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		f := app.Fail(app.StageFetch, app.ReasonUnreachable, "artifact %s: HTTP %d", a, res.StatusCode).
			WithHint("it is tried again; see whether the controller that makes it is at work")
		if res.StatusCode == http.StatusNotFound {
			f.Retry.After = notThereYet
		}
		return f
	}
	sum := a.algorithm()
	n, err := io.Copy(io.MultiWriter(to, sum), io.LimitReader(res.Body, maxBytes+1))
	switch is := hex.EncodeToString(sum.Sum(nil)); {
	case err != nil:
		return a.failed(ctx, err)
	case n > maxBytes:
		return app.Fail(app.StageFetch, app.ReasonBadArtifact, "artifact %s: %w: it has more than %d bytes", a, objects.ErrTooLarge, maxBytes)
	case is != a.digest:
		f := app.Fail(app.StageFetch, app.ReasonBadArtifact, "artifact %s: its digest is %s, and should be %s", a, is, a.digest).
			WithHint("whoever makes it may be about to tell of a newer one; if not, it is not what it should be")
		f.Retry.After = notThereYet
		return f
	}
	return nil
}

func (a *Artifact) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return remote.Interrupted(ctx, a)
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // it repeats the URL
		err = wrapped.Err
	}
	return app.Fail(app.StageFetch, app.ReasonUnreachable, "artifact %s: %w", a, err)
}
