package helmrepo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/remote"
)

const (
	// MaxIndex bounds an index, in bytes, as Flux does.
	MaxIndex = 50 << 20
	// MaxChart bounds the archive of a chart, in bytes, as Flux does.
	MaxChart = 10 << 20
	// maxSeen bounds the repositories that a Client remembers the last answer of.
	maxSeen = 4096
)

// Client makes the requests. It may be used at once by many.
type Client struct {
	dialer  *remote.Dialer
	scratch string

	mu   sync.Mutex
	seen map[string]*seen // by the name that the caller has for an index
}

// NewClient makes a Client. Indexes pass through short-lived files in scratch.
func NewClient(dialer *remote.Dialer, scratch string) *Client {
	return &Client{dialer: dialer, scratch: scratch, seen: map[string]*seen{}}
}

func (c *Client) last(name string) *seen {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.seen[name]
	if !ok {
		if len(c.seen) >= maxSeen {
			for _, old := range c.seen {
				old.forget()
			}
			c.seen = map[string]*seen{}
		}
		s = &seen{}
		c.seen[name] = s
	}
	return s
}

// Repository is one repository, and what may be shown to it.
type Repository struct {
	client *Client
	base   *url.URL // without credentials, the path with a slash at its end
	auth   app.Credentials
	pass   bool
}

// Repository makes no request. passCredentials sends those of auth to whatever
// host an index names.
func (c *Client) Repository(address string, auth app.Credentials, passCredentials bool) (*Repository, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// The error of Parse repeats the URL, which may hold a password.
		f := app.Fail(app.StageFetch, app.ReasonInvalidSpec, "the URL of the Helm repository is none of http:// or https://")
		f.Retry.Never = true
		return nil, f
	}
	if u.User != nil && auth.Username == "" {
		auth.Username = u.User.Username()
		auth.Password, _ = u.User.Password()
	}
	base := *u
	base.User, base.Fragment, base.RawFragment = nil, "", ""
	base.Path, base.RawPath = strings.TrimSuffix(base.Path, "/")+"/", ""
	return &Repository{client: c, base: &base, auth: auth, pass: passCredentials}, nil
}

// String is the address without credentials.
func (r *Repository) String() string {
	return (&url.URL{Scheme: r.base.Scheme, Host: r.base.Host, Path: strings.TrimSuffix(r.base.Path, "/")}).String()
}

// resolve makes an address of what stands in an index.
func (r *Repository) resolve(ref string) (*url.URL, error) {
	u, err := url.Parse(ref)
	if err != nil {
		return nil, errors.New("the index has an address that cannot be parsed")
	}
	if !u.IsAbs() {
		u = r.base.ResolveReference(u)
		if u.RawQuery == "" {
			u.RawQuery = r.base.RawQuery // some repositories take a token so
		}
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the index has an address that is none of http:// or https://")
	}
	return u, nil
}

// get asks for one address. Every answer but 200, and 304 where head makes the
// request a conditional one, is a failure.
func (r *Repository) get(ctx context.Context, target *url.URL, head http.Header) (*http.Response, error) {
	if f := r.auth.Refusal(r.String()); f != nil {
		return nil, f
	}
	at := place{target}
	known := r.pass || r.same(target)
	auth := r.auth
	if !known {
		auth = app.Credentials{CA: r.auth.CA, InsecureHost: r.auth.InsecureHost, Proxy: r.auth.Proxy}
	}
	transport, err := r.client.dialer.Transport(auth)
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: %w", at, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonInvalidSpec, "%s cannot be requested", at)
	}
	req.Header.Set("User-Agent", "plumb")
	for key, values := range head {
		req.Header[key] = values
	}
	if auth.Username != "" || auth.Password != "" {
		req.SetBasicAuth(auth.Username, auth.Password)
	}
	// net/http takes the credentials away when the host changes.
	client := &http.Client{Transport: transport, CheckRedirect: func(to *http.Request, via []*http.Request) error {
		switch {
		case len(via) > 10:
			return errors.New("redirected too often")
		case to.URL.Scheme != "https" && via[0].URL.Scheme == "https":
			return errors.New("redirected to an unprotected connection, which is not followed")
		}
		return nil
	}}
	res, err := client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) { // it repeats the URL
			err = wrapped.Err
		}
		return nil, remote.ConnectionFailure(ctx, at, err)
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNotModified && len(head) > 0 {
		return res, nil
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 16<<10)) // so that the connection can be used again
	return nil, r.refused(at, res, known && auth.Username != "")
}

// same reports whether credentials for the repository may be sent to target.
func (r *Repository) same(target *url.URL) bool {
	return target.Scheme == r.base.Scheme && strings.EqualFold(target.Host, r.base.Host)
}

func (r *Repository) refused(at place, res *http.Response, withCredentials bool) *app.Failure {
	switch res.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		hint := "Give the HelmRepository a Secret with credentials."
		switch {
		case withCredentials:
			hint = "Correct the credentials in the Secret of the HelmRepository."
		case r.auth.Username != "":
			hint = "The credentials are only sent to the host of the repository, unless spec.passCredentials is set."
		}
		return app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: the server answers HTTP %d", at, res.StatusCode).WithHint("%s", hint)
	case http.StatusNotFound, http.StatusGone:
		return app.Fail(app.StageFetch, app.ReasonRepoNotFound, "%s: the server answers HTTP %d", at, res.StatusCode).
			WithHint("Check the URL. Servers also answer so when the credentials may not see the repository.")
	}
	f := app.Fail(app.StageFetch, app.ReasonUnreachable, "%s: the server answers HTTP %d", at, res.StatusCode)
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		f.Retry.After = min(time.Duration(s)*time.Second, time.Hour)
	}
	return f
}

// place is an address, for messages: without credentials and tokens.
type place struct{ *url.URL }

func (p place) String() string {
	return (&url.URL{Scheme: p.Scheme, Host: p.Host, Path: p.Path}).String()
}

// Download gets the archive of a version, and checks that it is the one that
// the index means.
func (r *Repository) Download(ctx context.Context, v Version) ([]byte, error) {
	if len(v.URLs) == 0 {
		return nil, app.Fail(app.StageFetch, app.ReasonRefNotFound, "%s: the index has no address for version %s", r, v.Version)
	}
	target, err := r.resolve(v.URLs[0])
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonInvalidSpec, "%s: version %s: %w", r, v.Version, err)
	}
	res, err := r.get(ctx, target, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, MaxChart+1))
	if err != nil {
		return nil, remote.ConnectionFailure(ctx, place{target}, err)
	}
	if len(data) > MaxChart {
		return nil, app.Fail(app.StageFetch, app.ReasonCorrupt, "%s: the chart is larger than %d MiB", place{target}, MaxChart>>20)
	}
	sum := sha256.Sum256(data)
	if want := v.SHA256(); want != nil && !bytes.Equal(want, sum[:]) {
		return nil, app.Fail(app.StageFetch, app.ReasonCorrupt, "%s: its digest is %x, the index says %x", place{target}, sum, want).
			WithHint("The archive was replaced after it was published, or is not what the index means: publish the index again.")
	}
	return data, nil
}

// SHA256 is the digest of the archive, nil if the index tells none.
func (v Version) SHA256() []byte {
	sum, err := hex.DecodeString(strings.TrimPrefix(strings.ToLower(v.Digest), "sha256:"))
	if err != nil || len(sum) != sha256.Size {
		return nil
	}
	return sum
}
