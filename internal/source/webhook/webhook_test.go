package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

const gitHub = `{"ref":"refs/heads/main","after":"` + commit + `","repository":{"clone_url":"https://github.com/Acme/app.git","html_url":"https://github.com/Acme/app","ssh_url":"git@github.com:Acme/app.git"}}`

const gitLab = `{"event_name":"push","ref":"refs/tags/v1","after":"` + commit + `","project":{"git_http_url":"https://gitlab.example.org/acme/app.git","git_ssh_url":"git@gitlab.example.org:acme/app.git","web_url":"https://gitlab.example.org/acme/app"}}`

const bitbucketCloud = `{"push":{"changes":[{"new":{"name":"main","type":"branch","target":{"hash":"` + commit + `"}}}]},"repository":{"links":{"html":{"href":"https://bitbucket.org/acme/app"}}}}`

const bitbucketServer = `{"changes":[{"ref":{"id":"refs/heads/main"},"toHash":"` + commit + `"}],"repository":{"links":{"clone":[{"href":"https://bb.example.org/scm/acme/app.git"},{"href":"ssh://git@bb.example.org:7999/acme/app.git"}]}}}`

// registry is what a registry tells of: a pull, which is nothing, and a push.
const registry = `{"events":[{"action":"pull","target":{"repository":"other"},"request":{"host":"registry.example.org"}},{"action":"push","target":{"repository":"acme/app","tag":"latest"},"request":{"host":"registry.example.org:5000"}}]}`

const generic = `{"url":"ssh://git@git.example.org:2222/acme/app.git","ref":"main","commit":"` + commit + `"}`

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func request(body string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

var secrets = Secrets{
	GitHub: []string{"old", "hub"}, GitLab: []string{"lab"}, Gitea: []string{"tea"}, Bitbucket: []string{"bucket"}, Generic: []string{"own"},
}

func TestParseRegistry(t *testing.T) {
	p, err := Parse(request(registry, "X-Plumb-Signature", "sha256="+sign("own", registry)), secrets)
	if err != nil || !p.Verified || !slices.Equal(p.Keys(), []string{"oci://registry.example.org:5000/acme/app"}) {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, err := Parse(request(registry), secrets); !errors.Is(err, ErrSignature) {
		t.Errorf("unsigned: %v", err)
	}
	if p, err := Parse(request(strings.ReplaceAll(registry, `"push"`, `"pull"`)), Secrets{}); !errors.Is(err, ErrIgnored) {
		t.Errorf("pulls: %+v, %v", p, err)
	}
}

func TestParse(t *testing.T) {
	form := url.Values{"payload": {gitHub}}.Encode()
	for name, test := range map[string]struct {
		body    string
		headers []string
		proof   []string
		key     string
		ref     string
	}{
		"GitHub":           {gitHub, []string{"X-GitHub-Event", "push"}, []string{"X-Hub-Signature-256", "sha256=" + sign("hub", gitHub)}, "github.com/acme/app", "refs/heads/main"},
		"GitHub form":      {form, []string{"X-GitHub-Event", "push", "Content-Type", "application/x-www-form-urlencoded"}, []string{"X-Hub-Signature-256", "sha256=" + sign("old", form)}, "github.com/acme/app", "refs/heads/main"},
		"Gitea":            {gitHub, []string{"X-Gitea-Event", "push", "X-GitHub-Event", "push"}, []string{"X-Gitea-Signature", sign("tea", gitHub)}, "github.com/acme/app", "refs/heads/main"},
		"Forgejo":          {gitHub, []string{"X-Forgejo-Event", "push", "X-Gitea-Event", "push", "X-GitHub-Event", "push"}, []string{"X-Forgejo-Signature", sign("tea", gitHub)}, "github.com/acme/app", "refs/heads/main"},
		"GitLab":           {gitLab, []string{"X-Gitlab-Event", "Tag Push Hook"}, []string{"X-Gitlab-Token", "lab"}, "gitlab.example.org/acme/app", "refs/tags/v1"},
		"Bitbucket Cloud":  {bitbucketCloud, []string{"X-Event-Key", "repo:push"}, []string{"X-Hub-Signature", "sha256=" + sign("bucket", bitbucketCloud)}, "bitbucket.org/acme/app", "refs/heads/main"},
		"Bitbucket Server": {bitbucketServer, []string{"X-Event-Key", "repo:refs_changed"}, []string{"X-Hub-Signature", "sha256=" + sign("bucket", bitbucketServer)}, "bb.example.org/acme/app", "refs/heads/main"},
		"generic":          {generic, nil, []string{"X-Plumb-Signature", "sha256=" + sign("own", generic)}, "git.example.org/acme/app", "refs/heads/main"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, proved := range []bool{true, false} {
				headers, known := test.headers, Secrets{}
				if proved {
					headers, known = slices.Concat(headers, test.proof), secrets
				}
				p, err := Parse(request(test.body, headers...), known)
				if err != nil || p.Verified != proved || p.Ref != test.ref || p.Commit != commit || !slices.Contains(p.Keys(), test.key) {
					t.Errorf("got %+v (%v), %v", p, p.Keys(), err)
				}
			}
			bad := slices.Clone(test.proof)
			bad[1] = strings.Replace(bad[1], bad[1][len(bad[1])-1:], "0", 1) + "0"
			for _, headers := range [][]string{test.headers, slices.Concat(test.headers, bad), slices.Concat(test.headers, []string{test.proof[0], ""})} {
				if _, err := Parse(request(test.body, headers...), secrets); !errors.Is(err, ErrSignature) {
					t.Errorf("%v: got %v", headers, err)
				}
			}
			if _, err := Parse(request(test.body+" ", slices.Concat(test.headers, test.proof)...), secrets); name != "GitLab" && !errors.Is(err, ErrSignature) {
				t.Errorf("changed body: got %v", err)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		r    *http.Request
		want error
	}{
		"not JSON":      {request("push!"), ErrMalformed},
		"no repository": {request(`{"ref":"main"}`), ErrMalformed},
		"bad address":   {request(`{"url":"-oProxyCommand=x:y"}`), ErrMalformed},
		"wrong type":    {request(`{"url":7}`), ErrMalformed},
		"ping":          {request("{}", "X-GitHub-Event", "ping"), ErrIgnored},
		"issue":         {request("{}", "X-Gitlab-Event", "Issue Hook"), ErrIgnored},
		"system":        {request(`{"event_name":"user_create"}`, "X-Gitlab-Event", "System Hook"), ErrIgnored},
		"too large":     {request(strings.Repeat("x", MaxBody+1)), ErrTooLarge},
	} {
		if _, err := Parse(test.r, Secrets{}); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", name, err, test.want)
		}
	}
	p, err := Parse(request(`{"url":"https://a/b","ref":"refs/heads/x y","commit":"zz"}`), Secrets{})
	if err != nil || p.Ref != "" || p.Commit != "" {
		t.Errorf("got %+v, %v", p, err)
	}
	p, err = Parse(request(strings.Replace(gitHub, commit, strings.Repeat("0", 40), 1), "X-GitHub-Event", "push"), Secrets{})
	if err != nil || p.Commit != "" {
		t.Errorf("deleted branch: got %+v, %v", p, err)
	}
}

func TestHandler(t *testing.T) {
	var got []Push
	h := Handler(func() Secrets { return secrets }, func(p Push) { got = append(got, p) })
	for _, test := range []struct {
		r    *http.Request
		code int
	}{
		{request(generic, "X-Plumb-Signature", "sha256="+sign("own", generic)), http.StatusAccepted},
		{request(generic), http.StatusUnauthorized},
		{request("{}", "X-Plumb-Signature", "sha256="+sign("own", "{}")), http.StatusBadRequest},
		{request("{}", "X-GitHub-Event", "ping", "X-Hub-Signature-256", "sha256="+sign("hub", "{}")), http.StatusNoContent},
		{request(strings.Repeat(" ", MaxBody+1)), http.StatusRequestEntityTooLarge},
		{httptest.NewRequest(http.MethodGet, "/hook", nil), http.StatusMethodNotAllowed},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, test.r)
		if w.Code != test.code {
			t.Errorf("got %d, want %d: %s", w.Code, test.code, w.Body)
		}
	}
	if len(got) != 1 || !got[0].Verified {
		t.Errorf("got %+v", got)
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, body := range []string{gitHub, gitLab, bitbucketCloud, bitbucketServer, generic, "{}", "null", `{"push":{"changes":[{}]}}`, "payload=%7B%7D"} {
		for _, event := range []string{"", "X-GitHub-Event", "X-Gitlab-Event", "X-Gitea-Event", "X-Event-Key"} {
			f.Add(event, "push", "application/json", []byte(body))
		}
	}
	f.Add("X-Event-Key", "repo:push", "application/x-www-form-urlencoded", []byte("payload="+bitbucketCloud))
	f.Fuzz(func(t *testing.T, header, event, kind string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(body))
		if header != "" {
			r.Header.Set(header, event)
		}
		r.Header.Set("Content-Type", kind)
		p, err := Parse(r, Secrets{})
		if err == nil && (len(p.Keys()) == 0 || p.Verified || p.Commit != "" && len(p.Commit) != 40) {
			t.Errorf("got %+v", p)
		}
		for _, name := range []string{"X-Hub-Signature-256", "X-Gitlab-Token", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Hub-Signature", "X-Plumb-Signature"} {
			r.Header.Set(name, event)
		}
		r.Body = http.NoBody
		if _, err := Parse(r, secrets); err == nil {
			t.Error("a forged event was accepted")
		}
	})
}
