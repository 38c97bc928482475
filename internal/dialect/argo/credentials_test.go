package argo

import (
	"fmt"
	"strings"
	"testing"
)

func secret(name, kind string, data ...string) SecretData {
	s := SecretData{Name: name, Labels: map[string]string{LabelSecretType: kind}, Data: map[string][]byte{}}
	for i := 0; i < len(data); i += 2 {
		s.Data[data[i]] = []byte(data[i+1])
	}
	return s
}

func TestCredentials(t *testing.T) {
	secrets := []SecretData{
		secret("a", "repository", "type", "git", "url", "https://github.com/org/exact.git", "username", "exact", "password", "p"),
		secret("b", "repo-creds", "url", "https://github.com/org", "username", "org", "password", "p"),
		secret("c", "repo-creds", "url", "https://github.com", "username", "host", "password", "p"),
		secret("d", "repository", "url", "https://github.com/org/named", "insecure", "true"),
		secret("e", "repository", "type", "helm", "url", "https://charts.example.org", "username", "helm"),
		secret("f", "repository", "url", "git@git.example.org:shop.git", "sshPrivateKey", "KEY"),
		secret("g", "repo-creds", "url", "https://app.example.org/", "githubAppID", "1", "githubAppPrivateKey", "KEY"),
		secret("h", "cluster", "url", "https://cluster.example.org", "username", "no"),
	}
	repositories := NewRepositories(secrets)
	for url, want := range map[string]string{
		"https://github.com/org/exact":          "exact",
		"https://GitHub.com/org/exact.git":      "exact",
		"https://github.com/org/other":          "org",
		"https://github.com/someone/else":       "host",
		"https://github.com/org/named.git":      "org",
		"https://github.com.example.org/x":      "",
		"https://github.com:pw@example.org/x":   "",
		"https://charts.example.org":            "",
		"https://cluster.example.org":           "",
		"https://nowhere.example.org/org/exact": "",
	} {
		if got := repositories.Credentials(url); got.Username != want || got.Err != nil {
			t.Errorf("%s: user %q, %v; want %q", url, got.Username, got.Err, want)
		}
	}
	if !repositories.Credentials("https://github.com/org/named").InsecureHost {
		t.Error("insecure of the named repository is lost")
	}
	if got := repositories.Credentials("git@git.example.org:shop.git"); string(got.SSHKey) != "KEY" {
		t.Errorf("no key for the scp-like URL: %v", got)
	}
	got := repositories.Credentials("https://app.example.org/x")
	if got.Err == nil || !strings.Contains(got.Err.Error(), "githubApp") {
		t.Errorf("a GitHub App: %v", got.Err)
	}
	if text := fmt.Sprintf("%v %+v %v", repositories.Credentials("https://github.com/org/exact"), got, got.Err); strings.Contains(text, "KEY") || strings.Contains(text, "exact") {
		t.Errorf("secrets are shown: %s", text)
	}
}

// BenchmarkCredentials is one Application's repository among many Secrets.
func BenchmarkCredentials(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var secrets []SecretData
			for i := range n {
				secrets = append(secrets, secret(fmt.Sprint(i), "repository", "url", fmt.Sprintf("https://example.org/team/%d", i), "username", fmt.Sprint(i), "password", "p"))
			}
			repositories := NewRepositories(secrets)
			for b.Loop() {
				if got := repositories.Credentials("https://example.org/team/7.git"); got.Username != "7" {
					b.Fatal(got)
				}
			}
		})
	}
}
