// Package bucket reads the objects of an S3-compatible store: it tells by one
// listing which revision is there, and writes the objects into a build of Git
// objects, fetching those alone that have changed.
//
// Two kinds of request are all that it needs, listing and reading, with
// Signature Version 4; that is less than any library for S3 brings along. It
// must know nothing of custom resources and of how long anything is kept, and
// reads no configuration of this machine. All errors are *app.Failures of the
// fetch stage, free of credentials.
package bucket

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/remote"
)

const (
	maxObjects = 100_000
	// maxIgnore bounds a file of exclusions, and how many there are.
	maxIgnore      = 1 << 20
	maxIgnoreFiles = 100
	// maxKept bounds the files of exclusions that are remembered.
	maxKept = 1000
	// fetchers is how many objects are read at a time.
	fetchers = 8
)

// Options are what a Client is made of. All but Now must be set.
type Options struct {
	// Transport gives the connections for the TLS settings and the proxy of
	// credentials.
	Transport func(app.Credentials) (*http.Transport, error)
	// Excluded gives what tells whether an object is left out, of the text of
	// files of exclusions by their keys.
	Excluded   func(src app.Source, files map[string][]byte) func(key string) (bool, error)
	IgnoreFile string // the name of such files
	Now        func() time.Time
}

// Client opens buckets.
type Client struct {
	opt Options

	mu   sync.Mutex
	kept map[string][]byte // files of exclusions, by where they are and their etag
}

// NewClient makes a Client.
func NewClient(opt Options) *Client {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Client{opt: opt, kept: map[string][]byte{}}
}

// Bucket is a source in a store.
type Bucket struct {
	client *Client
	src    app.Source
	http   *http.Client
	base   *url.URL // of the bucket
	region string
	found  map[string]string // what Find listed
}

// Open says where the objects of a source are; src.Bucket must be set. It
// makes no request.
func (c *Client) Open(src app.Source) (*Bucket, error) {
	if f := src.Auth.Refusal(src.URL); f != nil {
		return nil, f
	}
	base, err := url.Parse(src.URL)
	if err != nil || base.Host == "" || base.Path != "" || base.RawQuery != "" {
		f := app.Fail(app.StageFetch, app.ReasonInvalidSpec, "the endpoint %q is not the address of a host", src.URL).
			WithHint("write it as host or host:port")
		f.Retry.Never = true
		return nil, f
	}
	transport, err := c.opt.Transport(src.Auth)
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonAuthentication, "connections to %s: %w", base.Host, err)
	}
	b := &Bucket{client: c, src: src, region: src.Bucket.Region, base: base}
	b.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a signature is for one host
	}}
	name := src.Bucket.Name
	if b.region == "" {
		b.region = defaultRegion(base.Hostname())
	}
	if host := base.Hostname(); strings.HasSuffix(host, ".amazonaws.com") && !strings.Contains(name, ".") {
		base.Host, base.Path = name+"."+base.Host, "/"
	} else {
		base.Path = "/" + name + "/"
	}
	return b, nil
}

// defaultRegion is the one that the name of a host says, or that of stores
// which have none.
func defaultRegion(host string) string {
	if rest, ok := strings.CutPrefix(host, "s3."); ok {
		if region, _, ok := strings.Cut(rest, ".amazonaws.com"); ok && region != "" {
			return region
		}
	}
	return "us-east-1"
}

// String is the address.
func (b *Bucket) String() string { return b.src.URL + "/" + b.src.Bucket.Name }

// Find implements source.Upstream: the revision is a digest of keys and etags.
func (b *Bucket) Find(ctx context.Context) (app.Revision, error) {
	etags, err := b.list(ctx)
	if err != nil {
		return app.Revision{}, err
	}
	b.found = etags
	return app.Revision{Commit: digest(etags)}, nil
}

// list gives the objects that are delivered, with their etags.
func (b *Bucket) list(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for next := ""; ; {
		page, err := b.page(ctx, next)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if key := o.Key; !strings.HasSuffix(key, "/") { // what consoles make for a directory
				all[key] = strings.Trim(o.ETag, `"`)
			}
		}
		if len(all) > maxObjects {
			return nil, b.refuse("it has more than %d objects", maxObjects).WithHint("choose some of them with spec.prefix")
		}
		if !page.IsTruncated {
			break
		}
		if page.NextContinuationToken == "" || page.NextContinuationToken == next {
			return nil, b.refuse("its listing does not end")
		}
		next = page.NextContinuationToken
	}
	hidden, err := b.excluded(ctx, all)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if skip, err := hidden(key); err != nil {
			return nil, b.refuse("exclusions: %w", err)
		} else if skip {
			delete(all, key)
			continue
		}
		if !fs.ValidPath(key) || strings.ContainsRune(key, 0) {
			return nil, b.refuse("the key %q is no path of a file", key).WithHint("rename the object, or leave it out with spec.ignore")
		}
	}
	for key := range all {
		for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
			if _, file := all[dir]; file {
				return nil, b.refuse("%q is an object, and others are below it", dir).WithHint("rename one of them, or leave it out with spec.ignore")
			}
		}
	}
	return all, nil
}

// excluded reads the files of exclusions, each once.
func (b *Bucket) excluded(ctx context.Context, all map[string]string) (func(string) (bool, error), error) {
	files := map[string][]byte{}
	for key, etag := range all {
		if path.Base(key) != b.client.opt.IgnoreFile || !fs.ValidPath(key) {
			continue
		}
		if len(files) >= maxIgnoreFiles {
			return nil, b.refuse("it has more than %d files %s", maxIgnoreFiles, b.client.opt.IgnoreFile)
		}
		place := b.base.String() + key + " " + etag
		c := b.client
		c.mu.Lock()
		data, known := c.kept[place]
		c.mu.Unlock()
		if !known {
			body, err := b.get(ctx, key, etag)
			if err != nil {
				return nil, err
			}
			data, err = io.ReadAll(io.LimitReader(body, maxIgnore))
			body.Close()
			if err != nil {
				return nil, b.failed(ctx, err)
			}
			c.mu.Lock()
			if len(c.kept) >= maxKept {
				clear(c.kept)
			}
			c.kept[place] = data
			c.mu.Unlock()
		}
		files[key] = data
	}
	return b.client.opt.Excluded(b.src, files), nil
}

// digest names a set of objects: the SHA-256 of a line for each, sorted.
func digest(etags map[string]string) string {
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(etags)) {
		fmt.Fprintf(h, "%s %s\n", key, etags[key])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// note is what a build remembers of an object for the next.
type note struct {
	ETag string `json:"etag"`
	Blob string `json:"blob"`
}

// Bring implements source.Upstream. Objects that are as in the build before are
// not read.
func (b *Bucket) Bring(ctx context.Context, rev app.Revision, into *objects.Build) error {
	etags := b.found
	if etags == nil || digest(etags) != rev.Commit { // another one's Find found it, or an earlier
		var err error
		if etags, err = b.list(ctx); err != nil {
			return err
		}
	}
	if digest(etags) != rev.Commit {
		f := app.Fail(app.StageFetch, app.ReasonSourceLost, "%s: revision sha256:%s is not there any more", b, rev.Commit).
			WithHint("Nothing needs to be done: what is there now is looked at next.")
		f.Retry.After = time.Second
		return f
	}
	var before map[string]note
	_ = json.Unmarshal(into.Note(), &before) // without it, all are read
	after := map[string]note{}
	var missing []string
	for _, key := range slices.Sorted(maps.Keys(etags)) {
		was := before[key]
		if was.ETag == etags[key] && was.Blob != "" {
			there, err := into.Blob(key, plumbing.NewHash(was.Blob))
			if err != nil {
				return b.refuse("%w", err)
			}
			if there {
				after[key] = was
				continue
			}
		}
		missing = append(missing, key)
	}
	if err := b.fetch(ctx, missing, etags, into, after); err != nil {
		return err
	}
	text, err := json.Marshal(after)
	if err != nil {
		return err
	}
	into.SetNote(text)
	return nil
}

// fetch reads objects, several at a time, and takes them in in their order.
func (b *Bucket) fetch(ctx context.Context, keys []string, etags map[string]string, into *objects.Build, after map[string]note) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		body io.ReadCloser
		err  error
	}
	answers := make([]chan answer, len(keys))
	for i := range answers {
		answers[i] = make(chan answer, 1)
	}
	room := make(chan struct{}, fetchers) // answers that are open
	go func() {
		for i, key := range keys {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				answers[i] <- answer{nil, context.Cause(ctx)}
				continue
			}
			go func() {
				body, err := b.get(ctx, key, etags[key])
				answers[i] <- answer{body, err}
			}()
		}
	}()
	var failure error
	for i, key := range keys {
		a := <-answers[i]
		if a.err == nil && failure == nil {
			id, err := into.FileID(key, false, a.body)
			if err != nil {
				failure = b.unread(ctx, err)
			}
			after[key] = note{etags[key], id.String()}
		}
		if a.body != nil {
			a.body.Close()
		}
		if a.err != nil && failure == nil {
			failure = a.err
		}
		if failure != nil {
			cancel()
		}
		select {
		case <-room:
		default: // it was never let in
		}
	}
	return failure
}

func (b *Bucket) refuse(format string, args ...any) *app.Failure {
	return app.Fail(app.StageFetch, app.ReasonBadArtifact, "bucket %s: %w", b, fmt.Errorf(format, args...))
}

// failed is for what goes wrong with a connection.
func (b *Bucket) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return remote.Interrupted(ctx, b)
	}
	return unreachable(b, err)
}
