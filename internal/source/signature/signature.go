// Package signature verifies the signatures of Git commits and tags, made with
// PGP or SSH keys, against public keys that it is handed.
//
// It works on the bytes of an object as they are stored: what was signed is
// never put together anew from parsed fields, so that nothing that a parser
// passes over can ride along. It is pure, trusts none of its input and must
// not know where objects or keys come from.
package signature

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"golang.org/x/crypto/ssh"
)

// Limits of what is looked at.
const (
	maxSignature = 64 << 10 // bytes of an armored signature
	maxKeys      = 1000
)

// ErrUnsigned says that an object has no signature.
var ErrUnsigned = errors.New("it is not signed")

// ErrUnknownKey says that none of the keys made the signature.
var ErrUnknownKey = errors.New("it was signed with none of the trusted keys")

// Keys are the public keys that are trusted. The zero value trusts none.
type Keys struct {
	pgp openpgp.EntityList
	ssh []ssh.PublicKey
}

// ParseKeys reads files by name, as a Secret for Flux holds them: *.sshpub
// are SSH public keys, one a line; all others are armored PGP keyrings. One
// that cannot be read is an error: it may be the one that was meant.
func ParseKeys(files map[string][]byte) (Keys, error) {
	var keys Keys
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var err error
		if strings.HasSuffix(name, ".sshpub") {
			err = keys.addSSH(files[name])
		} else {
			err = keys.addPGP(files[name])
		}
		if err != nil {
			return Keys{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	switch n := len(keys.pgp) + len(keys.ssh); {
	case n == 0:
		return Keys{}, errors.New("there is no key")
	case n > maxKeys:
		return Keys{}, fmt.Errorf("there are more than %d keys", maxKeys)
	}
	return keys, nil
}

// Object is a commit or tag taken apart.
type Object struct {
	Payload   []byte // what was signed
	Signature []byte // armored
}

// The headers of a commit that hold a signature of it. The second, for
// repositories with SHA-256 ids, is no part of what the first signs.
const (
	commitHeader = "gpgsig"
	otherHeader  = "gpgsig-sha256"
)

// SplitCommit takes the signature out of a commit object.
func SplitCommit(raw []byte) (Object, error) {
	var o Object
	var found, within string // within: the header whose continuation lines follow
	rest := raw
	for len(rest) > 0 {
		line, after, _ := bytes.Cut(rest, []byte{'\n'})
		if len(line) == 0 { // the message follows
			break
		}
		whole := rest[:len(rest)-len(after)]
		rest = after
		header, text, _ := strings.Cut(string(line), " ")
		switch {
		case header == "" && within == commitHeader:
			o.Signature = append(append(o.Signature, text...), '\n')
		case header == "" && within == otherHeader:
		case header == commitHeader && found != "":
			return Object{}, errors.New("it has several signatures")
		case header == commitHeader:
			found, within = header, header
			o.Signature = append(append(o.Signature, text...), '\n')
		case header == otherHeader:
			within = header
		default:
			within = ""
			o.Payload = append(o.Payload, whole...)
		}
	}
	o.Payload = append(o.Payload, rest...)
	if found == "" {
		return o, ErrUnsigned
	}
	return o, nil
}

// begins are the first lines of signatures, by which Git finds that of a tag.
var begins = []string{sshBegin, pgpBegin, "-----BEGIN PGP MESSAGE-----", "-----BEGIN SIGNED MESSAGE-----"}

// SplitTag takes the signature off a tag object: it is at the end of the
// message.
func SplitTag(raw []byte) (Object, error) {
	at := -1
	for offset := 0; offset < len(raw); {
		line, _, _ := bytes.Cut(raw[offset:], []byte{'\n'})
		for _, begin := range begins {
			if bytes.HasPrefix(line, []byte(begin)) {
				at = offset
			}
		}
		offset += len(line) + 1
	}
	if at < 0 {
		return Object{Payload: raw}, ErrUnsigned
	}
	return Object{Payload: raw[:at], Signature: raw[at:]}, nil
}

// Verify checks a signature and gives the key that made it: the id of a PGP
// key, or the fingerprint of an SSH key. now is the time at which keys and
// signature must be valid.
func (k Keys) Verify(o Object, now time.Time) (key string, err error) {
	// The bytes come from whoever may push; the PGP library is large.
	defer func() {
		if r := recover(); r != nil {
			key, err = "", errors.New("the signature cannot be read")
		}
	}()
	switch {
	case len(o.Signature) > maxSignature:
		return "", fmt.Errorf("the signature is longer than %d bytes", maxSignature)
	case bytes.HasPrefix(o.Signature, []byte(sshBegin)):
		return k.verifySSH(o)
	case bytes.HasPrefix(o.Signature, []byte(pgpBegin)):
		return k.verifyPGP(o, now)
	}
	return "", errors.New("the signature is neither a PGP nor an SSH signature")
}
