// Package gitserver serves Git repositories over smart HTTP on loopback, by
// the stock git of the machine. A push to a name that does not exist creates
// that repository. It knows nothing of Plumb's engine; whoever wants to hear
// of a push gives it a function.
package gitserver

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cgi"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options of New. Dir is required.
type Options struct {
	// Dir keeps the bare repositories, NAME.git each. It is created if it is
	// missing.
	Dir string
	// Username and Password, if any is set, are asked for by basic
	// authentication, for reading as for writing.
	Username, Password string
	// OnPush is told the name of a repository, without .git, after a push has
	// changed its refs. It is called from the request's goroutine, before the
	// client's connection is free again. May be nil.
	OnPush func(name string)
}

// Counters count requests by the service they are for. Every fetch and push
// starts with an advertisement; a client with nothing to fetch may send only
// that, or that and one upload-pack request, depending on its protocol.
type Counters struct {
	Advertisements atomic.Int64 // info/refs
	UploadPack     atomic.Int64 // listings and fetches
	ReceivePack    atomic.Int64 // pushes; a large one is preceded by an empty one
	Refused        atomic.Int64 // anything answered 4xx by this package
}

// Server is an http.Handler that serves repositories. Start makes it listen
// by itself.
type Server struct {
	Counters Counters

	opts   Options
	git    string // the executable
	create sync.Mutex

	http *http.Server // nil until Start
	url  string
}

// New checks the machine for git and makes the directory.
func New(opts Options) (*Server, error) {
	git, err := exec.LookPath("git")
	if err != nil {
		return nil, errors.New("the Git server needs the git command on PATH; install git")
	}
	if opts.Dir == "" {
		return nil, errors.New("no directory given for the Git server")
	}
	if opts.Dir, err = filepath.Abs(opts.Dir); err != nil {
		return nil, fmt.Errorf("directory of the Git server: %w", err)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory of the Git server: %w", err)
	}
	return &Server{opts: opts, git: git}, nil
}

// Start serves on a port of 127.0.0.1, 0 for a free one, until Close.
func (s *Server) Start(port int) error {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("serve Git: %w", err)
	}
	s.url = "http://" + listener.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go s.http.Serve(listener)
	return nil
}

// Close ends what Start started, and running requests with it.
func (s *Server) Close() error {
	if s.http == nil {
		return nil
	}
	return s.http.Close()
}

// URL is http://127.0.0.1:PORT after Start.
func (s *Server) URL() string { return s.url }

// RepoURL is the address of a repository after Start, without credentials.
func (s *Server) RepoURL(name string) string {
	return (&url.URL{Scheme: "http", Host: strings.TrimPrefix(s.url, "http://"), Path: "/" + name + ".git"}).String()
}

// ServeHTTP answers the requests of the smart protocol, and no others.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.authenticated(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="git", charset="UTF-8"`)
		s.refuse(w, http.StatusUnauthorized, "credentials are missing or wrong")
		return
	}
	name, service, ok := route(r)
	if !ok {
		s.refuse(w, http.StatusNotFound, "this is a Git server: use git with "+r.Host+"/NAME.git")
		return
	}
	if err := CheckName(name); err != nil {
		s.refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if err := s.ensure(r.Context(), name, service == receivePack); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			s.refuse(w, http.StatusNotFound, fmt.Sprintf("there is no repository %s; push to it to create it", name))
			return
		}
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}

	if r.Method == http.MethodGet {
		s.Counters.Advertisements.Add(1)
		s.serveGit(w, r, name)
		return
	}
	if service == uploadPack {
		s.Counters.UploadPack.Add(1)
		s.serveGit(w, r, name)
		return
	}
	s.Counters.ReceivePack.Add(1)
	before, _ := s.refs(r.Context(), name)
	s.serveGit(w, r, name)
	// The client may be gone as soon as it has its answer; what it pushed
	// stays and is to be told.
	s.pushed(context.WithoutCancel(r.Context()), name, before)
}

func (s *Server) refuse(w http.ResponseWriter, code int, message string) {
	s.Counters.Refused.Add(1)
	http.Error(w, message, code)
}

func (s *Server) authenticated(r *http.Request) bool {
	if s.opts.Username == "" && s.opts.Password == "" {
		return true
	}
	username, password, _ := r.BasicAuth()
	right := subtle.ConstantTimeCompare([]byte(username), []byte(s.opts.Username)) &
		subtle.ConstantTimeCompare([]byte(password), []byte(s.opts.Password))
	return right == 1
}

// The services of the smart protocol.
const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

// route reads what a request is for from its address.
func route(r *http.Request) (name, service string, ok bool) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	switch r.Method {
	case http.MethodGet:
		name, ok = strings.CutSuffix(path, "/info/refs")
		service = r.URL.Query().Get("service") // without one it is the dumb protocol
	case http.MethodPost:
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			return "", "", false
		}
		name, service, ok = path[:i], path[i+1:], true
	}
	if service != uploadPack && service != receivePack {
		return "", "", false
	}
	name, isRepo := strings.CutSuffix(name, ".git")
	return name, service, ok && isRepo
}

// serveGit hands a request to git http-backend.
func (s *Server) serveGit(w http.ResponseWriter, r *http.Request, name string) {
	if r.ContentLength < 0 {
		// CGI has no word for a body of unknown length, but http-backend reads
		// such a body to its end.
		r = r.Clone(r.Context())
		r.TransferEncoding = nil
	}
	backend := cgi.Handler{
		Path:   s.git,
		Args:   []string{"http-backend"},
		Env:    append(gitEnvironment(), "GIT_PROJECT_ROOT="+s.opts.Dir, "GIT_HTTP_EXPORT_ALL=1"),
		Stderr: io.Discard,
		Logger: log.New(io.Discard, "", 0),
	}
	backend.ServeHTTP(w, r)
}
