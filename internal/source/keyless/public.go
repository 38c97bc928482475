package keyless

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const (
	// refresh is how long a root is taken for the one that counts. Its
	// repository means it for longer: what it signs holds for days.
	refresh = 24 * time.Hour
	// again is how long a failure is taken for the answer, as in Flux.
	again = time.Minute
	// fetchTimeout bounds a fetch as a whole.
	fetchTimeout = 45 * time.Second
)

// PublicOptions are what a Public is made of.
type PublicOptions struct {
	// Transport gives the connections; it must be set.
	Transport func() (http.RoundTripper, error)
	// Dir is where what was fetched is kept. It is made when it is needed; ""
	// keeps nothing.
	Dir string
	// URL is the TUF repository, and Anchor the root.json that it is trusted by;
	// the default is Sigstore's, and what the library brings along for it.
	URL    string
	Anchor []byte
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Public is the trusted root of an instance that publishes it by TUF. It is
// fetched when it is first asked for.
type Public struct {
	opt  PublicOptions
	busy chan struct{} // held by who fetches

	mu      sync.Mutex
	root    *Root
	fetched time.Time
	err     error
	failed  time.Time
}

// NewPublic makes a Public. It asks for nothing.
func NewPublic(opt PublicOptions) *Public {
	if opt.URL == "" {
		opt.URL = tuf.DefaultMirror
	}
	if opt.Anchor == nil {
		opt.Anchor = tuf.DefaultRoot()
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Public{opt: opt, busy: make(chan struct{}, 1)}
}

// Root gives the root that counts now.
func (p *Public) Root(ctx context.Context) (*Root, error) {
	if r, err, ok := p.known(); ok {
		return r, err
	}
	select {
	case p.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-p.busy }()
	if r, err, ok := p.known(); ok { // someone else was faster
		return r, err
	}
	r, err := p.fetch(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx) // says nothing about the repository
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.opt.Now()
	if err != nil {
		p.err, p.failed = fmt.Errorf("the trusted root of Sigstore's public instance cannot be had from %s: %w", p.opt.URL, short(err)), now
		return nil, p.err
	}
	p.root, p.fetched, p.err = r, now, nil
	return r, nil
}

func (p *Public) known() (*Root, error, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.opt.Now()
	switch {
	case p.root != nil && now.Sub(p.fetched) < refresh:
		return p.root, nil, true
	case p.err != nil && now.Sub(p.failed) < again:
		return nil, p.err, true
	}
	return nil, nil, false
}

// fetch looks at the repository, and, if that does not answer, at what it said
// before, as long as that holds.
func (p *Public) fetch(ctx context.Context) (*Root, error) {
	transport, err := p.opt.Transport()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := p.from(download{ctx, &http.Client{Transport: transport}}, false)
	if err == nil || p.opt.Dir == "" {
		return r, err
	}
	if kept, failed := p.from(nowhere{}, true); failed == nil {
		return kept, nil
	}
	return nil, err
}

// from is one attempt; kept is whether what was fetched before is enough.
func (p *Public) from(fetcher interface {
	DownloadFile(string, int64, time.Duration) ([]byte, error)
}, kept bool) (*Root, error) {
	var material *root.TrustedRoot
	err := guarded(func() (err error) {
		client, err := tuf.New(&tuf.Options{
			Root: p.opt.Anchor, RepositoryBaseURL: p.opt.URL, Fetcher: fetcher,
			CachePath: filepath.Join(p.opt.Dir, "sigstore"), DisableLocalCache: p.opt.Dir == "",
			CacheValidity: int(refresh / (24 * time.Hour)), ForceCache: kept,
		})
		if err != nil {
			return err
		}
		material, err = root.GetTrustedRoot(client)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Root{material}, nil
}

// download fetches files of a repository over HTTP.
type download struct {
	ctx    context.Context // of the one fetch that it is made for
	client *http.Client
}

func (d download) DownloadFile(url string, most int64, _ time.Duration) ([]byte, error) {
	req, err := http.NewRequestWithContext(d.ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "plumb")
	res, err := d.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: res.StatusCode, URL: url}
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err == nil && int64(len(data)) > most {
		err = &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf("%s is larger than %d bytes", url, most)}
	}
	return data, err
}

// nowhere fetches nothing.
type nowhere struct{}

func (nowhere) DownloadFile(string, int64, time.Duration) ([]byte, error) {
	return nil, errors.New("not asked")
}
