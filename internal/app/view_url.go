package app

import (
	"net/url"
	"strings"
)

// ViewURL is the form of a repository's address that is shown to people: a
// password is hidden, and what cannot be parsed may hold one anywhere.
func ViewURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		if strings.Contains(raw, "://") {
			return "(invalid URL)"
		}
		return raw // git@host:path
	}
	return u.Redacted()
}
