package ociserver

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Key is a pair of keys that signs as cosign does.
type Key struct{ signer crypto.Signer }

// NewKey makes one: ecdsa, rsa or ed25519.
func NewKey(kind string) (Key, error) {
	var signer crypto.Signer
	var err error
	switch kind {
	case "ecdsa":
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "rsa":
		signer, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("no such kind of key: %q", kind)
	}
	return Key{signer}, err
}

// Public is the public key, as cosign.pub has it.
func (k Key) Public() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// Sign signs a message.
func (k Key) Sign(message []byte) ([]byte, error) {
	if _, ok := k.signer.(ed25519.PrivateKey); ok {
		return k.signer.Sign(rand.Reader, message, crypto.Hash(0))
	}
	sum := sha256.Sum256(message)
	return k.signer.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// Payload is what cosign signs of a digest.
func Payload(repository, digest string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, repository, digest)
}

// Signature is a layer with the signature of a payload.
func (k Key) Signature(payload []byte) (Layer, error) {
	sig, err := k.Sign(payload)
	if err != nil {
		return Layer{}, err
	}
	return Layer{
		Type: "application/vnd.dev.cosign.simplesigning.v1+json", Data: payload,
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig)},
	}, nil
}

// SignTag signs host/path@digest as cosign does by default until version 2.
func (c Client) SignTag(ctx context.Context, repository, digest string, k Key) error {
	layer, err := k.Signature(Payload(repository, digest))
	if err != nil {
		return err
	}
	return c.PushSignatures(ctx, repository, digest, layer)
}

// PushSignatures puts layers where the signatures of a digest are looked for.
func (c Client) PushSignatures(ctx context.Context, repository, digest string, layers ...Layer) error {
	tag := strings.Replace(digest, ":", "-", 1) + ".sig"
	_, err := c.Push(ctx, repository+":"+tag, Artifact{Config: string(types.OCIConfigJSON), Layers: layers})
	return err
}

// Statement is what a bundle of cosign holds about a digest.
func Statement(digest, predicate string) []byte {
	_, hex, _ := strings.Cut(digest, ":")
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`, hex, predicate)
}

// Bundle signs a statement.
func (k Key) Bundle(statement []byte) ([]byte, error) {
	const kind = "application/vnd.in-toto+json"
	sig, err := k.Sign(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(statement), statement))
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"mediaType":            "application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": "key"}},
		"dsseEnvelope": map[string]any{
			"payload": statement, "payloadType": kind, "signatures": []any{map[string]any{"sig": sig}},
		},
	})
}

// PushBundle puts a bundle where it refers to host/path@digest, as cosign does by
// default since version 3.
func (c Client) PushBundle(ctx context.Context, repository, digest string, bundle []byte) error {
	const kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
	_, err := c.Push(ctx, repository, Artifact{
		Type: kind, Config: "application/vnd.oci.empty.v1+json", Layers: []Layer{{Type: kind, Data: bundle}}, Subject: digest,
	})
	return err
}
