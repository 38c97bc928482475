package oci

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/notation"
)

// notationType is the type of artifacts that are signatures of Notation.
const notationType = "application/vnd.cncf.notary.signature"

func (a *Artifact) notationPolicy() (*notation.Policy, error) {
	return notation.Parse(a.spec.Verify.Files)
}

// verifyNotation is verify for signatures of Notation.
func (a *Artifact) verifyNotation(ctx context.Context, digest name.Digest) (trusted bool, err error) {
	policy, err := a.notationPolicy()
	if err != nil {
		return false, err
	}
	transport, err := a.client.opt.Transport(app.Credentials{})
	if err != nil {
		return false, err
	}
	return policy.Verify(ctx, digest.Name(), notationSignatures{a, digest}, transport)
}

// notationSignatures are those of one artifact in the registry.
type notationSignatures struct {
	a      *Artifact
	digest name.Digest
}

var _ notation.Signatures = notationSignatures{}

// Artifact implements notation.Signatures.
func (s notationSignatures) Artifact(ctx context.Context) (ocispec.Descriptor, error) {
	got, err := s.a.conn.puller.Get(ctx, s.digest)
	if err != nil {
		return ocispec.Descriptor{}, s.a.failed(ctx, fmt.Sprintf("failed to read '%s'", scheme+s.digest.Name()), err)
	}
	return ocispec.Descriptor{MediaType: string(got.MediaType), Digest: digest.Digest(got.Digest.String()), Size: got.Size}, nil
}

// List implements notation.Signatures.
func (s notationSignatures) List(ctx context.Context) ([]ocispec.Descriptor, error) {
	all, err := s.a.referrers(ctx, s.digest)
	if err != nil {
		return nil, err
	}
	var out []ocispec.Descriptor
	for _, d := range all {
		if d.ArtifactType == notationType && len(out) < notation.MaxSignatures {
			out = append(out, ocispec.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size})
		}
	}
	return out, nil
}

// Envelope implements notation.Signatures.
func (s notationSignatures) Envelope(ctx context.Context, d ocispec.Descriptor) ([]byte, string, error) {
	layers, err := s.a.layersAt(ctx, s.a.repo.Digest(d.Digest.String()))
	if err != nil {
		return nil, "", err
	}
	if len(layers) != 1 {
		return nil, "", badArtifact("the signature %s of '%s' has %d layers, where there must be one", d.Digest, s.a, len(layers))
	}
	blob, err := s.a.read(ctx, layers[0])
	return blob, string(layers[0].MediaType), err
}
