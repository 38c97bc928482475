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

// OCIVerification says whose signatures count. Without Keyless they are those
// of one of the keys, or of whom the policy of Notation trusts, in Files.
type OCIVerification struct {
	// Tool made the signatures; "" is Cosign.
	Tool SignatureTool
	// Files of the Secret by name: of Cosign PEM files with public keys, *.pub; of
	// Notation trustpolicy.json and certificates, *.pem and *.crt.
	Files map[string][]byte
	// Keyless, if set, is for signatures of Cosign by short-lived certificates.
	Keyless *Keyless
	// Missing, if set, says why there is nothing to verify with: nothing can be
	// verified.
	Missing string
}

// SignatureTool makes signatures.
type SignatureTool string

// The tools whose signatures can be verified.
const (
	Cosign   SignatureTool = "cosign"
	Notation SignatureTool = "notation"
)

// Keyless says who must have signed, by a certificate that an authority gave
// them for a few minutes on the word of an OIDC issuer.
type Keyless struct {
	// Identities: one must match; none lets whoever has a certificate of the
	// authority count.
	Identities []SignerIdentity
	// TrustedRoot (trusted_root.json) names authorities and logs; nil is that of
	// Sigstore's public instance.
	TrustedRoot []byte
}

// SignerIdentity is of regular expressions, each of which must match somewhere
// in what the certificate says.
type SignerIdentity struct {
	Issuer  string // of the word about the signer
	Subject string // the signer: an address, or the URL of a workflow
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
