package oci

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"plumb.dev/plumb/internal/app"
)

// dockerConfig is the part of a Docker configuration that counts.
type dockerConfig struct {
	Auths map[string]dockerAuth `json:"auths"`
}

type dockerAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"` // base64 of user:password
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// login finds what opens a repository. Of several entries that fit it is the
// one that says most of the path.
func login(src app.Source, repo name.Repository) (authn.Authenticator, error) {
	if src.Auth.Username != "" || src.Auth.Password != "" {
		return &authn.Basic{Username: src.Auth.Username, Password: src.Auth.Password}, nil
	}
	if src.Auth.BearerToken != "" {
		return &authn.Bearer{Token: src.Auth.BearerToken}, nil
	}
	if len(src.OCI.Keychain) == 0 {
		return authn.Anonymous, nil
	}
	var config dockerConfig
	if err := json.Unmarshal(src.OCI.Keychain, &config); err != nil {
		return nil, errors.New("the Docker configuration is no JSON of that form") // the cause may quote it
	}
	var fit []string
	for key := range config.Auths {
		if fits(key, repo) {
			fit = append(fit, key)
		}
	}
	if len(fit) == 0 {
		return authn.Anonymous, nil
	}
	best := slices.MaxFunc(fit, func(a, b string) int {
		rank := func(key string) string {
			host, rest := entry(key)
			exact := "1"
			if strings.Contains(host, "*") {
				exact = "0"
			}
			return fmt.Sprintf("%s%06d%s", exact, len(rest), key)
		}
		return strings.Compare(rank(a), rank(b))
	})
	auth, err := config.Auths[best].authenticator()
	if err != nil {
		return nil, fmt.Errorf("the entry for %q: %w", best, err)
	}
	return auth, nil
}

// entry reads a key of a Docker configuration: host[:port][/path], with or
// without a scheme, as docker, podman and Kubernetes write it.
func entry(key string) (host, rest string) {
	_, after, scheme := strings.Cut(key, "://")
	if !scheme {
		after = key
	}
	host, rest, _ = strings.Cut(after, "/")
	rest = strings.Trim(rest, "/")
	if rest == "v1" || rest == "v2" { // an API, not a path
		rest = ""
	}
	switch host = strings.ToLower(host); host {
	case "docker.io", "registry-1.docker.io":
		host = name.DefaultRegistry
	}
	return host, rest
}

func fits(key string, repo name.Repository) bool {
	host, rest := entry(key)
	have := repo.RepositoryStr()
	if rest != "" && have != rest && !strings.HasPrefix(have, rest+"/") {
		return false
	}
	return sameHost(host, strings.ToLower(repo.RegistryStr()))
}

// sameHost matches label by label; a * in a label stands for any part of it.
func sameHost(pattern, host string) bool {
	if pattern == host {
		return true
	}
	if !strings.Contains(pattern, "*") {
		return false
	}
	pattern, patternPort, _ := strings.Cut(pattern, ":")
	host, port, _ := strings.Cut(host, ":")
	want, have := strings.Split(pattern, "."), strings.Split(host, ".")
	if patternPort != port || len(want) != len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

func (a dockerAuth) authenticator() (authn.Authenticator, error) {
	config := authn.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
	if a.Auth != "" {
		data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(a.Auth))
		if err != nil {
			return nil, errors.New("auth is not base64")
		}
		user, password, ok := strings.Cut(strings.TrimRight(string(data), "\x00"), ":")
		if !ok {
			return nil, errors.New("auth is not user:password")
		}
		config.Username, config.Password = user, password
	}
	if config.Username == "<token>" && config.IdentityToken == "" {
		config.IdentityToken, config.Username, config.Password = config.Password, "", ""
	}
	return authn.FromConfig(config), nil
}
