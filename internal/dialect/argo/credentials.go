package argo

import (
	"fmt"
	"slices"
	"strings"

	"plumb.dev/plumb/internal/app"
)

// LabelSecretType marks the Secrets in the control namespace that hold
// credentials, and says of which sort.
const LabelSecretType = "argocd.argoproj.io/secret-type"

// SecretData is what NewRepositories and Clusters read of a Secret.
type SecretData struct {
	Name        string
	Labels      map[string]string
	Annotations map[string]string
	Data        map[string][]byte
}

// Repositories are the Secrets that hold credentials of repositories, so that
// those for one repository are found without looking at all.
type Repositories struct {
	exact     map[string]SecretData // by normalRepo of the URL
	templates []SecretData          // the longest URL first
}

// NewRepositories takes Secrets of all sorts.
func NewRepositories(secrets []SecretData) *Repositories {
	r := &Repositories{exact: map[string]SecretData{}}
	byName := slices.SortedFunc(slices.Values(secrets), func(x, y SecretData) int { return strings.Compare(x.Name, y.Name) })
	for _, s := range byName {
		at := s.text("url")
		if kind := s.text("type"); kind != "" && kind != "git" || at == "" {
			continue
		}
		switch s.Labels[LabelSecretType] {
		case "repository":
			if _, taken := r.exact[normalRepo(at)]; !taken {
				r.exact[normalRepo(at)] = s
			}
		case "repo-creds":
			r.templates = append(r.templates, s)
		}
	}
	slices.SortStableFunc(r.templates, func(x, y SecretData) int { return len(y.text("url")) - len(x.text("url")) })
	return r
}

// Credentials finds the credentials for a repository: a repository Secret with
// this very URL, else the repo-creds Secret with the longest prefix of it; the
// fields of the first that are empty are taken from the second. Without either
// the repository is opened anonymously. What cannot be used, such as
// a GitHub App, is told by the Err of the result.
func (r *Repositories) Credentials(repoURL string) app.Credentials {
	var exact, prefix *SecretData
	if s, ok := r.exact[normalRepo(repoURL)]; ok {
		exact = &s
	}
	if i := slices.IndexFunc(r.templates, func(s SecretData) bool { return hasURLPrefix(repoURL, s.text("url")) }); i >= 0 {
		prefix = &r.templates[i]
	}
	switch {
	case exact == nil && prefix == nil:
		return app.Credentials{}
	case exact == nil:
		return prefix.credentials()
	case prefix == nil || exact.hasCredentials():
		return exact.credentials()
	}
	// The repository is only named; a template opens it.
	c := prefix.credentials()
	c.InsecureHost = c.InsecureHost || exact.credentials().InsecureHost
	return c
}

// hasURLPrefix compares case-insensitively, as hosts are. A template that ends
// within the host matches that whole host only: credentials for
// https://github.com never go to https://github.com.example.org.
func hasURLPrefix(repo, template string) bool {
	repo, template = strings.ToLower(repo), strings.ToLower(template)
	rest, ok := strings.CutPrefix(repo, template)
	if !ok || rest == "" {
		return ok
	}
	if _, authority, isURL := strings.Cut(template, "://"); isURL {
		return strings.Contains(authority, "/") || rest[0] == '/'
	}
	return strings.ContainsAny(template, ":/") || rest[0] == ':' || rest[0] == '/'
}

func (s SecretData) text(key string) string { return strings.TrimSpace(string(s.Data[key])) }

func (s SecretData) hasCredentials() bool {
	for key := range s.Data {
		switch key {
		case "username", "password", "bearerToken", "sshPrivateKey", "tlsClientCertData", "tlsClientCertKey",
			"githubAppPrivateKey", "gcpServiceAccountKey", "useAzureWorkloadIdentity":
			if s.text(key) != "" {
				return true
			}
		}
	}
	return false
}

func (s SecretData) credentials() app.Credentials {
	for _, key := range []string{"githubAppID", "githubAppPrivateKey", "gcpServiceAccountKey", "useAzureWorkloadIdentity"} {
		if v := s.text(key); v != "" && v != "false" {
			return app.Credentials{Err: fmt.Errorf("secret %s: %s is not supported by this version of Plumb, use username and password, bearerToken or sshPrivateKey", s.Name, key)}
		}
	}
	return app.Credentials{
		Username:     s.text("username"),
		Password:     s.text("password"),
		BearerToken:  s.text("bearerToken"),
		SSHKey:       s.Data["sshPrivateKey"],
		InsecureHost: s.text("insecure") == "true" || s.text("insecureIgnoreHostKey") == "true",
		ClientCert:   s.Data["tlsClientCertData"],
		ClientKey:    s.Data["tlsClientCertKey"],
	}
}
