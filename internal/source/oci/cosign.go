package oci

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"plumb.dev/plumb/internal/app"
)

// What cosign writes beside an artifact, in the older form: an image by a tag
// made of the digest, with a layer for each signature.
const (
	payloadType         = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
)

// And in the newer: artifacts that refer to the signed one, each a bundle.
const (
	bundleType    = "application/vnd.dev.sigstore.bundle." // v0.3+json
	emptyType     = "application/vnd.oci.empty.v1+json"
	statementType = "application/vnd.in-toto+json"
	// signPredicate is what the statement of a signature says. Others, of
	// attestations, are signed with the same keys and approve of nothing.
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

const (
	maxSignatures = 50
	maxPayload    = 1 << 20 // bytes of one signature
)

// verify makes sure that an artifact has a signature of a trusted key.
// Transparency logs are not asked, as Flux asks none where there are keys.
func (a *Artifact) verify(ctx context.Context, digest name.Digest) error {
	unverified := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageFetch, app.ReasonUnverified, "failed to verify the signature using provider 'cosign': %w", fmt.Errorf(format, args...)).
			WithHint("Sign %s by a key whose public half is in the Secret that verify.secretRef names, as a file *.pub.", scheme+digest.Name())
	}
	if a.spec.Verify.Missing != "" {
		return unverified("%s", a.spec.Verify.Missing)
	}
	keys, err := parseKeys(a.spec.Verify.Keys)
	if err != nil {
		return unverified("%w", err)
	}
	var bad []error
	for _, look := range []func(context.Context, name.Digest, []publicKey) (found bool, bad []error, err error){a.verifyTag, a.verifyBundles} {
		found, wrong, err := look(ctx, digest, keys)
		switch {
		case err != nil:
			return err
		case found:
			return nil
		}
		bad = append(bad, wrong...)
	}
	if len(bad) == 0 {
		return unverified("no signatures found")
	}
	return unverified("no matching signatures: %w", errors.Join(bad[:min(len(bad), 3)]...))
}

// absent reports whether the registry answered that there is no such thing.
func absent(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// verifyTag looks at the signatures of the older form. bad says of each what is
// wrong with it; an error means that nothing could be found out.
func (a *Artifact) verifyTag(ctx context.Context, digest name.Digest, keys []publicKey) (found bool, bad []error, err error) {
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
		if err := checkPayload(payload, layer.Annotations[signatureAnnotation], digest.DigestStr(), keys); err != nil {
			bad = append(bad, err)
			continue
		}
		return true, nil, nil
	}
	return false, bad, nil
}

// checkPayload: the signature must be good, and be one of this very digest.
func checkPayload(payload []byte, signature, digest string, keys []publicKey) error {
	sig, err := base64.StdEncoding.DecodeString(signature)
	if err != nil || len(sig) == 0 {
		return errors.New("a signature is not base64")
	}
	if !signedBy(keys, payload, sig) {
		return errors.New("a signature is of another key, or what it signs was changed")
	}
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
func (a *Artifact) verifyBundles(ctx context.Context, digest name.Digest, keys []publicKey) (found bool, bad []error, err error) {
	what := fmt.Sprintf("failed to list what refers to '%s'", scheme+digest.Name())
	index, err := remote.Referrers(digest, remote.Reuse(a.conn.puller), remote.WithContext(ctx))
	if absent(err) {
		return false, nil, nil
	}
	if err != nil {
		return false, nil, a.failed(ctx, what, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return false, nil, a.failed(ctx, what, err)
	}
	seen := 0
	for _, referrer := range list.Manifests {
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
			bundle, err := a.read(ctx, layer)
			if err != nil {
				return false, bad, err
			}
			if err := checkBundle(bundle, digest.DigestStr(), keys); err != nil {
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

// checkBundle: the envelope's signature must be good, and what it holds must be
// the statement of a signature of this very digest.
func checkBundle(bundle []byte, digest string, keys []publicKey) error {
	var b struct {
		Envelope struct {
			Payload    []byte `json:"payload"`
			Type       string `json:"payloadType"`
			Signatures []struct {
				Sig []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(bundle, &b); err != nil {
		return errors.New("a bundle is no JSON of that form")
	}
	e := b.Envelope
	if e.Type != statementType || len(e.Signatures) != 1 {
		return errors.New("a bundle holds no signed statement")
	}
	// https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
	signed := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.Type), e.Type, len(e.Payload), e.Payload)
	if !signedBy(keys, signed, e.Signatures[0].Sig) {
		return errors.New("a bundle is of another key, or what it signs was changed")
	}
	var statement struct {
		Predicate string `json:"predicateType"`
		Subject   []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(e.Payload, &statement); err != nil {
		return errors.New("the statement of a bundle is no JSON of that form")
	}
	if statement.Predicate != signPredicate {
		return fmt.Errorf("a bundle is no signature but states %q", clip(statement.Predicate))
	}
	for _, s := range statement.Subject {
		if "sha256:"+s.Digest["sha256"] == digest {
			return nil
		}
	}
	return errors.New("a bundle is the signature of another digest")
}

// layersAt gives the layers of a manifest; none if it is not there.
func (a *Artifact) layersAt(ctx context.Context, ref name.Reference) ([]v1.Descriptor, error) {
	what := fmt.Sprintf("failed to read the signatures at '%s'", scheme+ref.Name())
	got, err := a.conn.puller.Get(ctx, ref)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	var m struct {
		Layers []v1.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(got.Manifest, &m); err != nil {
		return nil, badArtifact("%s: %w", what, clipped(err))
	}
	return m.Layers, nil
}

// read gives a small layer.
func (a *Artifact) read(ctx context.Context, layer v1.Descriptor) ([]byte, error) {
	if layer.Size > maxPayload || layer.Digest.Algorithm != "sha256" {
		return nil, badArtifact("a signature of '%s' has %d bytes, %d are allowed", a, layer.Size, maxPayload)
	}
	body, err := a.open(ctx, layer)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, a.failed(ctx, fmt.Sprintf("failed to pull layer %s of '%s'", layer.Digest, a), err)
	}
	return data, nil
}

func clip(s string) string {
	const most = 100
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}
