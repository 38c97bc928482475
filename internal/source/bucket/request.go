package bucket

import (
	"context"
	"crypto/x509"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/bucket/sigv4"
	"plumb.dev/plumb/internal/source/objects"
)

// maxAnswer bounds the page of a listing, in bytes.
const maxAnswer = 16 << 20

// listing is a page of ListObjectsV2.
type listing struct {
	Contents []struct {
		Key  string
		ETag string
	}
	IsTruncated           bool
	NextContinuationToken string
	EncodingType          string
}

// page reads a page of the listing.
func (b *Bucket) page(ctx context.Context, next string) (*listing, error) {
	// Encoded, keys may hold what XML may not.
	query := "encoding-type=url&list-type=2&max-keys=1000&prefix=" + sigv4.Escape(b.src.Bucket.Prefix, false)
	if next != "" {
		query = "continuation-token=" + sigv4.Escape(next, false) + "&" + query
	}
	res, err := b.do(ctx, "", query)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var page listing
	if err := xml.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&page); err != nil {
		if ctx.Err() != nil {
			return nil, b.failed(ctx, err)
		}
		return nil, b.refuse("its listing cannot be read: %w", err)
	}
	if page.EncodingType == "url" {
		for i, o := range page.Contents {
			if page.Contents[i].Key, err = url.QueryUnescape(o.Key); err != nil {
				return nil, b.refuse("its listing cannot be read: %w", err)
			}
		}
	}
	return &page, nil
}

// get begins to read an object as it was when it had an etag.
func (b *Bucket) get(ctx context.Context, key, etag string) (io.ReadCloser, error) {
	res, err := b.do(ctx, key, "")
	if err != nil {
		return nil, err
	}
	if is := strings.Trim(res.Header.Get("ETag"), `"`); is != etag {
		res.Body.Close()
		f := app.Fail(app.StageFetch, app.ReasonSourceLost, "%s: the object %s changed while it was read", b, key).
			WithHint("Nothing needs to be done: it is looked at again.")
		f.Retry.After = time.Second
		return nil, f
	}
	return res.Body, nil
}

// do makes a request, and once more in the region that the store names if none
// was asked for.
func (b *Bucket) do(ctx context.Context, key, query string) (*http.Response, error) {
	for region := b.region; ; {
		u := *b.base
		u.RawPath = sigv4.Escape(u.Path+key, true)
		u.Path += key
		u.RawQuery = query
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, b.refuse("%w", err)
		}
		req.URL.RawPath = u.RawPath
		req.Header.Set("Accept-Encoding", "identity") // the object as it is
		req.Header.Set("User-Agent", "plumb")
		if auth := b.src.Auth; auth.Username != "" {
			sigv4.Sign(req, nil, auth.Username, auth.Password, region, b.client.opt.Now())
		}
		res, err := b.http.Do(req)
		if err != nil {
			return nil, b.failed(ctx, err)
		}
		if res.StatusCode == http.StatusOK {
			return res, nil
		}
		answer := readAnswer(res)
		if other := answer.Region; other != "" && other != region && b.src.Bucket.Region == "" && region == b.region {
			region = other
			continue
		}
		return nil, b.refused(answer, key)
	}
}

// answer is what a store says of a request that it does not carry out.
type answer struct {
	status  int
	after   time.Duration
	Code    string
	Message string
	Region  string
}

func readAnswer(res *http.Response) answer {
	defer res.Body.Close()
	a := answer{status: res.StatusCode}
	_ = xml.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&a) // some send none
	if a.Region == "" {
		a.Region = res.Header.Get("X-Amz-Bucket-Region")
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 && s <= 3600 {
		a.after = time.Duration(s) * time.Second
	}
	return a
}

// refused finds the reason and the hint for an answer.
func (b *Bucket) refused(a answer, key string) *app.Failure {
	what := "bucket " + b.String()
	if key != "" {
		what += ": object " + key
	}
	said := strings.TrimSpace(fmt.Sprintf("HTTP %d %s: %.300s", a.status, a.Code, a.Message))
	said = strings.ToValidUTF8(strings.TrimRight(said, ": "), "")
	fail := func(reason app.Reason, format string, args ...any) *app.Failure {
		f := app.Fail(app.StageFetch, reason, "%s: %s", what, fmt.Sprintf(format, args...))
		f.Retry.After = a.after
		return f
	}
	switch {
	case a.Code == "NoSuchBucket":
		return fail(app.ReasonRepoNotFound, "bucket '%s' not found", b.src.Bucket.Name).WithHint("Correct spec.bucketName, or make the bucket.")
	case a.Code == "NoSuchKey":
		f := fail(app.ReasonSourceLost, "it went away while it was read").WithHint("Nothing needs to be done: it is looked at again.")
		f.Retry.After = time.Second
		return f
	case a.Code == "RequestTimeTooSkewed":
		return fail(app.ReasonAuthentication, "%s", said).WithHint("Set the clocks of both machines.")
	case a.Code == "AuthorizationHeaderMalformed", a.Code == "PermanentRedirect", a.status >= 300 && a.status < 400:
		return fail(app.ReasonUnreachable, "%s", said).WithHint("Correct spec.region and spec.endpoint; the bucket is in the region %q.", a.Region)
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden, strings.HasSuffix(a.Code, "UserNotFound"):
		return fail(app.ReasonAuthentication, "the store refuses the request: %s", said).
			WithHint("Correct accesskey and secretkey in the Secret of the source; they must permit to list the bucket and to read its objects.")
	case a.status == http.StatusNotFound:
		return fail(app.ReasonRepoNotFound, "%s", said).WithHint("Check spec.endpoint and spec.bucketName.")
	}
	return fail(app.ReasonUnreachable, "%s", said)
}

// unread is for what goes wrong while an object is taken in.
func (b *Bucket) unread(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, objects.ErrTooLarge) {
		return b.refuse("%w", err).WithHint("leave it out with spec.ignore")
	}
	return b.failed(ctx, err)
}

func unreachable(b *Bucket, err error) *app.Failure {
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // it repeats the URL
		err = wrapped.Err
	}
	f := app.Fail(app.StageFetch, app.ReasonUnreachable, "bucket %s: %w", b, err)
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &authority):
		return f.WithHint("Add the authority's certificate as ca.crt to the Secret that certSecretRef names.")
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return f.WithHint("Set insecure: true if the store may be reached without TLS.")
	}
	return f
}
