package signature

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const (
	pgpBegin = "-----BEGIN PGP SIGNATURE-----"
	keyBegin = "-----BEGIN "
)

// addPGP reads the blocks of an armored keyring.
func (k *Keys) addPGP(text []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("the PGP keys cannot be read")
		}
	}()
	at := bytes.Index(text, []byte(keyBegin))
	if at < 0 {
		return errors.New("there is no armored PGP public key")
	}
	for rest := text[at:]; len(rest) > 0; {
		block := rest
		next := bytes.Index(rest[len(keyBegin):], []byte("\n"+keyBegin))
		if next >= 0 {
			block = rest[:len(keyBegin)+next+1]
		}
		rest = rest[len(block):]
		armored, err := armor.Decode(bytes.NewReader(block))
		if err != nil {
			return fmt.Errorf("the armor of a PGP key cannot be read: %w", err)
		}
		if armored.Type != openpgp.PublicKeyType {
			return fmt.Errorf("it holds a %s: public keys are wanted", armored.Type)
		}
		entities, err := openpgp.ReadKeyRing(armored.Body)
		if err != nil {
			return fmt.Errorf("a PGP key cannot be read: %w", err)
		}
		k.pgp = append(k.pgp, entities...)
	}
	return nil
}

func (k Keys) verifyPGP(o Object, now time.Time) (string, error) {
	armored, err := armor.Decode(bytes.NewReader(o.Signature))
	if err != nil || armored.Type != openpgp.SignatureType {
		return "", errors.New("the PGP signature cannot be read")
	}
	body, err := io.ReadAll(io.LimitReader(armored.Body, maxSignature))
	if err != nil {
		return "", errors.New("the PGP signature cannot be read")
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	sig, signer, err := openpgp.VerifyDetachedSignature(k.pgp, bytes.NewReader(o.Payload), bytes.NewReader(body), config)
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "", ErrUnknownKey
	case errors.Is(err, pgperrors.ErrKeyExpired) && signer != nil && signer.PrimaryKey.CreationTime.After(now):
		return "", fmt.Errorf("the key %s is not valid yet", signer.PrimaryKey.KeyIdString())
	case errors.Is(err, pgperrors.ErrKeyExpired) && signer != nil:
		return "", fmt.Errorf("the key %s has expired", signer.PrimaryKey.KeyIdString())
	case errors.Is(err, pgperrors.ErrSignatureExpired):
		return "", errors.New("the signature has expired, or is of the future")
	case errors.Is(err, pgperrors.ErrKeyRevoked) && signer != nil:
		return "", fmt.Errorf("the key %s is revoked", signer.PrimaryKey.KeyIdString())
	case err != nil:
		return "", fmt.Errorf("the PGP signature is not valid: %w", err)
	case sig.SigType != packet.SigTypeBinary: // the others leave out some of the bytes
		return "", errors.New("the PGP signature is not one of binary data")
	}
	return signer.PrimaryKey.KeyIdString(), nil
}
