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
	// Copy keeps the layer as one file, instead of unpacking it.
	Copy     bool
	Insecure bool // plain HTTP
	// Keychain is a Docker configuration (config.json) with credentials.
	Keychain []byte
}
