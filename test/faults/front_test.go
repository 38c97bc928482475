package faults

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// front stands before the Git server and can answer in its place.
type front struct {
	url  string
	next http.Handler

	mu      sync.Mutex
	instead func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

func newFront(t *testing.T, target string) *front {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{next: httputil.NewSingleHostReverseProxy(u)}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	instead := f.instead
	f.mu.Unlock()
	if instead == nil {
		f.next.ServeHTTP(w, r)
		return
	}
	instead(w, r, f.next)
}

// set answers by instead; the function that it returns ends that.
func (f *front) set(instead func(w http.ResponseWriter, r *http.Request, next http.Handler)) (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instead = instead
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.instead = nil
	}
}

// answers answers everything in the same way.
func answers(code int, contentType, body string, header ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		w.Write([]byte(body))
	}
}

// packs changes the packs that the server sends, and leaves the rest alone.
// Their length says nothing of the change.
func packs(change func([]byte) []byte) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/git-upload-pack") {
			next.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		body := answer.Body.Bytes()
		if bytes.Contains(body, []byte("PACK")) {
			body = change(body)
		}
		w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
		w.WriteHeader(answer.Code)
		w.Write(body)
	}
}

func restConfig(t *testing.T, kubeconfig string) *rest.Config {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return config
}
