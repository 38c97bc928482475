package signature

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"
)

const (
	sshBegin = "-----BEGIN SSH SIGNATURE-----"
	sshEnd   = "-----END SSH SIGNATURE-----"
	// sshMagic begins both a signature and what is signed; see PROTOCOL.sshsig
	// of OpenSSH.
	sshMagic     = "SSHSIG"
	sshNamespace = "git"
)

// addSSH reads public keys, one a line. Restrictions before a key, such as
// those of an allowed-signers file, are refused: to pass over them would be to
// trust more than is written.
func (k *Keys) addSSH(text []byte) error {
	for n, line := range bytes.Split(text, []byte{'\n'}) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, _, options, _, err := ssh.ParseAuthorizedKey(line)
		switch {
		case err != nil:
			return fmt.Errorf("line %d is no SSH public key", n+1)
		case len(options) > 0:
			return fmt.Errorf("line %d has options before the key: write the key alone, as in a .pub file", n+1)
		}
		if err := usable(key.Type()); err != nil {
			return fmt.Errorf("line %d: %w", n+1, err)
		}
		k.ssh = append(k.ssh, key)
	}
	return nil
}

// usable refuses kinds of key that no signature is taken of: certificates,
// whose authority nobody named, and DSA.
func usable(kind string) error {
	switch kind {
	case ssh.KeyAlgoRSA, ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
		ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return nil
	}
	return fmt.Errorf("keys of the kind %q are not supported", kind)
}

// sshSignature is the content of an armored signature, after sshMagic.
type sshSignature struct {
	Version   uint32
	PublicKey string
	Namespace string
	Reserved  string
	Hash      string
	Signature string
}

// sshSigned is what is signed, after sshMagic.
type sshSigned struct {
	Namespace string
	Reserved  string
	Hash      string
	Digest    string
}

func (k Keys) verifySSH(o Object) (string, error) {
	sig, err := parseSSH(o.Signature)
	if err != nil {
		return "", err
	}
	// The key that made it comes along; it counts only if it is one of ours.
	var key ssh.PublicKey
	for _, trusted := range k.ssh {
		if string(trusted.Marshal()) == sig.PublicKey {
			key = trusted
		}
	}
	if key == nil {
		return "", ErrUnknownKey
	}
	var digest []byte
	switch sig.Hash {
	case "sha256":
		sum := sha256.Sum256(o.Payload)
		digest = sum[:]
	case "sha512":
		sum := sha512.Sum512(o.Payload)
		digest = sum[:]
	default:
		return "", errors.New("the SSH signature uses an unknown hash")
	}
	var inner ssh.Signature
	if err := ssh.Unmarshal([]byte(sig.Signature), &inner); err != nil {
		return "", errors.New("the SSH signature cannot be read")
	}
	switch {
	case key.Type() == ssh.KeyAlgoRSA && inner.Format != ssh.KeyAlgoRSASHA256 && inner.Format != ssh.KeyAlgoRSASHA512:
		return "", errors.New("the SSH signature uses SHA-1")
	case key.Type() == ssh.KeyAlgoSKED25519, key.Type() == ssh.KeyAlgoSKECDSA256:
		const present = 1 // flag: someone touched the security key
		if len(inner.Rest) == 0 || inner.Rest[0]&present == 0 {
			return "", errors.New("the SSH signature was made by a security key that nobody touched")
		}
	}
	signed := append([]byte(sshMagic), ssh.Marshal(sshSigned{sig.Namespace, sig.Reserved, sig.Hash, string(digest)})...)
	if err := key.Verify(signed, &inner); err != nil {
		return "", errors.New("the SSH signature is not one of this content")
	}
	return ssh.FingerprintSHA256(key), nil
}

func parseSSH(armored []byte) (sshSignature, error) {
	unreadable := errors.New("the SSH signature cannot be read")
	text, ok := bytes.CutPrefix(bytes.TrimSpace(armored), []byte(sshBegin))
	if !ok {
		return sshSignature{}, unreadable
	}
	if text, ok = bytes.CutSuffix(text, []byte(sshEnd)); !ok {
		return sshSignature{}, unreadable
	}
	blob, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(text), nil)))
	if err != nil {
		return sshSignature{}, unreadable
	}
	body, ok := bytes.CutPrefix(blob, []byte(sshMagic))
	var sig sshSignature
	if !ok || ssh.Unmarshal(body, &sig) != nil {
		return sshSignature{}, unreadable
	}
	switch {
	case sig.Version != 1:
		return sshSignature{}, fmt.Errorf("the SSH signature has version %d", sig.Version)
	case sig.Namespace != sshNamespace:
		return sshSignature{}, fmt.Errorf("the SSH signature was made for another purpose than Git: %q", sig.Namespace)
	}
	return sig, nil
}
