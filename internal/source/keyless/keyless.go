// Package keyless verifies signatures of cosign that were made without a key of
// one's own: by a certificate that an authority gave the signer for a few
// minutes, and that a log tells of.
//
// It is handed signatures and what is to be trusted; only Public asks the
// network, for the authorities and logs of Sigstore's public instance. It must
// know nothing of registries, of custom resources, and of which digest is asked
// for. Transparency logs are not asked: a signature brings the proof with it.
package keyless

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"

	"plumb.dev/plumb/internal/app"
)

const (
	// maxRoot bounds a trusted root, in bytes.
	maxRoot = 1 << 20
	// maxPattern bounds one regular expression, in bytes.
	maxPattern = 4 << 10
	// maxIdentities bounds how many signers are told of.
	maxIdentities = 100
)

// Annotations of a layer that is a signature in the older form.
const (
	signatureAnnotation   = "dev.cosignproject.cosign/signature"
	certificateAnnotation = "dev.sigstore.cosign/certificate"
	logAnnotation         = "dev.sigstore.cosign/bundle"
	timeAnnotation        = "dev.sigstore.cosign/rfc3161timestamp"
)

// Root is authorities and logs that are trusted.
type Root struct{ material *root.TrustedRoot }

// ParseRoot reads a trusted_root.json.
func ParseRoot(text []byte) (*Root, error) {
	if len(text) > maxRoot {
		return nil, fmt.Errorf("it has %d bytes, %d are allowed", len(text), maxRoot)
	}
	var material *root.TrustedRoot
	err := guarded(func() (err error) {
		material, err = root.NewTrustedRootFromJSON(text)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(material.FulcioCertificateAuthorities()) == 0 {
		return nil, errors.New("it names no authority of certificates")
	}
	if len(material.RekorLogs()) == 0 {
		return nil, errors.New("it names no transparency log")
	}
	return &Root{material}, nil
}

// Policy says which signatures count.
type Policy struct {
	verifier *verify.Verifier
	signer   verify.PolicyOption
}

// NewPolicy lets count what one of the identities signed, and, if there are
// none, what anyone signed who has a certificate of the root's authorities.
func NewPolicy(trusted *Root, identities []app.SignerIdentity) (*Policy, error) {
	signer, err := oneOf(identities)
	if err != nil {
		return nil, err
	}
	options := []verify.VerifierOption{
		verify.WithTransparencyLog(1),
		// The certificate was valid when the log, or an authority for time stamps,
		// saw the signature; it is long over by now.
		verify.WithObserverTimestamps(1),
	}
	if len(trusted.material.CTLogs()) > 0 {
		options = append(options, verify.WithSignedCertificateTimestamps(1))
	}
	verifier, err := verify.NewVerifier(trusted.material, options...)
	if err != nil {
		return nil, err
	}
	return &Policy{verifier, signer}, nil
}

// Check tells what is wrong with identities, before anything is asked for.
func Check(identities []app.SignerIdentity) error {
	_, err := oneOf(identities)
	return err
}

func oneOf(identities []app.SignerIdentity) (verify.PolicyOption, error) {
	if len(identities) > maxIdentities {
		return nil, fmt.Errorf("matchOIDCIdentity has %d entries, %d are allowed", len(identities), maxIdentities)
	}
	var all []verify.PolicyOption
	for i, id := range identities {
		for field, pattern := range map[string]string{"issuer": id.Issuer, "subject": id.Subject} {
			switch {
			case pattern == "":
				return nil, fmt.Errorf("matchOIDCIdentity[%d].%s is empty: write .* for whatever it may be", i, field)
			case len(pattern) > maxPattern:
				return nil, fmt.Errorf("matchOIDCIdentity[%d].%s has %d bytes, %d are allowed", i, field, len(pattern), maxPattern)
			}
		}
		identity, err := verify.NewShortCertificateIdentity("", id.Issuer, "", id.Subject)
		if err != nil {
			return nil, fmt.Errorf("matchOIDCIdentity[%d]: %w", i, err)
		}
		all = append(all, verify.WithCertificateIdentity(identity))
	}
	if len(all) == 0 {
		return verify.WithoutIdentitiesUnsafe(), nil
	}
	return func(c *verify.PolicyConfig) error {
		for _, option := range all {
			if err := option(c); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// Layer checks a signature of the older form: the annotations of a layer are
// about the payload that is its content. What the payload says is for others to
// look at.
func (p *Policy) Layer(payload []byte, annotations map[string]string) error {
	return guarded(func() error {
		entity, err := fromAnnotations(payload, annotations)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(payload)
		_, err = p.verifier.Verify(entity, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum[:]), p.signer))
		return short(err)
	})
}

// Bundle checks a signature of the newer form, and gives the statement that was
// signed. It is about the artifact with that digest (sha256:…).
func (p *Policy) Bundle(text []byte, digest string) (predicate string, err error) {
	err = guarded(func() error {
		sum, err := hex.DecodeString(strings.TrimPrefix(digest, "sha256:"))
		if err != nil {
			return err
		}
		var b bundle.Bundle
		if err := b.UnmarshalJSON(text); err != nil {
			return fmt.Errorf("a bundle cannot be read: %w", short(err))
		}
		if b.GetDsseEnvelope() == nil {
			return errors.New("a bundle holds no signed statement")
		}
		result, err := p.verifier.Verify(&b, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum), p.signer))
		if err != nil {
			return short(err)
		}
		predicate = result.Statement.GetPredicateType()
		return nil
	})
	return predicate, err
}

// logged is the annotation that tells what a log promised.
type logged struct {
	Promise []byte `json:"SignedEntryTimestamp"`
	Payload struct {
		Body  []byte `json:"body"`
		Time  int64  `json:"integratedTime"`
		Index int64  `json:"logIndex"`
		Log   string `json:"logID"`
	} `json:"Payload"`
}

// fromAnnotations brings the older form into that of a bundle. The chain that
// cosign writes beside the certificate is left out: what lies between it and an
// authority is part of the trusted root.
func fromAnnotations(payload []byte, annotations map[string]string) (*bundle.Bundle, error) {
	signature, err := base64.StdEncoding.DecodeString(annotations[signatureAnnotation])
	if err != nil || len(signature) == 0 {
		return nil, errors.New("a signature is not base64")
	}
	certificate, _ := pem.Decode([]byte(annotations[certificateAnnotation]))
	if certificate == nil {
		return nil, errors.New("a signature has no certificate: it was made with a key")
	}
	if annotations[logAnnotation] == "" {
		return nil, errors.New("a signature has no proof that a transparency log holds it")
	}
	var entry logged
	if err := json.Unmarshal([]byte(annotations[logAnnotation]), &entry); err != nil {
		return nil, errors.New("what a signature says of the transparency log cannot be read")
	}
	log, err := hex.DecodeString(entry.Payload.Log)
	if err != nil {
		return nil, errors.New("what a signature says of the transparency log cannot be read")
	}
	var kind struct {
		Kind    string `json:"kind"`
		Version string `json:"apiVersion"`
	}
	if err := json.Unmarshal(entry.Payload.Body, &kind); err != nil {
		return nil, errors.New("the entry of the transparency log is no JSON")
	}
	sum := sha256.Sum256(payload)
	material := &bundlepb.VerificationMaterial{
		Content: &bundlepb.VerificationMaterial_X509CertificateChain{X509CertificateChain: &commonpb.X509CertificateChain{
			Certificates: []*commonpb.X509Certificate{{RawBytes: certificate.Bytes}},
		}},
		TlogEntries: []*rekorpb.TransparencyLogEntry{{
			LogIndex: entry.Payload.Index, LogId: &commonpb.LogId{KeyId: log},
			KindVersion:    &rekorpb.KindVersion{Kind: kind.Kind, Version: kind.Version},
			IntegratedTime: entry.Payload.Time, CanonicalizedBody: entry.Payload.Body,
			InclusionPromise: &rekorpb.InclusionPromise{SignedEntryTimestamp: entry.Promise},
		}},
	}
	if text := annotations[timeAnnotation]; text != "" {
		var stamp struct{ SignedRFC3161Timestamp []byte }
		if err := json.Unmarshal([]byte(text), &stamp); err != nil {
			return nil, errors.New("a time stamp cannot be read")
		}
		material.TimestampVerificationData = &bundlepb.TimestampVerificationData{
			Rfc3161Timestamps: []*commonpb.RFC3161SignedTimestamp{{SignedTimestamp: stamp.SignedRFC3161Timestamp}},
		}
	}
	return bundle.NewBundle(&bundlepb.Bundle{
		MediaType:            "application/vnd.dev.sigstore.bundle+json;version=0.1",
		VerificationMaterial: material,
		Content: &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
			MessageDigest: &commonpb.HashOutput{Algorithm: commonpb.HashAlgorithm_SHA2_256, Digest: sum[:]}, Signature: signature,
		}},
	})
}

// maxCause bounds what is repeated of an error, in bytes: it may quote what was
// verified.
const maxCause = 500

func short(err error) error {
	if err == nil || len(err.Error()) <= maxCause {
		return err
	}
	return errors.New(strings.ToValidUTF8(err.Error()[:maxCause], "") + "…")
}

// guarded turns a panic over what someone else wrote into an error: the
// libraries read many formats, and a source must not end the process.
func guarded(do func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it is malformed")
		}
	}()
	return do()
}
