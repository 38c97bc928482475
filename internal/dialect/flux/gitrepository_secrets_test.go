package flux

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
)

func TestProxyOf(t *testing.T) {
	for name, test := range map[string]struct {
		secret map[string]string
		want   app.Proxy
		err    string
	}{
		"all":       {map[string]string{"address": "http://p:3128\n", "username": "u\n", "password": "hunter2\n"}, app.Proxy{URL: "http://p:3128", Username: "u", Password: "hunter2"}, ""},
		"anonymous": {map[string]string{"address": "socks5://p"}, app.Proxy{URL: "socks5://p"}, ""},
		"nothing":   {map[string]string{"username": "u"}, app.Proxy{}, "lacks address"},
		"no URL":    {map[string]string{"address": "p:3128"}, app.Proxy{}, "no URL"},
		"scheme":    {map[string]string{"address": "ftp://p"}, app.Proxy{}, "must begin with"},
		"user":      {map[string]string{"address": "http://u:hunter2@p"}, app.Proxy{}, "keys of their own"},
	} {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{}
			for k, v := range test.secret {
				data[k] = []byte(v)
			}
			got, err := ProxyOf(data)
			if got != test.want || (err == nil) != (test.err == "") || err != nil && (!strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "hunter")) {
				t.Errorf("got %#v, %v", got, err)
			}
			if s := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(s, "hunter") {
				t.Errorf("shows the password: %s", s)
			}
		})
	}
}

// What a Secret lacks becomes part of the source, where the look at it fails.
func TestGitRepositorySecrets(t *testing.T) {
	u := parse(t, []byte(`{apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, metadata: {name: r},
spec: {url: "https://h/r", secretRef: {name: a}, proxySecretRef: {name: p}, verify: {secretRef: {name: k}}}}`))
	src, _, failure := DecodeGitRepository(u)
	if failure != nil {
		t.Fatal(failure)
	}
	held := map[string]map[string][]byte{
		"a": {"username": []byte("u"), "password": []byte("hunter2")},
		"p": {"address": []byte("http://p:1")},
		"k": {"a.asc": []byte("key")},
	}
	uses := gitRepositorySecrets(u)
	for _, use := range uses {
		use.Into(&src, held[use.Name])
	}
	if src.Auth.Username != "u" || src.Auth.Proxy.URL != "http://p:1" || string(src.Verify.Keys["a.asc"]) != "key" || src.Auth.Err != nil {
		t.Errorf("got %+v of %+v", src, uses)
	}
	missing := errors.New("not there")
	uses[2].Missing(&src, missing)
	if src.Verify.Err != missing || src.Verify.Keys != nil || src.Auth.Err != nil {
		t.Errorf("got %+v", src.Verify)
	}
	uses[1].Into(&src, nil)
	if src.Auth.Err == nil {
		t.Error("a proxy without an address")
	}
}

func TestGitHubApp(t *testing.T) {
	whole := map[string]string{"githubAppID": "1\n", "githubAppInstallationID": "2\n", "githubAppPrivateKey": "hunter2", "githubAppBaseURL": "https://h/api/v3", "ca.crt": "ca", "username": "u", "password": "p"}
	with := func(key, value string) map[string]string {
		m := map[string]string{}
		for k, v := range whole {
			m[k] = v
		}
		if m[key] = value; value == "" {
			delete(m, key)
		}
		return m
	}
	for name, test := range map[string]struct {
		secret            map[string]string
		address, provider string
		err               string
	}{
		"all":               {whole, "https://h/r", "github", ""},
		"not announced":     {whole, "https://h/r", "generic", "spec.provider is not github"},
		"not announced, ''": {whole, "https://h/r", "", "spec.provider is not github"},
		"announced":         {with("githubAppID", ""), "https://h/r", "github", "lacks githubAppID"},
		"no installation":   {with("githubAppInstallationID", ""), "https://h/r", "github", "one of githubAppInstallationID"},
		"two installations": {with("githubAppInstallationOwner", "o"), "https://h/r", "github", "one of githubAppInstallationID"},
		"no key":            {with("githubAppPrivateKey", ""), "https://h/r", "github", "lacks githubAppPrivateKey"},
		"ssh":               {whole, "ssh://git@h/r", "github", "http and https URLs only"},
	} {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{}
			for k, v := range test.secret {
				data[k] = []byte(v)
			}
			c := GitCredentials(data, test.address, test.provider)
			if test.err != "" {
				f := c.Refusal(test.address)
				if f == nil || f.Reason != app.ReasonProvider || !strings.Contains(f.Error(), test.err) || strings.Contains(f.Error(), "hunter") {
					t.Errorf("got %v", f)
				}
				return
			}
			if g := c.GitHubApp; c.Err != nil || g == nil || g.ID != "1" || g.Installation != "2" || c.Username != "" || string(c.CA) != "ca" {
				t.Errorf("got %+v, %v", g, c.Err)
			}
		})
	}
}
