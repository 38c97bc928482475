package flux

import (
	"errors"
	"fmt"
	"net/url"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// gitRepositorySecrets is SourceKind.Secrets.
func gitRepositorySecrets(u *unstructured.Unstructured) []SecretUse {
	var uses []SecretUse
	if name := text(u.Object, "spec", "secretRef", "name"); name != "" {
		uses = append(uses, SecretUse{Name: name, Into: func(src *app.Source, data map[string][]byte) {
			src.Auth = Credentials(data, src.URL)
		}})
	}
	if name := text(u.Object, "spec", "proxySecretRef", "name"); name != "" {
		uses = append(uses, SecretUse{Name: name, Into: func(src *app.Source, data map[string][]byte) {
			if src.Auth.Proxy, src.Auth.Err = ProxyOf(data); src.Auth.Err != nil {
				src.Auth.Err = fmt.Errorf("proxy: %w", src.Auth.Err)
			}
		}})
	}
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
