package oci

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
)

func keychain(entries map[string]string) []byte {
	auths := map[string]any{}
	for key, login := range entries {
		auths[key] = map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(login))}
	}
	data, err := json.Marshal(map[string]any{"auths": auths})
	if err != nil {
		return nil
	}
	return data
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		url     string
		entries map[string]string
		want    string
	}{
		{"oci://ghcr.io/team/app", map[string]string{"ghcr.io": "a:1"}, "a:1"},
		{"oci://ghcr.io/team/app", map[string]string{"https://ghcr.io": "a:1"}, "a:1"},
		{"oci://ghcr.io/team/app", map[string]string{"https://GHCR.io/v2/": "a:1"}, "a:1"},
		{"oci://ghcr.io/team/app", map[string]string{"ghcr.io": "a:1", "ghcr.io/team": "b:2", "ghcr.io/tea": "c:3"}, "b:2"},
		{"oci://docker.io/team/app", map[string]string{"https://index.docker.io/v1/": "a:p:1"}, "a:p:1"},
		{"oci://docker.io/team/app", map[string]string{"docker.io": "a:1"}, "a:1"},
		{"oci://eu.registry.example/app", map[string]string{"*.registry.example": "a:1"}, "a:1"},
		{"oci://eu.registry.example/app", map[string]string{"*.registry.example": "a:1", "eu.registry.example": "b:2"}, "b:2"},
		// to nobody else
		{"oci://ghcr.io/team/app", map[string]string{"ghcr.io.example": "a:1", "xghcr.io": "a:1", "io": "a:1"}, ""},
		{"oci://ghcr.io/team/app", map[string]string{"*": "a:1", "*.*.*": "a:1"}, ""},
		{"oci://ghcr.io:5000/team/app", map[string]string{"ghcr.io": "a:1", "ghcr.io:5001": "a:1"}, ""},
		{"oci://a.b.registry.example/app", map[string]string{"*.registry.example": "a:1"}, ""},
		{"oci://ghcr.io/team/app", map[string]string{"ghcr.io/team/app2": "a:1", "ghcr.io/tea": "a:1"}, ""},
	} {
		repo, err := repository(c.url, false)
		if err != nil {
			t.Fatal(err)
		}
		auth, err := login(app.Source{OCI: &app.OCIArtifact{Keychain: keychain(c.entries)}}, repo)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		got, err := auth.Authorization()
		if err != nil {
			t.Fatal(err)
		}
		if have := strings.Trim(got.Username+":"+got.Password, ":"); have != c.want {
			t.Errorf("%s with %v: %q", c.url, c.entries, have)
		}
	}
	repo, err := repository("oci://ghcr.io/team/app", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"s3cret", `{"auths":[]}`, `{"auths":{"ghcr.io":{"auth":"s3cret!"}}}`, `{"auths":{"ghcr.io":{"auth":"czNjcmV0"}}}`} {
		_, err := login(app.Source{OCI: &app.OCIArtifact{Keychain: []byte(bad)}}, repo)
		if err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestPrivate(t *testing.T) {
	r := newRegistry(t)
	r.publish("latest", files("one"))
	r.Private("alice", "letmein")
	with := func(entries map[string]string) func(*app.Source) {
		return func(s *app.Source) { s.OCI.Keychain = keychain(entries) }
	}
	for says, src := range map[string]app.Source{
		"there are none":          r.source(),
		"refuses the credentials": r.source(with(map[string]string{r.host: "alice:guess"})),
		"none for it":             r.source(with(map[string]string{"ghcr.io": "alice:letmein"})),
	} {
		_, err := r.find(src)
		if reason(err) != app.ReasonAuthentication || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "letmein") || strings.Contains(err.Error(), "guess") {
			t.Errorf("%s: %v", says, err)
		}
	}
	src := r.source(with(map[string]string{r.host + "/team": "alice:letmein"}))
	rev, err := r.find(src)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.bring(src, rev); err != nil || got["app/settings.yaml"] != "one" {
		t.Errorf("brought %q, %v", got, err)
	}
	r.Requests()
	if _, err := r.find(src); err != nil || len(r.Requests()) != 1 {
		t.Errorf("what is logged in costs more than one request, or %v", err)
	}
}

// TestToken logs in by a token, as most registries want it, and anew when that
// has expired.
func TestToken(t *testing.T) {
	r := newRegistry(t)
	r.publish("latest", files("one"))
	issued, valid := 0, ""
	var address string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/token" {
			if user, password, _ := req.BasicAuth(); user != "alice" || password != "letmein" {
				http.Error(w, "{}", http.StatusUnauthorized)
				return
			}
			issued++
			valid = fmt.Sprintf("token-%d", issued)
			fmt.Fprintf(w, `{"token":%q}`, valid)
			return
		}
		if valid == "" || req.Header.Get("Authorization") != "Bearer "+valid {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="registry",scope="repository:team/app:pull"`, address))
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		r.ServeHTTP(w, req)
	}))
	defer server.Close()
	address = server.URL
	r.at(server.URL)
	src := r.source(func(s *app.Source) { s.OCI.Keychain = keychain(map[string]string{r.host: "alice:letmein"}) })
	for range 3 {
		if _, err := r.find(src); err != nil {
			t.Fatal(err)
		}
	}
	if issued != 1 {
		t.Errorf("asked for %d tokens", issued)
	}
	valid = "expired"
	if _, err := r.find(src); err != nil || issued != 2 {
		t.Errorf("after it expired: %d tokens, %v", issued, err)
	}
	r.at(server.URL)
	if _, err := r.find(r.source()); reason(err) != app.ReasonAuthentication {
		t.Errorf("without credentials: %v", err)
	}
}
