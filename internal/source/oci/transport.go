package oci

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"plumb.dev/plumb/internal/app"
)

// errPlain refuses to speak without TLS where that was not asked for.
var errPlain = errors.New("the registry is only to be reached without TLS")

// maxAnswer bounds manifests and pages of tags, in bytes.
const maxAnswer = 8 << 20

// registryTransport is the way to one registry and to where it redirects.
type registryTransport struct {
	host string
	// home is for the registry itself: it has the client certificate. away is for
	// all other hosts, which are not to be shown it.
	home, away http.RoundTripper
	plain      bool // without TLS, too
}

func (c *Client) transport(repo name.Repository, src app.Source) (http.RoundTripper, error) {
	home, err := c.opt.Transport(src.Auth)
	if err != nil {
		return nil, err
	}
	others := src.Auth
	others.ClientCert, others.ClientKey = nil, nil
	away, err := c.opt.Transport(others)
	if err != nil {
		return nil, err
	}
	return &registryTransport{host: repo.RegistryStr(), home: home, away: away, plain: src.OCI.Insecure}, nil
}

func (t *registryTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !t.plain {
		return nil, errPlain
	}
	if !strings.EqualFold(req.URL.Host, t.host) {
		return t.away.RoundTrip(req)
	}
	res, err := t.home.RoundTrip(req)
	if err == nil && isAnswer(req.URL.Path) {
		res.Body = &bounded{res.Body, maxAnswer}
	}
	return res, err
}

// isAnswer reports whether what is at a path is read as a whole, into memory.
func isAnswer(path string) bool {
	return strings.Contains(path, "/manifests/") || strings.Contains(path, "/tags/") || strings.Contains(path, "/referrers/")
}

// bounded is a body that may not be longer than it should.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLong
	}
	return n, err
}

var errTooLong = errors.New("the answer of the registry is too long")
