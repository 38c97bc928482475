// Package remote speaks the Git protocol over http, https, ssh and to
// repositories on this machine. It lists refs, streams packs and moves refs; it
// keeps no objects and knows nothing of sources.
//
// Everything a connection needs is in the credentials that are passed in: no
// agent, no file of the user's home, no environment, no Git configuration is
// read, and no state of the libraries is shared or changed.
//
// All errors are app.Failures of the fetch stage, free of credentials.
package remote

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
)

// Options say what connections may do.
type Options struct {
	// Local permits file URLs. They reach whatever this process can read, so
	// they are for repositories of the user's own machine.
	Local bool
	// Proxy chooses the proxy of an http or https request; nil means none.
	Proxy func(*http.Request) (*url.URL, error)
	// Scratch is a directory for short-lived files; it is made when needed.
	Scratch string
	// Agent is the User-Agent of requests. Some servers want it to begin with
	// "git/"; the default does.
	Agent string
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Dialer opens remotes. Those with equal TLS settings share connections.
type Dialer struct {
	opt Options

	mu    sync.Mutex
	conns map[[sha256.Size]byte]*http.Transport
	apps  map[[sha256.Size]byte]*installation
}

// NewDialer makes a Dialer.
func NewDialer(opt Options) *Dialer {
	if opt.Agent == "" {
		opt.Agent = "git/plumb"
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	return &Dialer{opt: opt, conns: map[[sha256.Size]byte]*http.Transport{}, apps: map[[sha256.Size]byte]*installation{}}
}

// Listing is what a repository advertises.
type Listing struct {
	Head    plumbing.Hash // zero if HEAD points to no commit
	HeadRef string        // the ref that HEAD points to; "" if detached or not told
	Refs    map[string]Ref

	caps *capability.List
	base string // of http: where the repository turned out to be
}

// Ref is an advertised reference.
type Ref struct {
	ID plumbing.Hash
	// Peeled is what an annotated tag finally points to, or zero where the
	// server does not tell or ID is no tag.
	Peeled plumbing.Hash
}

// Commit is the id to fetch for the commit behind r.
func (r Ref) Commit() plumbing.Hash {
	if !r.Peeled.IsZero() {
		return r.Peeled
	}
	return r.ID
}

// AnyCommit reports whether the server lets a client ask for commits that no
// ref points to.
func (l *Listing) AnyCommit() bool {
	return l.caps != nil && (l.caps.Supports(capability.AllowReachableSHA1InWant) ||
		l.caps.Supports(capability.Capability("allow-any-sha1-in-want")))
}

// Remote is one repository under one set of credentials.
type Remote interface {
	// List asks for the refs. A repository without commits gives a Listing
	// without refs.
	List(ctx context.Context) (*Listing, error)
	// Fetch asks for the objects that wants need beyond haves, and passes
	// the pack to install. The haves must be complete: their history and
	// trees are not sent again, and the pack may build upon them.
	Fetch(ctx context.Context, l *Listing, wants, haves []plumbing.Hash, install Install) error
	// Push moves a ref. The failure of one who was overtaken has ErrMoved in
	// its chain.
	Push(ctx context.Context, u Update) error
}

// Install takes one pack.
type Install func(ctx context.Context, pack io.Reader) error

// Open prepares a remote; nothing is sent yet.
func (d *Dialer) Open(addr giturl.Address, auth app.Credentials) (Remote, error) {
	if f := auth.Refusal(addr.String()); f != nil {
		return nil, f
	}
	if auth.Username == "" && auth.Password == "" && auth.BearerToken == "" && addr.Scheme != "ssh" {
		auth.Username, auth.Password = addr.User, addr.Password
	}
	switch addr.Scheme {
	case "http", "https":
		return d.openHTTP(addr, auth)
	case "ssh":
		return openSSH(addr, auth, d.opt.Scratch)
	case "file":
		if !d.opt.Local {
			return nil, app.Fail(app.StageFetch, app.ReasonInvalidSpec, "%s: file URLs are not allowed here", addr).
				WithHint("Use a http, https or ssh URL.")
		}
		return &local{addr: addr}, nil
	}
	return nil, app.Fail(app.StageFetch, app.ReasonInvalidSpec, "%s: scheme %q is not supported", addr, addr.Scheme)
}

// Identity is a digest of everything in credentials that decides what a server
// lets them see, of what they trust, and of the way to it.
func Identity(a app.Credentials) [sha256.Size]byte {
	h := sha256.New()
	field := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	for _, s := range []string{a.Username, a.Password, a.BearerToken, a.SSHKeyPassword, a.Proxy.URL, a.Proxy.Username, a.Proxy.Password} {
		field([]byte(s))
	}
	for _, b := range [][]byte{a.SSHKey, a.KnownHosts, a.CA, a.ClientCert, a.ClientKey} {
		field(b)
	}
	if a.InsecureHost {
		field([]byte{1})
	}
	if g := a.GitHubApp; g != nil {
		for _, s := range []string{g.ID, g.Installation, g.Owner, string(g.PrivateKey), g.API} {
			field([]byte(s))
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}
