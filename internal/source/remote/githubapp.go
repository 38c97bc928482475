package remote

import (
	"context"
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
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"plumb.dev/plumb/internal/app"
)

const (
	githubAPI = "https://api.github.com"
	// jwtLife is how long an app's own proof is good; GitHub takes ten minutes
	// at most, and its clock may be behind by jwtSkew.
	jwtLife = 9 * time.Minute
	jwtSkew = time.Minute
	// tokenSpare is how long before its end a token is replaced.
	tokenSpare = 5 * time.Minute
	maxAPI     = 1 << 20 // bytes of an answer
	maxApps    = 256     // whose tokens are kept; beyond it, all are asked for anew
)

// installation is a GitHub App where it is installed. It gives tokens, each
// used until shortly before its end, to all who have the same credentials.
type installation struct {
	app    app.GitHubApp
	key    *rsa.PrivateKey
	api    string
	agent  string
	client *http.Client
	now    func() time.Time

	mu      sync.Mutex
	id      string // of the installation, once it is known
	current string
	expires time.Time
}

// installation gives that of the credentials. Nothing is sent yet.
func (d *Dialer) installation(auth app.Credentials, transport http.RoundTripper) (*installation, error) {
	id := Identity(auth)
	d.mu.Lock()
	defer d.mu.Unlock()
	if i, ok := d.apps[id]; ok {
		return i, nil
	}
	key, err := rsaKey(auth.GitHubApp.PrivateKey)
	if err != nil {
		return nil, err
	}
	i := &installation{app: *auth.GitHubApp, key: key, api: githubAPI, agent: d.opt.Agent, now: d.opt.Now, id: auth.GitHubApp.Installation}
	if i.app.API != "" {
		u, err := url.Parse(i.app.API)
		if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
			return nil, errors.New("the base URL of the GitHub App is not one of an API")
		}
		i.api = strings.TrimRight(i.app.API, "/")
	}
	i.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if len(d.apps) >= maxApps {
		d.apps = map[[sha256.Size]byte]*installation{}
	}
	d.apps[id] = i
	return i, nil
}

// rsaKey reads a private key. Errors do not quote it.
func rsaKey(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the private key of the GitHub App is not PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if k, ok := key.(*rsa.PrivateKey); err == nil && ok {
		return k, nil
	}
	return nil, errors.New("the private key of the GitHub App is not an RSA key")
}

// token gives one that is good for a while. Who comes while one is asked for
// waits for it.
func (i *installation) token(ctx context.Context) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.current != "" && i.now().Add(tokenSpare).Before(i.expires) {
		return i.current, nil
	}
	if i.id == "" {
		id, err := i.find(ctx)
		if err != nil {
			return "", err
		}
		i.id = id
	}
	var answer struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires_at"`
	}
	if err := i.call(ctx, http.MethodPost, "/app/installations/"+url.PathEscape(i.id)+"/access_tokens", &answer); err != nil {
		return "", err
	}
	if answer.Token == "" {
		return "", i.failed("gives no token")
	}
	i.current, i.expires = answer.Token, answer.Expires
	return i.current, nil
}

// forget has the next call ask for a new token.
func (i *installation) forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.current = ""
}

// errNoInstallation is what the API has none of.
var errNoInstallation = errors.New("not found")

// find looks the installation up by whose it is.
func (i *installation) find(ctx context.Context) (string, error) {
	var answer struct {
		ID json.Number `json:"id"`
	}
	for _, of := range []string{"/orgs/", "/users/"} {
		err := i.call(ctx, http.MethodGet, of+url.PathEscape(i.app.Owner)+"/installation", &answer)
		if err == nil && answer.ID != "" {
			return answer.ID.String(), nil
		}
		if err != nil && !errors.Is(err, errNoInstallation) {
			return "", err
		}
	}
	return "", app.Fail(app.StageFetch, app.ReasonAuthentication, "%s: the GitHub App %s is not installed for %s", i.api, i.app.ID, i.app.Owner).
		WithHint("Install the app, or correct githubAppInstallationOwner in the Secret.")
}

// call asks the API as the app itself.
func (i *installation) call(ctx context.Context, method, path string, into any) error {
	proof, err := i.proof()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, i.api+path, nil)
	if err != nil {
		return errors.New("the API of the GitHub App cannot be asked")
	}
	req.Header.Set("Authorization", "Bearer "+proof)
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	req.Header.Set("User-Agent", i.agent)
	res, err := i.client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAPI))
	if err != nil {
		return err
	}
	switch res.StatusCode {
	case http.StatusOK, http.StatusCreated:
		if err := json.Unmarshal(body, into); err != nil {
			return i.failed("answers something else than JSON")
		}
		return nil
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", errNoInstallation, i.refused(res.StatusCode, body))
	case http.StatusUnauthorized, http.StatusForbidden:
		return i.refused(res.StatusCode, body)
	}
	return i.failed(fmt.Sprintf("answers HTTP %d", res.StatusCode))
}

// proof is a token (RFC 7519, RS256) by which the app shows who it is.
func (i *installation) proof() (string, error) {
	now := i.now()
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`))
	claims, err := json.Marshal(map[string]any{"iat": now.Add(-jwtSkew).Unix(), "exp": now.Add(jwtLife).Unix(), "iss": i.app.ID})
	if err != nil {
		return "", err
	}
	text := head + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", errors.New("the private key of the GitHub App cannot sign")
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

func (i *installation) refused(status int, body []byte) *app.Failure {
	var says struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body, &says) // words are good to have, no more
	return app.Fail(app.StageFetch, app.ReasonAuthentication, "%s refuses the GitHub App %s: HTTP %d %s", i.api, i.app.ID, status, clean(says.Message)).
		WithHint("Correct githubAppID, the installation and githubAppPrivateKey in the Secret.")
}

func (i *installation) failed(what string) *app.Failure {
	return app.Fail(app.StageFetch, app.ReasonUnreachable, "%s, the API of the GitHub App, %s", i.api, what)
}
