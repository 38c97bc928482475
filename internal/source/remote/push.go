package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
)

const (
	pushRefsType   = "application/x-git-receive-pack-advertisement"
	pushType       = "application/x-git-receive-pack-request"
	pushResultType = "application/x-git-receive-pack-result"
	// maxReport bounds what a server may say about a push, in bytes.
	maxReport = 64 << 10
)

// ErrMoved is in the chain of a failure to push whose cause is that the ref is
// not, or no longer, where the push began. Beginning anew helps.
var ErrMoved = errors.New("the branch has moved on")

// Update moves one ref.
type Update struct {
	Ref      string        // in full, refs/heads/main
	Old, New plumbing.Hash // Old is zero for a ref that is to be made
	Pack     []byte        // all objects that the server lacks
}

func (u Update) request() *packp.ReferenceUpdateRequest {
	req := packp.NewReferenceUpdateRequest()
	_ = req.Capabilities.Set(capability.ReportStatus) // fails only for capabilities with arguments
	req.Commands = []*packp.Command{{Name: plumbing.ReferenceName(u.Ref), Old: u.Old, New: u.New}}
	req.Packfile = io.NopCloser(bytes.NewReader(u.Pack))
	return req
}

// mayBegin compares with where the server has the ref.
func (u Update) mayBegin(l *Listing) error {
	if l.Refs[u.Ref].ID != u.Old {
		return ErrMoved
	}
	if l.caps == nil || !l.caps.Supports(capability.ReportStatus) {
		return errors.New("the server does not tell what becomes of a push")
	}
	return nil
}

// pushed reads what became of it.
func pushed(r io.Reader) error {
	report := packp.NewReportStatus()
	if err := report.Decode(io.LimitReader(r, maxReport)); err != nil {
		return serverWords(err)
	}
	if report.UnpackStatus != "ok" {
		return &refusal{clean("unpack: " + report.UnpackStatus)}
	}
	for _, c := range report.CommandStatuses {
		if c.Status != "ok" {
			return &refusal{clean(c.Status)}
		}
	}
	return nil
}

// pushFailure finds the reason for what went wrong in pushing.
func pushFailure(ctx context.Context, addr giturl.Address, err error) *app.Failure {
	var refused *refusal
	switch {
	case errors.Is(err, ErrMoved):
		return app.Fail(app.StageFetch, app.ReasonConflict, "%s: %w", addr, err)
	case errors.As(err, &refused) && moved(refused.text):
		return app.Fail(app.StageFetch, app.ReasonConflict, "%s: %w: %w", addr, ErrMoved, refused)
	case errors.As(err, &refused):
		return app.Fail(app.StageFetch, app.ReasonForbidden, "%s: the push is refused: %w", addr, refused).
			WithHint("Give credentials that may push to the branch, or have its protection permit them.")
	}
	return failure(ctx, addr, err)
}

// moved reports whether a server's words mean that someone was faster.
func moved(text string) bool {
	for _, words := range []string{"non-fast-forward", "fetch first", "cannot lock ref", "failed to update ref", "failed to lock", "reference already exists", "incorrect old value"} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

func (r *httpRemote) Push(ctx context.Context, u Update) error {
	target := strings.TrimSuffix(r.addr.Base(), "/") + refsPath + "?service=git-receive-pack"
	res, err := r.do(ctx, http.MethodGet, target, nil, "*/*", "")
	if err != nil {
		return pushFailure(ctx, r.addr, err)
	}
	defer res.Body.Close()
	if got := res.Header.Get("Content-Type"); !strings.HasPrefix(got, pushRefsType) {
		return app.Fail(app.StageFetch, app.ReasonRepoNotFound, "%s: the server answers %q, and takes no pushes", r.addr, clean(got))
	}
	l, err := readListing(res.Body)
	if err == nil {
		err = u.mayBegin(l)
	}
	if err != nil {
		return pushFailure(ctx, r.addr, err)
	}
	var body bytes.Buffer
	if err := u.request().Encode(&body); err != nil {
		return app.Fail(app.StageFetch, app.ReasonInternal, "%s: %w", r.addr, err)
	}
	base := strings.TrimSuffix(strippedURL(res.Request.URL), refsPath)
	answer, err := r.do(ctx, http.MethodPost, base+"/git-receive-pack", &body, pushResultType, pushType)
	if err != nil {
		return pushFailure(ctx, r.addr, err)
	}
	defer answer.Body.Close()
	if err := pushed(answer.Body); err != nil {
		return pushFailure(ctx, r.addr, err)
	}
	return nil
}

func (r *sshRemote) Push(ctx context.Context, u Update) error {
	s, err := r.start(ctx, "git-receive-pack")
	if err != nil {
		return pushFailure(ctx, r.addr, err)
	}
	defer s.close()
	l, err := s.list()
	if err == nil {
		err = u.mayBegin(l)
	}
	if err == nil {
		err = u.request().Encode(s.in)
	}
	if err == nil {
		err = pushed(s.out)
	}
	if err != nil {
		return pushFailure(ctx, r.addr, err)
	}
	return nil
}

func (r *local) Push(context.Context, Update) error {
	return app.Fail(app.StageFetch, app.ReasonUnsupported, "%s: pushing to a directory is not supported", r.addr).
		WithHint("%s", fmt.Sprintf("Push with git, or serve %s over http or ssh.", r.addr.Path))
}
