package flux

import (
	"errors"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// gitRepositorySecrets is SourceKind.Secrets.
func gitRepositorySecrets(u *unstructured.Unstructured) []SecretUse {
	var uses []SecretUse
	if name := text(u.Object, "spec", "secretRef", "name"); name != "" {
		uses = append(uses, SecretUse{Name: name, Into: func(src *app.Source, data map[string][]byte) {
			src.Auth = GitCredentials(data, src.URL, text(u.Object, "spec", "provider"))
		}})
	}
	uses = append(uses, proxySecret(u)...)
	if name := text(u.Object, "spec", "verify", "secretRef", "name"); name != "" {
		keys := func(src *app.Source, files map[string][]byte, err error) {
			if src.Verify != nil {
				verify := *src.Verify
				verify.Keys, verify.Err = files, err
				src.Verify = &verify
			}
		}
		uses = append(uses, SecretUse{
			Name:    name,
			Into:    func(src *app.Source, data map[string][]byte) { keys(src, data, nil) },
			Missing: func(src *app.Source, err error) { keys(src, nil, err) },
		})
	}
	return uses
}

// GitCredentials reads the Secret of a GitRepository at an address, with a
// provider as the resource names it.
func GitCredentials(secret map[string][]byte, address, provider string) app.Credentials {
	wrong := func(format string, args ...any) app.Credentials {
		return app.Credentials{Err: app.Fail(app.StageFetch, app.ReasonProvider, format, args...).
			WithHint("GitHub Apps need provider github, and githubAppID, githubAppPrivateKey and githubAppInstallationID or githubAppInstallationOwner in the Secret")}
	}
	hasApp := len(secret["githubAppID"]) > 0
	switch {
	case provider != providerGitHub && hasApp:
		return wrong("the Secret holds a GitHub App, and spec.provider is not github")
	case provider != providerGitHub:
		return Credentials(secret, address)
	case !hasApp:
		return wrong("spec.provider is github, and the Secret lacks githubAppID")
	}
	hub := &app.GitHubApp{
		ID:           line(secret["githubAppID"]),
		Installation: line(secret["githubAppInstallationID"]),
		Owner:        line(secret["githubAppInstallationOwner"]),
		PrivateKey:   secret["githubAppPrivateKey"],
		API:          line(secret["githubAppBaseURL"]),
	}
	switch {
	case (hub.Installation == "") == (hub.Owner == ""):
		return wrong("the Secret must hold one of githubAppInstallationID and githubAppInstallationOwner")
	case len(hub.PrivateKey) == 0:
		return wrong("the Secret lacks githubAppPrivateKey")
	case !strings.HasPrefix(address, "http://") && !strings.HasPrefix(address, "https://"):
		return wrong("a GitHub App opens http and https URLs only")
	}
	c := Credentials(secret, address) // the TLS settings
	c.Username, c.Password, c.BearerToken, c.GitHubApp = "", "", "", hub
	return c
}

// ProxyOf reads the Secret that a proxySecretRef names.
func ProxyOf(secret map[string][]byte) (app.Proxy, error) {
	u, err := url.Parse(line(secret["address"]))
	switch {
	case len(secret["address"]) == 0:
		return app.Proxy{}, errors.New("the Secret lacks address")
	case err != nil || u.Host == "":
		return app.Proxy{}, errors.New("the address in the Secret is no URL such as http://host:3128")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5":
		return app.Proxy{}, errors.New("the address in the Secret must begin with http, https or socks5")
	case u.User != nil:
		return app.Proxy{}, errors.New("the address in the Secret holds a user: write username and password as keys of their own")
	}
	return app.Proxy{URL: u.Scheme + "://" + u.Host, Username: line(secret["username"]), Password: line(secret["password"])}, nil
}
