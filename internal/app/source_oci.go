package app

// OCIArtifact says which layer of which artifact of the registry at Source.URL
// (oci://host/path) is delivered.
type OCIArtifact struct {
	// The most specific that is set wins: Digest, SemVer, Tag, and then the tag
	// latest.
	Tag    string
	SemVer string // a constraint on tags; the highest match wins
	// TagFilter is a regular expression: only tags that match it are looked at
	// for SemVer.
	TagFilter string
	Digest    string // sha256:…
	// MediaType selects the first layer of that type; "" is the first layer.
	MediaType string
	// Copy: nothing of the layer is left out. It is unpacked all the same, as
	// whoever reads a layer that Flux copied does.
	Copy     bool
	Insecure bool // plain HTTP
	// Keychain is a Docker configuration (config.json) with credentials.
	Keychain []byte
	// Verify, if set, lets only content count that is signed.
	Verify *OCIVerification
}

// OCIVerification says whose signatures count: cosign's, of one of the keys.
type OCIVerification struct {
	// Keys are PEM files with public keys, by name.
	Keys map[string][]byte
	// Missing, if set, says why there are no keys: nothing can be verified.
	Missing string
}

// Verifies reports whether only signed content of s counts.
func (s Source) Verifies() bool {
	return s.Verify != nil || s.OCI != nil && s.OCI.Verify != nil || s.HelmChart != nil && s.HelmChart.Verify != nil
}

// The reasons of failures that artifacts have besides those of all sources.
const (
	ReasonBadArtifact Reason = "BadArtifact" // the artifact is not of the form that is asked for
	ReasonUnverified  Reason = "Unverified"  // it has no good signature of a trusted key, or there are no such keys
)
