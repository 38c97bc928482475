// Package oci reads artifacts from OCI registries: it finds the revision that a
// tag, a range of versions or a digest stands for, and writes the files of one
// layer into a build of Git objects. If asked to, it lets only signed content
// pass.
//
// It must know nothing of apps, of custom resources and of how long anything is
// kept. It reads no configuration of this machine: no Docker configuration, no
// credential helper, no environment. All errors are *app.Failures of the fetch
// stage, free of credentials.
package oci

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/keyless"
	gitremote "plumb.dev/plumb/internal/source/remote"
)

// scheme begins the URL of a source.
const scheme = "oci://"

// maxConnections bounds the repositories whose connections are kept.
const maxConnections = 512

// Options are what a Client is made of. Transport must be set.
type Options struct {
	// Transport gives the connections for the TLS settings and the proxy of
	// credentials.
	Transport func(app.Credentials) (*http.Transport, error)
	// Limits; the zero value has defaults that are large.
	Limits Limits
	// Public says where the trusted root of signatures without keys comes from for
	// sources that name none; the zero value is Sigstore's public instance, of
	// which nothing is kept on disk. Its Transport is ours.
	Public keyless.PublicOptions
}

// Client opens artifacts. It keeps for each repository, under each set of
// credentials, how it is logged in, so that a look costs one request.
type Client struct {
	opt    Options
	public *keyless.Public

	mu    sync.Mutex
	conns map[[sha256.Size]byte]*connection
}

// NewClient makes a Client.
func NewClient(opt Options) *Client {
	opt.Limits = opt.Limits.withDefaults()
	opt.Public.Transport = func() (http.RoundTripper, error) { return opt.Transport(app.Credentials{}) }
	return &Client{opt: opt, public: keyless.NewPublic(opt.Public), conns: map[[sha256.Size]byte]*connection{}}
}

// connection is one repository under one set of credentials.
type connection struct {
	key       [sha256.Size]byte
	puller    *remote.Puller
	anonymous bool

	mu   sync.Mutex
	last *manifest // the one that was read last
	// bad is why the layer could not be brought that was tried last, and wrong
	// is its digest.
	bad   *app.Failure
	wrong string
	// verdict is the last one of a policy that lets pass what is not signed.
	verdict verdict
}

// knownBad gives the failure of a layer that was tried before, so that it is not
// fetched again and again.
func (c *connection) knownBad(layer string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bad == nil || c.wrong != layer {
		return nil
	}
	return c.bad
}

func (c *connection) noteBad(layer string, f *app.Failure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad, c.wrong = f, layer
}

// Artifact is a source in a registry.
type Artifact struct {
	client *Client
	conn   *connection
	repo   name.Repository
	spec   app.OCIArtifact
}

// Open says where the artifact of a source is; src.OCI must be set. It makes no
// request.
func (c *Client) Open(src app.Source) (*Artifact, error) {
	if src.Auth.Err != nil {
		f := app.Fail(app.StageFetch, app.ReasonAuthentication, "failed to get credential: %w", src.Auth.Err)
		if cause := (*app.Failure)(nil); errors.As(src.Auth.Err, &cause) {
			f.Hint = cause.Hint
		}
		return nil, f
	}
	repo, err := repository(src.URL, src.OCI.Insecure)
	if err != nil {
		return nil, err
	}
	conn, err := c.connect(repo, src)
	if err != nil {
		return nil, err
	}
	return &Artifact{client: c, conn: conn, repo: repo, spec: *src.OCI}, nil
}

// String is the address.
func (a *Artifact) String() string { return scheme + a.repo.Name() }

// repository reads oci://host/path.
func repository(url string, insecure bool) (name.Repository, error) {
	invalid := func(format string, args ...any) (name.Repository, error) {
		f := app.Fail(app.StageFetch, app.ReasonInvalidSpec, "URL validation failed for '%s': "+format, append([]any{url}, args...)...).
			WithHint("Write the URL as oci://host/path; tag and digest have fields of their own.")
		f.Retry.Never = true
		return name.Repository{}, f
	}
	rest, ok := strings.CutPrefix(url, scheme)
	if !ok {
		return invalid("URL must be in format 'oci://<domain>/<org>/<repo>'")
	}
	if strings.ContainsAny(rest, "@?#") {
		return invalid("it names more than a repository")
	}
	options := []name.Option{name.StrictValidation}
	if insecure {
		options = append(options, name.Insecure)
	}
	// The path alone: a host that is left out must not become that of a
	// registry nobody named.
	host, path, _ := strings.Cut(rest, "/")
	if host == "" || path == "" {
		return invalid("it lacks host or path")
	}
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return invalid("%q is no host name", host)
	}
	registry, err := name.NewRegistry(host, options...)
	if err != nil {
		return invalid("%w", err)
	}
	repo, err := name.NewRepository(registry.Name()+"/"+path, options...)
	if err != nil {
		return invalid("%w", err)
	}
	return repo, nil
}

// connect gives the connection of a repository for what src has to open it
// with.
func (c *Client) connect(repo name.Repository, src app.Source) (*connection, error) {
	key, err := keyOf(repo, src)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn, ok := c.conns[key]; ok {
		return conn, nil
	}
	auth, err := login(src, repo)
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonAuthentication, "failed to get credential: %w", err).
			WithHint("Correct the Secret: its key .dockerconfigjson holds a Docker configuration.")
	}
	transport, err := c.transport(repo, src)
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonAuthentication, "failed to generate transport for '%s': %w", src.URL, err)
	}
	puller, err := remote.NewPuller(
		remote.WithAuth(auth),
		remote.WithTransport(transport),
		remote.WithUserAgent("plumb"),
		// Who asks tries again by itself.
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithRetryStatusCodes(),
	)
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonInternal, "%s: %w", repo, err)
	}
	if len(c.conns) >= maxConnections {
		clear(c.conns)
	}
	conn := &connection{key: key, puller: puller, anonymous: auth == authn.Anonymous}
	c.conns[key] = conn
	return conn, nil
}

// keyOf names a connection by all that decides it.
func keyOf(repo name.Repository, src app.Source) ([sha256.Size]byte, error) {
	text, err := json.Marshal([]any{repo.Name(), src.OCI.Insecure, gitremote.Identity(src.Auth), src.OCI.Keychain})
	return sha256.Sum256(text), err
}

// forget drops a connection that went wrong: the next look begins with a new
// login.
func (c *Client) forget(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns[conn.key] == conn {
		delete(c.conns, conn.key)
	}
}

// manifest gives the manifest of a digest.
func (a *Artifact) manifest(ctx context.Context, digest name.Digest) (*manifest, error) {
	a.conn.mu.Lock()
	last := a.conn.last
	a.conn.mu.Unlock()
	if last != nil && last.digest == digest.DigestStr() {
		return last, nil
	}
	m, err := a.readManifest(ctx, digest)
	if err != nil {
		return nil, err
	}
	a.conn.mu.Lock()
	a.conn.last = m
	a.conn.mu.Unlock()
	return m, nil
}
