// Package chartserver is a Helm repository over HTTP for tests: a directory of
// archives and an index, both made by Helm's own libraries.
package chartserver

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"sync"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	repo "helm.sh/helm/v4/pkg/repo/v1"
)

// Options configure a Server. Only Dir must be set.
type Options struct {
	Dir                string // what is served; made if it does not exist
	Username, Password string // asked for unless empty
	// TLS, if not nil, is how to serve HTTPS.
	TLS *tls.Config
	// BaseURL is written before the names of archives into the index; "" makes
	// their addresses relative.
	BaseURL string
}

// Server serves one repository. Its methods may be called at once.
type Server struct {
	*httptest.Server
	opt Options

	mu     sync.Mutex
	opened bool           // the password is not asked for
	asked  map[string]int // requests by path, those that were refused left out
	sent   map[string]int // of those, the ones answered with content
}

// New starts one on a port of its own of 127.0.0.1, with an empty index. Close must
// be called.
func New(opt Options) (*Server, error) {
	s := &Server{opt: opt, asked: map[string]int{}, sent: map[string]int{}}
	if err := os.MkdirAll(opt.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.index(); err != nil {
		return nil, err
	}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	if opt.TLS != nil {
		s.TLS = opt.TLS
		s.StartTLS()
	} else {
		s.Start()
	}
	return s, nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	open := s.opened || s.opt.Username == ""
	s.mu.Unlock()
	user, password, _ := r.BasicAuth()
	if !open && (user != s.opt.Username || password != s.opt.Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="charts"`)
		http.Error(w, "who are you", http.StatusUnauthorized)
		return
	}
	answer := &status{ResponseWriter: w, code: http.StatusOK}
	name := filepath.Join(s.opt.Dir, filepath.FromSlash(path.Clean("/"+r.URL.Path)))
	if data, err := os.ReadFile(name); err == nil {
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(data)))
	}
	http.ServeFile(answer, r, name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked[r.URL.Path]++
	if answer.code == http.StatusOK {
		s.sent[r.URL.Path]++
	}
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Requests tells how often a path was asked for, and how often it was sent.
func (s *Server) Requests(path string) (asked, sent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path], s.sent[path]
}

// Dir is what is served.
func (s *Server) Dir() string { return s.opt.Dir }

// Open stops asking for the password.
func (s *Server) Open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened = true
}

// Publish packages the chart in a directory as `helm package` does, under
// another version if one is given, and makes the index anew. It returns the
// name of the archive.
func (s *Server) Publish(dir, version string) (string, error) {
	chart, err := loader.LoadDir(dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	if version != "" {
		chart.Metadata.Version = version
	}
	name, err := chartutil.Save(chart, s.opt.Dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	return filepath.Base(name), s.index()
}

// Withdraw takes an archive out of the repository.
func (s *Server) Withdraw(name string) error {
	return errors.Join(os.Remove(filepath.Join(s.opt.Dir, name)), s.index())
}

// index does what `helm repo index` does.
func (s *Server) index() error {
	index, err := repo.IndexDirectory(s.opt.Dir, s.opt.BaseURL)
	if err != nil {
		return err
	}
	index.SortEntries()
	return index.WriteFile(filepath.Join(s.opt.Dir, "index.yaml"), 0o644)
}
