package app

import (
	"errors"
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
	URL        string // of a Git repository: http, https, ssh, file, or scp-like git@host:path
	// Ref selects a commit. Of a source that is no Git repository, Commit, if
	// set, asks for a revision that it gave before, and nothing else counts.
	Ref GitRef
	// OCI is set if the source is an artifact in an OCI registry.
	OCI *OCIArtifact
	// HelmRepository or HelmChart is set if the source is one.
	HelmRepository *HelmRepository
	HelmChart      *HelmChart
	// Bucket is set if the source is objects of an S3-compatible store.
	Bucket *Bucket
	// External is set if the source is an artifact of someone else.
	External *External
	// Form identifies what is asked for, where an app may depend on it.
	Form string
	// Uses are the sources that this one is made of: it is looked at when one
	// of them moves.
	Uses []SourceID
	// Submodules: the submodules of the repository are there, those of
	// submodules included. Otherwise they are empty directories.
	Submodules bool
	// Include are copies of what other sources have, each of Uses.
	Include []Include
	// Sparse are the directories that are shown; empty for all.
	Sparse    []string
	Auth      Credentials
	Verify    *Verification // nil: whatever the ref selects counts
	Interval  time.Duration // between polls; pushes are told by webhooks
	Timeout   time.Duration
	Ignore    *string // gitignore text that replaces the default exclusions
	UseIgnore bool    // whether exclusions (default, Ignore, .sourceignore files) apply at all
	Suspend   bool
	// Followed: another process looks at the source at its interval and
	// publishes what it finds. This one looks when Recorded changes.
	Followed bool
	// Recorded is the revision that the status tells of: what is delivered
	// while the source is suspended or cannot be reached.
	Recorded Revision
	Handled  string // token of the last reconcile request that the status acknowledges
	Request  string // token of the reconcile request now on the resource
}

// Include is a copy of another source's files.
type Include struct {
	Source SourceID
	From   string // a directory of it; "." for all
	To     string // where it is put, a directory that does not exist
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
	Proxy              Proxy  // the zero value leaves the choice to the process
	// GitHubApp is exchanged for a token, which takes the place of Username and
	// Password.
	GitHubApp *GitHubApp
	// Err, if set, says why the credentials could not be had (a missing
	// Secret, a missing key): the fetch fails with it.
	Err error
}

func (Proxy) String() string             { return "<proxy>" }
func (Proxy) GoString() string           { return "<proxy>" }
func (Credentials) String() string       { return "<credentials>" }
func (Credentials) GoString() string     { return "<credentials>" }
func (Credentials) LogValue() slog.Value { return slog.StringValue("<credentials>") }

// MarshalJSON keeps credentials out of every encoder.
func (Credentials) MarshalJSON() ([]byte, error) { return []byte(`"<credentials>"`), nil }

// Refusal says why there are no credentials for an address; nil if there are.
// A failure that Err is stays what it is.
func (c Credentials) Refusal(address string) *Failure {
	if c.Err == nil {
		return nil
	}
	var known *Failure
	if errors.As(c.Err, &known) {
		f := *known
		f.Retry.Never = f.Retry.Never || f.Stage == StageSpec || f.Reason == ReasonInvalidSpec
		return &f
	}
	return Fail(StageFetch, ReasonAuthentication, "credentials for %s: %w", address, c.Err)
}

// GitHubApp is an app that is installed for some repositories of a GitHub
// server.
type GitHubApp struct {
	ID string
	// The installation, by its id or by whose it is: an organization or a user.
	Installation, Owner string
	PrivateKey          []byte // PEM, RSA
	// API is the base URL of the server's API; "" is that of github.com.
	API string
}

func (GitHubApp) String() string   { return "<GitHub App>" }
func (GitHubApp) GoString() string { return "<GitHub App>" }

// Proxy is a way to a repository.
type Proxy struct {
	URL                string // http, https or socks5, without user
	Username, Password string
}

// Verification lets only those commits count that are signed.
type Verification struct {
	Commit bool // the commit itself must be
	Tag    bool // the annotated tag that the ref selects must be
	// Keys are files with the public keys that are trusted: *.sshpub has SSH
	// keys, all others PGP keys.
	Keys map[string][]byte
	// Err, if set, says why there are no keys: nothing can be verified.
	Err error
}

// Revision is a resolved point of a source.
type Revision struct {
	// Commit names the content: the full hexadecimal id of a Git commit, or the
	// SHA-256 digest, hexadecimal, of what else it is.
	Commit  string
	Ref     string // what the ref resolved to: a branch, a tag, a full name, a version; "" for a bare commit
	Subject string // first line of the commit message
	Author  string // name <mail>
	Time    time.Time
	// Content names the content where Commit alone does not, of a source that is
	// made of several; "" where it does.
	Content string
	// Parts are the revisions of the sources that it includes.
	Parts []Revision
	// Metadata is what else is told of the content: the annotations of an OCI
	// artifact.
	Metadata map[string]string
	// Verified says whose signatures were found good; "" where none was asked for.
	Verified string
	// Chart is set if the content is a Helm chart; Ref then is its version.
	Chart *ChartRevision
}

// ID names the content: revisions of equal ID have the same files.
func (r Revision) ID() string {
	if r.Content != "" {
		return r.Content
	}
	return r.Commit
}

// IsZero reports whether nothing was resolved.
func (r Revision) IsZero() bool { return r.Commit == "" }

// SourceReport is the result of looking at a source.
type SourceReport struct {
	ID         SourceID
	Of         Source // as it was looked at
	Generation int64
	Handled    string // request token that this look answers
	Revision   Revision
	Changed    bool // the revision differs from the one before
	// Artifact is what Revision can be fetched as; nil if it cannot.
	Artifact *Artifact
	Failure  *Failure // Revision then is the last good one, if any
	At       time.Time
}

// Artifact is the content of a revision as a file that can be fetched.
type Artifact struct {
	URL    string
	Path   string // of the URL, without the address
	Latest string // URL of whichever is the current one
	Digest string // sha256:…
	Size   int64  // bytes
}
