package oci

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that signatures are made of
	_ "crypto/sha512"
	"crypto/x509"
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

// publicKey checks whether a signature of a message is its own.
type publicKey func(message, signature []byte) bool

// parseKeys reads PEM files with public keys. One that is none is an error: to
// leave it out could hide that it is not trusted.
func parseKeys(files map[string][]byte) ([]publicKey, error) {
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
	var out []publicKey
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

func signedBy(keys []publicKey, message, signature []byte) bool {
	return slices.ContainsFunc(keys, func(k publicKey) bool { return k(message, signature) })
}
