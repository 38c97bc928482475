package oci

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/keyless"
)

const (
	maxSignatures = 50
	maxPayload    = 1 << 20 // bytes of one signature
)

// verify makes sure that an artifact is signed as a.spec.Verify, which must be
// set, asks for. trusted says whether it is: the policy of Notation may let
// others pass.
func (a *Artifact) verify(ctx context.Context, digest name.Digest) (trusted bool, err error) {
	v := a.spec.Verify
	if v.Missing != "" {
		return false, a.unverified(digest, errors.New(v.Missing))
	}
	trusted = true
	if v.Tool == app.Notation {
		trusted, err = a.verifyNotation(ctx, digest)
	} else {
		var by trust
		if by, err = a.trust(ctx); err == nil {
			err = a.verifyCosign(ctx, digest, by)
		}
	}
	if err != nil {
		return false, a.unverified(digest, err)
	}
	return trusted, nil
}

// trust is whose signatures of cosign count.
func (a *Artifact) trust(ctx context.Context) (trust, error) {
	v := a.spec.Verify
	if v.Keyless == nil {
		return parseKeys(v.Files)
	}
	if err := keyless.Check(v.Keyless.Identities); err != nil {
		return nil, err
	}
	var trusted *keyless.Root
	var err error
	if text := v.Keyless.TrustedRoot; text != nil {
		if trusted, err = keyless.ParseRoot(text); err != nil {
			return nil, fmt.Errorf("unable to parse trusted root: %w", clipped(err))
		}
	} else if trusted, err = a.client.public.Root(ctx); err != nil {
		return nil, err
	}
	policy, err := keyless.NewPolicy(trusted, v.Keyless.Identities)
	return certificateTrust{policy}, err
}

// certificateTrust lets what is signed without keys count.
type certificateTrust struct{ *keyless.Policy }

func (t certificateTrust) layer(payload []byte, annotations map[string]string) error {
	return t.Layer(payload, annotations)
}

func (t certificateTrust) bundle(text []byte, digest string) (string, error) {
	return t.Bundle(text, digest)
}

// unverified is the failure of what is not signed as it should be. One that
// tells why nothing could be found out stays as it is.
func (a *Artifact) unverified(digest name.Digest, err error) error {
	var known *app.Failure
	if errors.As(err, &known) {
		return known
	}
	v := a.spec.Verify
	by, hint := "cosign", "Sign %s by a key whose public half is in the Secret that verify.secretRef names, as a file *.pub."
	switch {
	case v.Tool == app.Notation:
		by, hint = "notation", "Sign %s by a certificate that the trust policy in the Secret that verify.secretRef names lets count."
	case v.Keyless != nil:
		by, hint = "cosign keyless", "Sign %s as an identity that verify.matchOIDCIdentity matches, with the authorities that the trusted root names."
	}
	return app.Fail(app.StageFetch, app.ReasonUnverified, "failed to verify the signature using provider '%s': %w", by, err).
		WithHint(hint, scheme+digest.Name())
}

// verdict is what was found out about a digest, for who asks again.
type verdict struct {
	about   [sha256.Size]byte
	trusted bool
}

// verified reports whether what Find tells of is signed by someone trusted.
// Nothing is brought that verify refuses, so that this is clear, unless the
// policy lets pass what nobody signed.
func (a *Artifact) verified(ctx context.Context, digest name.Digest) (bool, error) {
	v := a.spec.Verify
	if v == nil || v.Missing != "" {
		return false, nil
	}
	if v.Tool != app.Notation {
		return true, nil
	}
	policy, err := a.notationPolicy()
	if err != nil || policy.Enforces(digest.Name()) {
		return true, nil
	}
	text, err := json.Marshal([]any{digest.DigestStr(), v})
	if err != nil {
		return false, err
	}
	about := sha256.Sum256(text)
	a.conn.mu.Lock()
	last := a.conn.verdict
	a.conn.mu.Unlock()
	if last.about == about {
		return last.trusted, nil
	}
	trusted, err := a.verify(ctx, digest)
	if err != nil {
		return false, err
	}
	a.conn.mu.Lock()
	defer a.conn.mu.Unlock()
	a.conn.verdict = verdict{about, trusted}
	return trusted, nil
}

// absent reports whether the registry answered that there is no such thing.
func absent(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// referrers lists what refers to an artifact.
func (a *Artifact) referrers(ctx context.Context, digest name.Digest) ([]v1.Descriptor, error) {
	what := fmt.Sprintf("failed to list what refers to '%s'", scheme+digest.Name())
	index, err := remote.Referrers(digest, remote.Reuse(a.conn.puller), remote.WithContext(ctx))
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	return list.Manifests, nil
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
	return a.pull(ctx, layer)
}

func clip(s string) string {
	const most = 100
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}
