package remote

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
	"golang.org/x/net/proxy"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
)

// sshRemote runs git-upload-pack and git-receive-pack on the server, in one
// connection a call.
type sshRemote struct {
	addr   giturl.Address
	config ssh.ClientConfig
	dialer proxy.ContextDialer
}

func openSSH(addr giturl.Address, auth app.Credentials, scratch string) (Remote, error) {
	fail := func(hint, format string, args ...any) (Remote, error) {
		return nil, app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: %w", addr, fmt.Errorf(format, args...)).WithHint("%s", hint)
	}
	r := &sshRemote{addr: addr, dialer: &net.Dialer{Timeout: 30 * time.Second}}
	if auth.Proxy.URL != "" {
		var err error
		if r.dialer, err = proxyDialer(auth.Proxy, r.dialer); err != nil {
			return fail("Set address in the Secret of the proxy to socks5://host:port.", "%w", err)
		}
	}
	r.config.User = addr.User
	if r.config.User == "" {
		r.config.User = auth.Username
	}
	if r.config.User == "" {
		r.config.User = "git"
	}
	switch {
	case len(auth.SSHKey) > 0:
		signer, err := parseKey(auth)
		if err != nil {
			return fail("Put a private key in PEM form into the Secret, and its password if it has one.", "%w", err)
		}
		r.config.Auth = []ssh.AuthMethod{ssh.PublicKeys(signer)}
	case auth.Password != "":
		r.config.Auth = []ssh.AuthMethod{ssh.Password(auth.Password)}
	default:
		return fail("Give the source a Secret with an SSH key and known_hosts.", "an ssh URL needs a key")
	}
	switch {
	case auth.InsecureHost:
		r.config.HostKeyCallback = ssh.InsecureIgnoreHostKey()
	case len(auth.KnownHosts) == 0:
		return fail("Add known_hosts to the Secret of the source.", "without known_hosts the server cannot be recognised")
	default:
		check, err := parseKnownHosts(auth.KnownHosts, scratch)
		if err != nil {
			return fail("Correct known_hosts in the Secret of the source.", "%w", err)
		}
		r.config.HostKeyCallback = check
		r.config.HostKeyAlgorithms = knownAlgorithms(check, addr.HostPort())
	}
	return r, nil
}

// parseKey reads the private key. Errors of the parser are not passed on: they
// may quote it.
func parseKey(auth app.Credentials) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(auth.SSHKey)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		if auth.SSHKeyPassword == "" {
			return nil, errors.New("the SSH key is encrypted and no password is given")
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(auth.SSHKey, []byte(auth.SSHKeyPassword)); err != nil {
			return nil, errors.New("the SSH key cannot be decrypted with the password given")
		}
	}
	if err != nil {
		return nil, errors.New("the SSH key cannot be read")
	}
	return signer, nil
}

// parseKnownHosts goes through a file because the library reads nothing else.
func parseKnownHosts(text []byte, scratch string) (ssh.HostKeyCallback, error) {
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(scratch, "known_hosts_")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	check, err := knownhosts.New(f.Name())
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), f.Name(), "known_hosts"))
	}
	return check, nil
}

// knownAlgorithms gives the kinds of host key that known_hosts has for the
// host, so that a server with several keys shows one that can be compared. It
// is nil, meaning any, where known_hosts has none.
func knownAlgorithms(check ssh.HostKeyCallback, hostPort string) []string {
	probe, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil
	}
	var mismatch *knownhosts.KeyError
	if !errors.As(check(hostPort, &net.TCPAddr{}, probe), &mismatch) {
		return nil
	}
	var algorithms []string
	for _, known := range mismatch.Want {
		switch kind := known.Key.Type(); kind {
		case ssh.KeyAlgoRSA:
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algorithms = append(algorithms, kind)
		}
	}
	slices.Sort(algorithms)
	return slices.Compact(algorithms)
}

// sshSession is a program of Git that runs on the server.
type sshSession struct {
	in     io.WriteCloser
	out    io.Reader
	errors *headBuffer
	wait   func() error // until the server's program has ended, and all of errors is there
	close  func()
}

func (r *sshRemote) start(ctx context.Context, program string) (*sshSession, error) {
	conn, err := r.dialer.DialContext(ctx, "tcp", r.addr.HostPort())
	if err != nil {
		return nil, err
	}
	// The library knows no contexts: when ours ends, the connection does.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	s := &sshSession{errors: &headBuffer{}, close: func() { stop(); conn.Close() }}
	sc, channels, requests, err := ssh.NewClientConn(conn, r.addr.HostPort(), &r.config)
	if err != nil {
		s.close()
		return nil, err
	}
	session, err := ssh.NewClient(sc, channels, requests).NewSession()
	if err == nil {
		session.Stderr, s.wait = s.errors, session.Wait
		s.in, err = session.StdinPipe()
	}
	if err == nil {
		s.out, err = session.StdoutPipe()
	}
	if err == nil {
		err = session.Start(program + " " + quote(r.path()))
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (r *sshRemote) path() string {
	if home, ok := strings.CutPrefix(r.addr.Path, "/~"); ok {
		return "~" + home
	}
	return r.addr.Path
}

// quote makes one word of a path for the server's shell.
func quote(path string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
}

// list reads the refs, which every session begins with.
func (s *sshSession) list() (*Listing, error) {
	l, err := readListing(s.out)
	if errors.Is(err, errNothing) {
		_ = s.wait() // that it failed is known
		if words := s.errors.String(); words != "" {
			return nil, &refusal{clean(words)}
		}
	}
	return l, err
}

func (r *sshRemote) List(ctx context.Context) (*Listing, error) {
	s, err := r.start(ctx, "git-upload-pack")
	if err != nil {
		return nil, failure(ctx, r.addr, err)
	}
	defer s.close()
	l, err := s.list()
	if err != nil {
		return nil, failure(ctx, r.addr, err)
	}
	io.WriteString(s.in, "0000") // a polite end; the server's log stays clean
	return l, nil
}

func (r *sshRemote) Fetch(ctx context.Context, _ *Listing, wants, haves []plumbing.Hash, install Install) error {
	if wants = without(wants, haves); len(wants) == 0 {
		return nil
	}
	s, err := r.start(ctx, "git-upload-pack")
	if err != nil {
		return failure(ctx, r.addr, err)
	}
	defer s.close()
	l, err := s.list()
	if err != nil {
		return failure(ctx, r.addr, err)
	}
	req := newRequest(l, wants, haves)
	if err := writeRequest(s.in, req); err != nil {
		return failure(ctx, r.addr, err)
	}
	if err := readPack(ctx, io.NopCloser(s.out), req, install); err != nil {
		return failure(ctx, r.addr, err)
	}
	return nil
}

// headBuffer keeps the beginning of what is written to it.
type headBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (h *headBuffer) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b.Write(b[:min(len(b), 4096-h.b.Len())])
	return len(b), nil
}

func (h *headBuffer) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.TrimSpace(h.b.String())
}
