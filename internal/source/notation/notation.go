// Package notation verifies signatures of Notation (the Notary Project) by a
// trust policy and the certificates of authorities.
//
// It must know nothing of registries and custom resources: it is handed the
// signatures. It asks the network only whether certificates were revoked, and
// only those that an authority of the policy gave.
package notation

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	_ "github.com/notaryproject/notation-core-go/signature/cose" // the two forms of a signature
	_ "github.com/notaryproject/notation-core-go/signature/jws"
	notationgo "github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PolicyFile is the name of the file with the trust policy.
const PolicyFile = "trustpolicy.json"

// MaxSignatures is how many signatures of an artifact are looked at.
const MaxSignatures = 50

const maxCertificates = 1000

// Policy says whose signatures count.
type Policy struct {
	document     *trustpolicy.Document
	certificates []*x509.Certificate
}

// Parse reads the trust policy, and the certificates of authorities that stand
// beside it in files *.pem and *.crt. Whatever trust store a statement names,
// these are in it, as in Flux.
func Parse(files map[string][]byte) (*Policy, error) {
	text, ok := files[PolicyFile]
	if !ok {
		return nil, fmt.Errorf("the Secret holds no %s", PolicyFile)
	}
	p := &Policy{document: &trustpolicy.Document{}}
	if err := json.Unmarshal(text, p.document); err != nil {
		return nil, fmt.Errorf("%s is no trust policy: %w", PolicyFile, short(err))
	}
	for i, s := range p.document.TrustPolicies {
		if s.SignatureVerification.VerificationLevel == trustpolicy.LevelSkip.Name {
			// A statement that trusts nobody needs no more, and may have none.
			p.document.TrustPolicies[i].TrustStores, p.document.TrustPolicies[i].TrustedIdentities = nil, nil
		}
	}
	if err := p.document.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", PolicyFile, short(err))
	}
	var names []string
	for name := range files {
		if strings.HasSuffix(name, ".pem") || strings.HasSuffix(name, ".crt") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("the Secret holds no certificates: their names end in .pem or .crt")
	}
	slices.Sort(names)
	for _, name := range names {
		found, err := certificates(files[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if p.certificates = append(p.certificates, found...); len(p.certificates) > maxCertificates {
			return nil, fmt.Errorf("the Secret holds more than %d certificates", maxCertificates)
		}
	}
	return p, nil
}

// certificates reads PEM, any number of certificates, or DER.
func certificates(data []byte) ([]*x509.Certificate, error) {
	der := data
	if block, _ := pem.Decode(data); block != nil {
		der = nil
		for ; block != nil; block, data = pem.Decode(data) {
			if block.Type == "CERTIFICATE" {
				der = append(der, block.Bytes...)
			}
		}
	}
	found, err := x509.ParseCertificates(der)
	if err != nil || len(found) == 0 {
		return nil, errors.New("it holds no certificate that can be read")
	}
	return found, nil
}

// GetCertificates implements truststore.X509TrustStore.
func (p *Policy) GetCertificates(context.Context, truststore.Type, string) ([]*x509.Certificate, error) {
	return p.certificates, nil
}

// Enforces reports whether the policy lets nothing pass of an artifact that is
// not of someone trusted. Otherwise only Verify tells whether it is.
func (p *Policy) Enforces(reference string) bool {
	statement, err := p.document.GetApplicableTrustPolicy(reference)
	if err != nil {
		return true // Verify refuses it
	}
	level, err := statement.SignatureVerification.GetVerificationLevel()
	return err != nil || level.Enforcement[trustpolicy.TypeAuthenticity] == trustpolicy.ActionEnforce
}

// Signatures are those of one artifact.
type Signatures interface {
	// Artifact is its manifest.
	Artifact(ctx context.Context) (ocispec.Descriptor, error)
	// List gives the manifests of signatures, MaxSignatures of them at most.
	List(ctx context.Context) ([]ocispec.Descriptor, error)
	// Envelope gives the one blob of such a manifest, and its media type.
	Envelope(ctx context.Context, manifest ocispec.Descriptor) (blob []byte, mediaType string, err error)
}

// Verify makes sure that the artifact at a reference (host/path@digest) may be
// used. trusted says whether someone whom the policy trusts signed it: a policy
// may let pass what nobody did. An error of Signatures is passed on as it is.
func (p *Policy) Verify(ctx context.Context, reference string, signatures Signatures, transport http.RoundTripper) (trusted bool, err error) {
	defer func() {
		if recover() != nil { // over what someone else wrote: a source must not end the process
			trusted, err = false, errors.New("a signature is malformed")
		}
	}()
	options, err := p.revocation(transport)
	if err != nil {
		return false, err
	}
	check, err := verifier.NewWithOptions(p.document, p, nil, options)
	if err != nil {
		return false, short(err)
	}
	repo := &repository{signatures: signatures}
	_, outcomes, err := notationgo.Verify(ctx, check, repo, notationgo.VerifyOptions{
		ArtifactReference: reference, MaxSignatureAttempts: MaxSignatures + 1,
	})
	switch {
	case repo.failed != nil:
		return false, repo.failed
	case err != nil:
		return false, short(err)
	case len(outcomes) == 0:
		return false, errors.New("no signature was verified")
	}
	outcome := outcomes[0]
	if outcome.VerificationLevel.Name == trustpolicy.LevelSkip.Name {
		return false, nil
	}
	return !slices.ContainsFunc(outcome.VerificationResults, func(r *notationgo.ValidationResult) bool {
		return r.Type == trustpolicy.TypeAuthenticity && r.Error != nil
	}), nil
}

// repository is Signatures for the library. It keeps the first error, which the
// library would only quote.
type repository struct {
	signatures Signatures
	failed     error
}

var _ registry.Repository = (*repository)(nil)

func (r *repository) note(err error) error {
	if r.failed == nil {
		r.failed = err
	}
	return err
}

// Resolve implements registry.Repository.
func (r *repository) Resolve(ctx context.Context, _ string) (ocispec.Descriptor, error) {
	d, err := r.signatures.Artifact(ctx)
	return d, r.note(err)
}

// ListSignatures implements registry.Repository.
func (r *repository) ListSignatures(ctx context.Context, _ ocispec.Descriptor, each func([]ocispec.Descriptor) error) error {
	found, err := r.signatures.List(ctx)
	if err != nil {
		return r.note(err)
	}
	return each(found[:min(len(found), MaxSignatures)])
}

// FetchSignatureBlob implements registry.Repository.
func (r *repository) FetchSignatureBlob(ctx context.Context, d ocispec.Descriptor) ([]byte, ocispec.Descriptor, error) {
	blob, mediaType, err := r.signatures.Envelope(ctx, d)
	return blob, ocispec.Descriptor{MediaType: mediaType, Size: int64(len(blob))}, r.note(err)
}

// PushSignature implements registry.Repository.
func (r *repository) PushSignature(context.Context, string, []byte, ocispec.Descriptor, map[string]string) (blob, manifest ocispec.Descriptor, err error) {
	return blob, manifest, errors.New("signatures are only read")
}

// short bounds an error, which may quote what was verified.
func short(err error) error {
	const most = 500
	text := strings.Join(strings.Fields(err.Error()), " ")
	return errors.New(strings.ToValidUTF8(text[:min(len(text), most)], ""))
}

// checkTimeout bounds one question about a certificate. As in Flux, it is short:
// a list that cannot be had makes a certificate's state unknown, about which the
// policy decides.
const checkTimeout = 5 * time.Second
