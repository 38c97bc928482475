package remote

import (
	"net/http"

	"plumb.dev/plumb/internal/app"
)

// Transport gives the connections for the TLS settings of auth, to speak
// another protocol than Git's over them. Nothing else of auth is sent. Equal
// settings share connections; the error is free of what auth holds.
func (d *Dialer) Transport(auth app.Credentials) (*http.Transport, error) { return d.transport(auth) }
