package oci

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that signatures are made of
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// minRSA is the least length of an RSA key that is trusted, in bits.
const minRSA = 2048

// keySuffix ends the names of files that are keys; others in the Secret are not
// looked at.
const keySuffix = ".pub"

// What is signed by a key is written here, and as bundles.
const (
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	statementType       = "application/vnd.in-toto+json"
)

// keyTrust lets what is signed by one of the keys count.
type keyTrust []publicKey

// publicKey checks whether a signature of a message is its own.
type publicKey func(message, signature []byte) bool

// parseKeys reads PEM files with public keys. One that is none is an error: to
// leave it out could hide that it is not trusted.
func parseKeys(files map[string][]byte) (keyTrust, error) {
	var names []string
	for n := range files {
		if strings.HasSuffix(n, keySuffix) {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("the Secret holds no public keys: their names end in .pub")
	}
	slices.Sort(names)
	var out keyTrust
	for _, n := range names {
		block, _ := pem.Decode(files[n])
		if block == nil {
			return nil, fmt.Errorf("%s holds no public key in PEM form", n)
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s holds no public key that can be read", n)
		}
		key, err := keyFor(parsed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n, err)
		}
		out = append(out, key)
	}
	return out, nil
}

func keyFor(parsed crypto.PublicKey) (publicKey, error) {
	hashed := func(check func(h crypto.Hash, sum, sig []byte) bool, hashes ...crypto.Hash) publicKey {
		return func(message, sig []byte) bool {
			return slices.ContainsFunc(hashes, func(h crypto.Hash) bool {
				sum := h.New()
				sum.Write(message)
				return check(h, sum.Sum(nil), sig)
			})
		}
	}
	switch key := parsed.(type) {
	case *ecdsa.PublicKey:
		check := func(_ crypto.Hash, sum, sig []byte) bool { return ecdsa.VerifyASN1(key, sum, sig) }
		switch bits := key.Curve.Params().BitSize; {
		case bits > 384: // cosign has hashed by SHA-256 whatever the curve
			return hashed(check, crypto.SHA256, crypto.SHA512), nil
		case bits > 256:
			return hashed(check, crypto.SHA256, crypto.SHA384), nil
		case bits < 256:
			return nil, errors.New("the curve of the key is too small")
		}
		return hashed(check, crypto.SHA256), nil
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return nil, fmt.Errorf("the key has fewer than %d bits", minRSA)
		}
		return hashed(func(h crypto.Hash, sum, sig []byte) bool { return rsa.VerifyPKCS1v15(key, h, sum, sig) == nil }, crypto.SHA256), nil
	case ed25519.PublicKey:
		return func(message, sig []byte) bool {
			return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, sig)
		}, nil
	}
	return nil, fmt.Errorf("keys of the type %T are not supported", parsed)
}

func (keys keyTrust) signed(message, signature []byte) bool {
	return slices.ContainsFunc(keys, func(k publicKey) bool { return k(message, signature) })
}

// layer implements trust.
func (keys keyTrust) layer(payload []byte, annotations map[string]string) error {
	sig, err := base64.StdEncoding.DecodeString(annotations[signatureAnnotation])
	if err != nil || len(sig) == 0 {
		return errors.New("a signature is not base64")
	}
	if !keys.signed(payload, sig) {
		return errors.New("a signature is of another key, or what it signs was changed")
	}
	return nil
}

// bundle implements trust: the envelope's signature must be good, and what it
// holds must be a statement about this very digest.
func (keys keyTrust) bundle(text []byte, digest string) (predicate string, err error) {
	var b struct {
		Envelope struct {
			Payload    []byte `json:"payload"`
			Type       string `json:"payloadType"`
			Signatures []struct {
				Sig []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(text, &b); err != nil {
		return "", errors.New("a bundle is no JSON of that form")
	}
	e := b.Envelope
	if e.Type != statementType || len(e.Signatures) != 1 {
		return "", errors.New("a bundle holds no signed statement")
	}
	// https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
	signed := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(e.Type), e.Type, len(e.Payload), e.Payload)
	if !keys.signed(signed, e.Signatures[0].Sig) {
		return "", errors.New("a bundle is of another key, or what it signs was changed")
	}
	var statement struct {
		Predicate string `json:"predicateType"`
		Subject   []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(e.Payload, &statement); err != nil {
		return "", errors.New("the statement of a bundle is no JSON of that form")
	}
	for _, s := range statement.Subject {
		if "sha256:"+s.Digest["sha256"] == digest {
			return statement.Predicate, nil
		}
	}
	return "", errors.New("a bundle is the signature of another digest")
}
