package app

import (
	"log/slog"
	"slices"
)

// Cluster is a destination other than the cluster that Plumb serves: how it is
// reached, or why it cannot be.
type Cluster struct {
	ID     string // what Target.Cluster says; never a secret
	Access Access
	Err    *Failure // if set, nothing can be delivered there
	// Warnings are about what says how it is reached; each app that goes there
	// passes them on.
	Warnings []Warning
}

// Same reports whether both are the same way to the same cluster, whatever they
// warn of.
func (c Cluster) Same(o Cluster) bool {
	return c.ID == o.ID && c.Access.same(o.Access) && c.Err == nil == (o.Err == nil) &&
		(c.Err == nil || c.Err.Error() == o.Err.Error())
}

// Access opens a cluster. Everything is held here by value: no path of a file,
// no command to run. It never shows what it holds.
type Access struct {
	Server     string // URL of the API server
	ServerName string // to expect in its certificate; "" is the host of Server
	CA         []byte // PEM; empty means the system roots
	ClientCert []byte // PEM
	ClientKey  []byte // PEM
	// Insecure takes any certificate.
	Insecure           bool
	Username, Password string
	BearerToken        string
	// Tokens says who makes bearer tokens instead; nil if nobody does.
	Tokens             *Tokens
	Proxy              string // URL of an HTTP or SOCKS5 proxy; "" for none
	DisableCompression bool
}

// Tokens are bearer tokens of a service account of the cluster that Plumb
// serves, for another cluster that trusts them. They are asked for when they are
// needed, and count for a while only.
type Tokens struct {
	// Of the account; all "" is the one that Plumb itself runs as. UID tells
	// it from a later one of the same name, which is somebody else.
	Namespace, Name, UID string
	Audiences            []string // whom they are for; never empty
}

func (t *Tokens) same(o *Tokens) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.Namespace == o.Namespace && t.Name == o.Name && t.UID == o.UID && slices.Equal(t.Audiences, o.Audiences)
}

func (a Access) same(o Access) bool {
	return a.Server == o.Server && a.ServerName == o.ServerName && a.Insecure == o.Insecure &&
		a.Username == o.Username && a.Password == o.Password && a.BearerToken == o.BearerToken && a.Tokens.same(o.Tokens) &&
		a.Proxy == o.Proxy && a.DisableCompression == o.DisableCompression &&
		slices.Equal(a.CA, o.CA) && slices.Equal(a.ClientCert, o.ClientCert) && slices.Equal(a.ClientKey, o.ClientKey)
}

func (Access) String() string       { return "<access>" }
func (Access) GoString() string     { return "<access>" }
func (Access) LogValue() slog.Value { return slog.StringValue("<access>") }

// MarshalJSON keeps credentials out of every encoder.
func (Access) MarshalJSON() ([]byte, error) { return []byte(`"<access>"`), nil }

// Left is what was delivered to a cluster that the app no longer goes to, and
// is still there: nobody else deletes it, and neither does Plumb.
type Left struct {
	Cluster string // as Target.Cluster has it
	Records []Record
	More    int // objects besides, of which no more than their number is remembered
}
