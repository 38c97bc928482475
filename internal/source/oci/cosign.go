package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// What cosign writes beside an artifact, in the older form: an image by a tag
// made of the digest, with a layer for each signature.
const payloadType = "application/vnd.dev.cosign.simplesigning.v1+json"

// And in the newer: artifacts that refer to the signed one, each a bundle.
const (
	bundleType = "application/vnd.dev.sigstore.bundle." // v0.3+json
	emptyType  = "application/vnd.oci.empty.v1+json"
	// signPredicate is what the statement of a signature says. Others, of
	// attestations, are signed with the same keys and approve of nothing.
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// trust decides whether a signature of cosign counts.
type trust interface {
	// layer checks one of the older form, whose payload is the content of a layer.
	layer(payload []byte, annotations map[string]string) error
	// bundle checks one of the newer form, about a digest, and gives the type of
	// what the signed statement says.
	bundle(text []byte, digest string) (predicate string, err error)
}

// verifyCosign makes sure that an artifact has a signature that counts.
// Transparency logs are not asked, as Flux asks none where there are keys: what
// is signed without keys brings the proof with it.
func (a *Artifact) verifyCosign(ctx context.Context, digest name.Digest, by trust) error {
	var bad []error
	for _, look := range []func(context.Context, name.Digest, trust) (found bool, bad []error, err error){a.verifyTag, a.verifyBundles} {
		found, wrong, err := look(ctx, digest, by)
		switch {
		case err != nil:
			return err
		case found:
			return nil
		}
		bad = append(bad, wrong...)
	}
	if len(bad) == 0 {
		return errors.New("no signatures found")
	}
	return fmt.Errorf("no matching signatures: %w", errors.Join(bad[:min(len(bad), 3)]...))
}

// verifyTag looks at the signatures of the older form. bad says of each what is
// wrong with it; an error means that nothing could be found out.
func (a *Artifact) verifyTag(ctx context.Context, digest name.Digest, by trust) (found bool, bad []error, err error) {
	tag := a.repo.Tag(strings.Replace(digest.DigestStr(), ":", "-", 1) + ".sig")
	layers, err := a.layersAt(ctx, tag)
	if err != nil {
		return false, nil, err
	}
	for _, layer := range layers[:min(len(layers), maxSignatures)] {
		if string(layer.MediaType) != payloadType {
			continue
		}
		payload, err := a.read(ctx, layer)
		if err != nil {
			return false, bad, err
		}
		err = by.layer(payload, layer.Annotations)
		if err == nil {
			err = checkPayload(payload, digest.DigestStr())
		}
		if err != nil {
			bad = append(bad, err)
			continue
		}
		return true, nil, nil
	}
	return false, bad, nil
}

// checkPayload: what is signed must be this very digest.
func checkPayload(payload []byte, digest string) error {
	var signed struct {
		Critical struct {
			Type  string `json:"type"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &signed); err != nil {
		return errors.New("what a signature signs is no JSON")
	}
	switch c := signed.Critical; {
	case c.Type != "cosign container image signature" && c.Type != "atomic container signature":
		return fmt.Errorf("a signature is of the type %q", clip(c.Type))
	case c.Image.Digest != digest:
		return fmt.Errorf("a signature is of the digest %q", clip(c.Image.Digest))
	}
	return nil
}

// verifyBundles is verifyTag for the newer form.
func (a *Artifact) verifyBundles(ctx context.Context, digest name.Digest, by trust) (found bool, bad []error, err error) {
	list, err := a.referrers(ctx, digest)
	if err != nil {
		return false, nil, err
	}
	seen := 0
	for _, referrer := range list {
		if !mayBeBundle(referrer.ArtifactType) || seen == maxSignatures {
			continue
		}
		seen++
		layers, err := a.layersAt(ctx, a.repo.Digest(referrer.Digest.String()))
		if err != nil {
			return false, bad, err
		}
		for _, layer := range layers[:min(len(layers), 1)] {
			if !strings.HasPrefix(string(layer.MediaType), bundleType) {
				continue
			}
			text, err := a.read(ctx, layer)
			if err != nil {
				return false, bad, err
			}
			predicate, err := by.bundle(text, digest.DigestStr())
			if err == nil && predicate != signPredicate {
				err = fmt.Errorf("a bundle is no signature but states %q", clip(predicate))
			}
			if err != nil {
				bad = append(bad, err)
				continue
			}
			return true, nil, nil
		}
	}
	return false, bad, nil
}

// mayBeBundle: not all registries, and not all versions of cosign, list a bundle
// by its own type; some give that of its configuration, which is empty.
func mayBeBundle(artifactType string) bool {
	return artifactType == "" || artifactType == emptyType || strings.HasPrefix(artifactType, bundleType)
}
