package flux

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"plumb.dev/plumb/internal/app"
)

// Credentials reads a Secret of the format of Flux, for a repository at
// address. What is missing or contradictory is in the Err of the result.
func Credentials(secret map[string][]byte, address string) app.Credentials {
	u, err := url.Parse(address)
	if err != nil {
		return app.Credentials{Err: errors.New("the repository URL cannot be parsed")}
	}
	if u.Scheme == "ssh" {
		return sshCredentials(secret, u)
	}
	c := app.Credentials{
		Username:    line(secret["username"]),
		Password:    line(secret["password"]),
		BearerToken: line(secret["bearerToken"]),
		CA:          first(secret, "ca.crt", "caFile"),
		ClientCert:  first(secret, "tls.crt", "certFile"),
		ClientKey:   first(secret, "tls.key", "keyFile"),
	}
	switch {
	case c.BearerToken != "" && c.Username != "":
		c.Err = errors.New("the Secret holds both bearerToken and username: keep one")
	case c.Password != "" && c.Username == "":
		c.Err = errors.New("the Secret holds password without username; any username will do for a token")
	case (len(c.ClientCert) == 0) != (len(c.ClientKey) == 0):
		c.Err = errors.New("the Secret must hold tls.crt and tls.key together")
	}
	return c
}

func sshCredentials(secret map[string][]byte, u *url.URL) app.Credentials {
	c := app.Credentials{
		Username:       "git",
		SSHKey:         secret["identity"],
		SSHKeyPassword: line(secret["password"]),
		KnownHosts:     secret["known_hosts"],
	}
	if name := u.User.Username(); name != "" {
		c.Username = name
	}
	for _, key := range []string{"identity", "known_hosts"} {
		if len(secret[key]) == 0 {
			c.Err = fmt.Errorf("the Secret lacks %s, which an ssh:// URL needs", key)
			break
		}
	}
	return c
}

func first(secret map[string][]byte, keys ...string) []byte {
	for _, k := range keys {
		if v := secret[k]; len(v) > 0 {
			return v
		}
	}
	return nil
}

// line is a value without the line break that shells like to leave behind.
func line(value []byte) string { return strings.TrimRight(string(value), "\r\n") }
