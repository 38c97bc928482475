// Package ociserver is an OCI registry in memory, for tests, and writes artifacts
// to it as the flux, helm and cosign commands do. It knows nothing of Plumb's
// engine.
package ociserver

import (
	"io"
	"log"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Server is an http.Handler that speaks the distribution protocol.
type Server struct {
	registry http.Handler

	mu       sync.Mutex
	username string
	password string
	requests []string
}

// New makes an empty registry that is open to everyone.
func New() *Server {
	return &Server{registry: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))}
}

// Private makes the registry ask for a user and a password from now on; empty
// ones open it again.
func (s *Server) Private(username, password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.username, s.password = username, password
}

// Requests gives the requests since the last call, as "HEAD /v2/…".
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	username, password := s.username, s.password
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	s.mu.Unlock()
	if username != "" || password != "" {
		user, pass, _ := r.BasicAuth()
		if user != username || pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
	}
	s.registry.ServeHTTP(w, r)
}

// Host is the part of a server's URL by which artifacts name their registry.
func Host(url string) string {
	_, host, _ := strings.Cut(url, "://")
	return strings.TrimSuffix(host, "/")
}
