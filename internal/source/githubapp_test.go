package source

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
)

// hub is a GitHub server, as far as an app needs one: its API gives tokens to
// those who prove that they are the app, and its repositories open to tokens.
type hub struct {
	key *rsa.PublicKey

	mu     sync.Mutex
	now    time.Time
	tokens map[string]time.Time // with their ends
	given  int
	asked  []string
}

// proves checks a JWT as GitHub does.
func (h *hub) proves(r *http.Request) error {
	parts := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
	if len(parts) != 3 {
		return errors.New("no JWT")
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return err
		}
	}
	var head struct{ Alg, Typ string }
	var claims struct {
		Iat, Exp int64
		Iss      string
	}
	if err := errors.Join(json.Unmarshal(raw[0], &head), json.Unmarshal(raw[1], &claims)); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(h.key, crypto.SHA256, sum[:], raw[2]); err != nil || head.Alg != "RS256" {
		return errors.New("A JSON web token could not be decoded")
	}
	now := h.now.Unix()
	switch {
	case claims.Iss != "4711":
		return errors.New("Integration not found")
	case claims.Iat > now, claims.Exp <= now, claims.Exp > now+600:
		return errors.New("'Expiration time' claim ('exp') is too far in the future")
	}
	return nil
}

func (h *hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, r.Method+" "+r.URL.Path)
	if err := h.proves(r); err != nil {
		w.WriteHeader(http.StatusUnauthorized)
		json.NewEncoder(w).Encode(map[string]string{"message": err.Error()})
		return
	}
	switch r.Method + " " + r.URL.Path {
	case "GET /api/v3/users/ada/installation", "GET /api/v3/orgs/team/installation":
		fmt.Fprint(w, `{"id": 77}`)
	case "POST /api/v3/app/installations/77/access_tokens":
		h.given++
		token := fmt.Sprintf("ghs_hunter%d", h.given)
		h.tokens[token] = h.now.Add(time.Hour)
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_at": h.now.Add(time.Hour).UTC()})
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"message": "Not Found"}`)
	}
}

// opens reports whether a request to a repository has a good token.
func (h *hub) opens(r *http.Request) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	user, token, _ := r.BasicAuth()
	if end, ok := h.tokens[token]; user == "x-access-token" && ok && h.now.Before(end) {
		return 0
	}
	return http.StatusUnauthorized
}

func (h *hub) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func privatePEM(t *testing.T, key *rsa.PrivateKey, kind string) []byte {
	t.Helper()
	if kind == "RSA PRIVATE KEY" {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: x509.MarshalPKCS1PrivateKey(key)})
	}
	data, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
}

func TestGitHubApp(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	h := &hub{key: &key.PublicKey, now: time.Now(), tokens: map[string]time.Time{}}
	_, server := guarded(t, h.opens)
	api := httptest.NewTLSServer(h)
	defer api.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: api.Certificate().Raw})
	s := Open(Options{Dir: filepath.Join(t.TempDir(), "cache"), Now: func() time.Time {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.now
	}})
	source := func(change func(*app.GitHubApp)) app.Source {
		g := &app.GitHubApp{ID: "4711", Installation: "77", PrivateKey: privatePEM(t, key, "RSA PRIVATE KEY"), API: api.URL + "/api/v3/"}
		change(g)
		return app.Source{URL: server.URL + "/team/repo.git", Ref: app.GitRef{Branch: "main"}, Auth: app.Credentials{GitHubApp: g, CA: ca}}
	}
	// The time of a look is that of h: a real one would be answered from memory.
	look := func(src app.Source) error {
		h.pass(time.Second)
		_, _, err := s.Resolve(t.Context(), src, s.opt.Now())
		return err
	}
	src := source(func(*app.GitHubApp) {})
	for range 3 {
		if err := look(src); err != nil {
			t.Fatal(err)
		}
	}
	if h.given != 1 {
		t.Errorf("%d tokens for three looks", h.given)
	}
	h.pass(56 * time.Minute) // it has a few minutes left
	if err := look(src); err != nil || h.given != 2 {
		t.Errorf("%d tokens, %v", h.given, err)
	}
	h.mu.Lock()
	clear(h.tokens) // revoked
	h.mu.Unlock()
	wantFailure(t, look(src), app.ReasonAuthentication, "hunter")
	if err := look(src); err != nil || h.given != 3 {
		t.Errorf("after a token was revoked: %d tokens, %v", h.given, err)
	}

	for name, change := range map[string]func(*app.GitHubApp){
		"a user's":          func(g *app.GitHubApp) { g.Installation, g.Owner = "", "ada" },
		"an organization's": func(g *app.GitHubApp) { g.Installation, g.Owner = "", "team" },
		"PKCS 8":            func(g *app.GitHubApp) { g.PrivateKey = privatePEM(t, key, "PRIVATE KEY") },
	} {
		t.Run(name, func(t *testing.T) {
			if err := look(source(change)); err != nil {
				t.Error(err)
			}
		})
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*app.GitHubApp)
		want   string
	}{
		"another key":       {func(g *app.GitHubApp) { g.PrivateKey = privatePEM(t, stranger, "PRIVATE KEY") }, "could not be decoded"},
		"another app":       {func(g *app.GitHubApp) { g.ID = "4712" }, "Integration not found"},
		"no installation":   {func(g *app.GitHubApp) { g.Installation = "78" }, "HTTP 404"},
		"not installed for": {func(g *app.GitHubApp) { g.Installation, g.Owner = "", "eve" }, "is not installed for eve"},
		"no key":            {func(g *app.GitHubApp) { g.PrivateKey = []byte("hunter2") }, "not PEM"},
		"no RSA key":        {func(g *app.GitHubApp) { g.PrivateKey = ca }, "not an RSA key"},
		"no API":            {func(g *app.GitHubApp) { g.API = "ftp://x" }, "not one of an API"},
	} {
		t.Run(name, func(t *testing.T) {
			f := wantFailure(t, look(source(test.change)), app.ReasonAuthentication, "hunter", "ghs_")
			if !strings.Contains(f.Error(), test.want) {
				t.Errorf("got %q, want %q", f, test.want)
			}
		})
	}
	api.Close()
	h.pass(2 * time.Hour)
	wantFailure(t, look(src), app.ReasonUnreachable, "hunter")
	if text := fmt.Sprintf("%v %+v %#v", src.Auth.GitHubApp, *src.Auth.GitHubApp, src); strings.Contains(text, "PRIVATE KEY") {
		t.Error("the key is shown")
	}
}
