package app

import (
	"log/slog"
	"time"
)

// SourceID names a source. A source that is a custom resource of its own
// carries its kind, namespace and name; one that is written inside an app has
// Kind "" and a Name derived from URL, ref and credentials, so that equal
// sources are one.
type SourceID struct {
	Kind, Namespace, Name string
}

func (id SourceID) String() string {
	if id.Kind == "" {
		return id.Name
	}
	return id.Kind + "/" + id.Namespace + "/" + id.Name
}

// GitRef selects a commit. The most specific field that is set wins:
// Commit, Name, SemVer, Tag, Branch, then Any.
type GitRef struct {
	Branch string
	Tag    string
	SemVer string // a constraint on tags; the highest match wins
	Name   string // a full reference name, refs/…
	Commit string // full or short
	// Any is a revision whose sort is not told: HEAD, a branch, a tag, a full
	// or short commit, or a semver constraint on tags. "" means HEAD.
	Any string
}

// Source says what to fetch and how often to look.
type Source struct {
	ID         SourceID
	Generation int64
	URL        string // http, https, ssh, file, or scp-like git@host:path
	Ref        GitRef
	Auth       Credentials
	Interval   time.Duration // between polls; pushes are told by webhooks
	Timeout    time.Duration
	Ignore     *string // gitignore text that replaces the default exclusions
	UseIgnore  bool    // whether exclusions (default, Ignore, .sourceignore files) apply at all
	Suspend    bool
	// Followed: another process looks at the source at its interval and
	// publishes what it finds. This one looks when Recorded changes.
	Followed bool
	// Recorded is the revision that the status tells of: what is delivered
	// while the source is suspended or cannot be reached.
	Recorded Revision
	Handled  string // token of the last reconcile request that the status acknowledges
	Request  string // token of the reconcile request now on the resource
}

// Credentials open a repository. The zero value is anonymous. It never shows
// what it holds.
type Credentials struct {
	Username, Password string
	BearerToken        string
	SSHKey             []byte // PEM
	SSHKeyPassword     string
	KnownHosts         []byte // empty with SSHKey set: refuse, unless InsecureHost
	InsecureHost       bool   // accept any SSH host key or TLS certificate
	CA                 []byte // PEM, added to the system roots
	ClientCert         []byte // PEM
	ClientKey          []byte // PEM
	// Err, if set, says why the credentials could not be had (a missing
	// Secret, a missing key): the fetch fails with it.
	Err error
}

func (Credentials) String() string       { return "<credentials>" }
func (Credentials) GoString() string     { return "<credentials>" }
func (Credentials) LogValue() slog.Value { return slog.StringValue("<credentials>") }

// MarshalJSON keeps credentials out of every encoder.
func (Credentials) MarshalJSON() ([]byte, error) { return []byte(`"<credentials>"`), nil }

// Revision is a resolved point of a source.
type Revision struct {
	Commit  string // full hexadecimal id
	Ref     string // what the ref resolved to: a branch, a tag, a full name; "" for a bare commit
	Subject string // first line of the commit message
	Author  string // name <mail>
	Time    time.Time
}

// IsZero reports whether nothing was resolved.
func (r Revision) IsZero() bool { return r.Commit == "" }

// SourceReport is the result of looking at a source.
type SourceReport struct {
	ID         SourceID
	Generation int64
	Handled    string // request token that this look answers
	Revision   Revision
	Changed    bool     // the revision differs from the one before
	Failure    *Failure // Revision then is the last good one, if any
	At         time.Time
}
