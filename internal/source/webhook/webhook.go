// Package webhook reads push events of Git servers.
//
// An event is a hint: it says where to look again, and nothing in it is
// believed. The commit that is delivered is always the one that the repository
// itself offers under the source's own credentials. So an event without a
// valid signature can, at worst, cost a look; Push.Verified says whether it
// came from someone who knows the secret, and the receiver decides.
// A secret that is configured must be met, though: a wrong or missing
// signature is then an error.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"plumb.dev/plumb/internal/source/giturl"
)

// MaxBody bounds the body of an event, in bytes.
const MaxBody = 1 << 20

// Errors of Parse, to be compared with errors.Is.
var (
	ErrSignature = errors.New("the signature of the event is missing or wrong")
	ErrIgnored   = errors.New("the event is none that concerns a repository's content")
	ErrMalformed = errors.New("the event cannot be read")
	ErrTooLarge  = errors.New("the event is too large")
)

// Push says that a repository has changed.
type Push struct {
	URLs   []string // all addresses that the event gives; at least one
	Ref    string   // full name of the ref that changed; "" if not told, or several
	Commit string   // full id that the ref has now; "" if not told, or deleted
	// Verified is set if a secret was configured for this kind of server and
	// the event proves to know it.
	Verified bool
}

// Keys gives the canonical keys of the repository; see giturl.Canonical.
func (p Push) Keys() []string {
	var keys []string
	for _, u := range p.URLs {
		if k := giturl.Canonical(u); k != "" && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// Secrets are those shared with each kind of server. Any one of a list will do,
// so that they can be changed one after the other. An empty list means that
// events of the kind are taken unverified.
type Secrets struct {
	GitHub, GitLab, Gitea, Bitbucket, Generic []string
}

func (Secrets) String() string       { return "<secrets>" }
func (Secrets) GoString() string     { return "<secrets>" }
func (Secrets) LogValue() slog.Value { return slog.StringValue("<secrets>") }

// server is a kind of Git server, recognised by its headers.
type server struct {
	event  string // header that names the event
	pushes []string
	secret []string
	check  func(h http.Header, body []byte, secret string) bool
	read   func(body []byte) (Push, error)
}

// servers are in order of recognition: Forgejo and Gitea also send the headers
// of GitHub.
func servers(s Secrets) []server {
	return []server{
		{"X-Forgejo-Event", []string{"push", "create", "delete"}, s.Gitea, hexHMAC("X-Forgejo-Signature"), readGitHub},
		{"X-Gitea-Event", []string{"push", "create", "delete"}, s.Gitea, hexHMAC("X-Gitea-Signature"), readGitHub},
		{"X-GitHub-Event", []string{"push", "create", "delete"}, s.GitHub, hexHMAC("X-Hub-Signature-256"), readGitHub},
		{"X-Gitlab-Event", []string{"Push Hook", "Tag Push Hook", "System Hook"}, s.GitLab, gitLabToken, readGitLab},
		{"X-Event-Key", []string{"repo:push", "repo:refs_changed"}, s.Bitbucket, hexHMAC("X-Hub-Signature"), readBitbucket},
		{"", nil, s.Generic, hexHMAC("X-Plumb-Signature"), readGeneric},
	}
}

// Parse reads an event. It reads at most MaxBody of the body.
func Parse(r *http.Request, secrets Secrets) (Push, error) {
	if r.Body == nil {
		return Push{}, ErrMalformed
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err != nil {
		return Push{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if len(body) > MaxBody {
		return Push{}, ErrTooLarge
	}
	for _, s := range servers(secrets) {
		if s.event == "" || r.Header.Get(s.event) != "" {
			return s.parse(r.Header, body)
		}
	}
	return Push{}, ErrMalformed // not reached: the last one takes everything
}

func (s server) parse(h http.Header, body []byte) (Push, error) {
	verified := false
	for _, secret := range s.secret { // all of them, in equal time
		if secret != "" && s.check(h, body, secret) {
			verified = true
		}
	}
	if len(s.secret) > 0 && !verified {
		return Push{}, ErrSignature
	}
	if s.event != "" && !slices.Contains(s.pushes, h.Get(s.event)) {
		return Push{}, ErrIgnored
	}
	body, err := payload(h, body)
	if err != nil {
		return Push{}, err
	}
	p, err := s.read(body)
	if err != nil {
		return Push{}, err
	}
	p.Verified = verified
	return p.checked()
}

// payload unwraps the form that GitHub can be told to send.
func payload(h http.Header, body []byte) ([]byte, error) {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	if kind != "application/x-www-form-urlencoded" {
		return body, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || !form.Has("payload") {
		return nil, ErrMalformed
	}
	return []byte(form.Get("payload")), nil
}

// checked drops what cannot be used and bounds the rest.
func (p Push) checked() (Push, error) {
	p.URLs = slices.DeleteFunc(p.URLs, func(u string) bool { return giturl.Canonical(u) == "" })
	slices.Sort(p.URLs)
	p.URLs = slices.Compact(p.URLs)
	if len(p.URLs) == 0 {
		return Push{}, fmt.Errorf("%w: it names no repository", ErrMalformed)
	}
	p.URLs = p.URLs[:min(len(p.URLs), 16)]
	if _, err := hex.DecodeString(p.Commit); err != nil || len(p.Commit) != 40 || strings.Trim(p.Commit, "0") == "" {
		p.Commit = ""
	}
	if len(p.Ref) > 1024 || !strings.HasPrefix(p.Ref, "refs/") || strings.ContainsFunc(p.Ref, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		p.Ref = ""
	}
	return p, nil
}

// hexHMAC checks an HMAC-SHA256 of the body, with or without "sha256=".
func hexHMAC(header string) func(http.Header, []byte, string) bool {
	return func(h http.Header, body []byte, secret string) bool {
		got, err := hex.DecodeString(strings.TrimPrefix(h.Get(header), "sha256="))
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		return err == nil && hmac.Equal(got, mac.Sum(nil))
	}
}

// gitLabToken compares the token, hashed so that its length is not told.
func gitLabToken(h http.Header, _ []byte, secret string) bool {
	got, want := sha256.Sum256([]byte(h.Get("X-Gitlab-Token"))), sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return ErrMalformed // the cause would quote the body
	}
	return nil
}
