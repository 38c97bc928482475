package signer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	notationgo "github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"plumb.dev/plumb/internal/sandbox/ociserver"
)

// Forms of the signatures of Notation.
const (
	JWS  = "application/jose+json"
	COSE = "application/cose"
)

// Notary is an authority, and someone who signs by a certificate of it.
type Notary struct {
	root, leaf   *x509.Certificate
	rootKey, key *ecdsa.PrivateKey
}

// NewNotary makes one by a name. The certificate of the signer holds for some
// time; lists are where is said whether it was revoked.
func NewNotary(called string, holds time.Duration, lists ...string) (*Notary, error) {
	at := time.Now().Add(-time.Minute).Truncate(time.Second)
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	subject := pkix.Name{CommonName: called + " root", Organization: []string{called}, Country: []string{"DE"}, Province: []string{"BE"}}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject, NotBefore: at, NotAfter: at.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	n := &Notary{rootKey: rootKey}
	if n.root, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	if n.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	subject.CommonName = called
	template = &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: subject, NotBefore: at, NotAfter: at.Add(holds), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true, CRLDistributionPoints: lists,
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, n.root, n.key.Public(), rootKey); err != nil {
		return nil, err
	}
	n.leaf, err = x509.ParseCertificate(der)
	return n, err
}

// Authority is its certificate as PEM.
func (n *Notary) Authority() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: n.root.Raw})
}

// Policy is a trust policy of a level that trusts whoever has a certificate of
// the authorities beside it.
func Policy(level string) []byte {
	return fmt.Appendf(nil, `{"version":"1.0","trustPolicies":[{"name":"all","registryScopes":["*"],"signatureVerification":{"level":%q},"trustStores":["ca:all"],"trustedIdentities":["*"]}]}`, level)
}

// Sign signs host/path@digest in a form and puts the signature where it refers
// to it. It holds for some time; zero is for ever.
func (n *Notary) Sign(ctx context.Context, c ociserver.Client, repository, of, form string, holds time.Duration) error {
	d, err := Describe(ctx, repository, of)
	if err != nil {
		return err
	}
	envelope, err := n.Envelope(ctx, d, form, holds)
	if err != nil {
		return err
	}
	return PushNotation(ctx, c, repository, of, form, envelope)
}

// Describe is host/path@digest as it is signed.
func Describe(ctx context.Context, repository, of string) (ocispec.Descriptor, error) {
	ref, err := name.NewDigest(repository+"@"+of, name.Insecure)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	d, err := remote.Head(ref, remote.WithContext(ctx))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(of), Size: d.Size}, nil
}

// List is what the authority says of revoked certificates: that of the signer
// is one of them, or none is.
func (n *Notary) List(revoked bool) ([]byte, error) {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: n.root.NotBefore, NextUpdate: n.root.NotAfter}
	if revoked {
		template.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: n.leaf.SerialNumber, RevocationTime: n.leaf.NotBefore}}
	}
	return x509.CreateRevocationList(rand.Reader, template, n.root, n.rootKey)
}

// Envelope is the signature of an artifact.
func (n *Notary) Envelope(ctx context.Context, of ocispec.Descriptor, form string, holds time.Duration) ([]byte, error) {
	s, err := signer.NewGenericSigner(n.key, []*x509.Certificate{n.leaf, n.root})
	if err != nil {
		return nil, err
	}
	envelope, _, err := s.Sign(ctx, of, notationgo.SignerSignOptions{SignatureMediaType: form, ExpiryDuration: holds})
	return envelope, err
}

// PushNotation puts an envelope where it refers to host/path@digest, as Notation
// does.
func PushNotation(ctx context.Context, c ociserver.Client, repository, of, form string, envelope []byte) error {
	const kind = "application/vnd.cncf.notary.signature"
	_, err := c.Push(ctx, repository, ociserver.Artifact{Config: kind, Layers: []ociserver.Layer{{Type: form, Data: envelope}}, Subject: of})
	return err
}
