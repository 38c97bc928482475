package sops

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	pgparmor "github.com/ProtonMail/go-crypto/openpgp/armor"
)

// Keys open files. A nil *Keys, like one without keys, opens none. It never
// shows what it holds.
type Keys struct {
	age     []age.Identity
	pgp     openpgp.EntityList
	ignored []string // names of what was there and is not supported
}

func (*Keys) String() string       { return "<keys>" }
func (*Keys) GoString() string     { return "<keys>" }
func (*Keys) LogValue() slog.Value { return slog.StringValue("<keys>") }

// ParseKeys reads keys by name, as Flux has them in a Secret: *.agekey hold
// age identities, *.asc armored PGP keys without a passphrase. Errors name
// the entry and never what it holds.
func ParseKeys(data map[string][]byte) (*Keys, error) {
	k := &Keys{}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		switch path.Ext(name) {
		case ".agekey":
			ids, err := age.ParseIdentities(strings.NewReader(string(data[name])))
			if err != nil {
				return nil, fmt.Errorf("%s holds no age identities", name) // the error may quote them
			}
			k.age = append(k.age, ids...)
		case ".asc":
			entities, err := openpgp.ReadArmoredKeyRing(strings.NewReader(string(data[name])))
			if err != nil {
				return nil, fmt.Errorf("%s holds no armored PGP keys", name)
			}
			for _, e := range entities {
				if e.PrivateKey == nil {
					return nil, fmt.Errorf("%s holds a public PGP key; the private one is needed", name)
				}
				if e.PrivateKey.Encrypted {
					return nil, fmt.Errorf("%s holds a PGP key with a passphrase; export it without", name)
				}
			}
			k.pgp = append(k.pgp, entities...)
		default:
			if strings.HasPrefix(name, "sops.") {
				k.ignored = append(k.ignored, name)
			}
		}
	}
	return k, nil
}

// Ignored names entries for key services that are not supported.
func (k *Keys) Ignored() []string { return k.ignored }

// dataKey finds the key that the values of a file are encrypted with.
func (k *Keys) dataKey(meta *metadata) ([]byte, error) {
	if len(meta.KeyGroups) == 0 {
		return nil, errors.New("the file names no key that it is encrypted for")
	}
	need := 1
	if len(meta.KeyGroups) > 1 {
		if need = meta.ShamirThreshold; need <= 0 {
			need = len(meta.KeyGroups)
		}
	}
	var parts [][]byte
	var closed []string
	for _, g := range meta.KeyGroups {
		if part := k.part(g); part != nil {
			parts = append(parts, part)
		} else {
			closed = append(closed, g.names())
		}
	}
	if len(parts) < need {
		return nil, fmt.Errorf("it is encrypted for %s, which none of the given keys opens", strings.Join(closed, "; and for "))
	}
	if len(meta.KeyGroups) == 1 {
		return parts[0], nil
	}
	return combine(parts)
}

// maxDataKey bounds a data key, in bytes; it has 32, or 33 as a part.
const maxDataKey = 1024

// part opens one group, nil if no key does.
func (k *Keys) part(g keyGroup) []byte {
	if k == nil {
		return nil
	}
	for _, to := range g.Age {
		if len(k.age) == 0 {
			break
		}
		r, err := age.Decrypt(agearmor.NewReader(strings.NewReader(to.Enc)), k.age...)
		if err != nil {
			continue
		}
		if key, err := io.ReadAll(io.LimitReader(r, maxDataKey)); err == nil {
			return key
		}
	}
	for _, to := range g.PGP {
		if len(k.pgp) == 0 {
			break
		}
		block, err := pgparmor.Decode(strings.NewReader(to.Enc))
		if err != nil {
			continue
		}
		message, err := openpgp.ReadMessage(block.Body, k.pgp, nil, nil)
		if err != nil {
			continue
		}
		if key, err := io.ReadAll(io.LimitReader(message.UnverifiedBody, maxDataKey)); err == nil {
			return key
		}
	}
	return nil
}

// combine puts a key together from parts, as Shamir's scheme over the field of
// 256 elements has it: the last byte of a part is its x, and each other byte
// the value there of a polynomial whose value at 0 is a byte of the key.
func combine(parts [][]byte) ([]byte, error) {
	size := len(parts[0])
	seen := map[byte]bool{}
	for _, p := range parts {
		if len(p) != size || size < 2 || p[size-1] == 0 || seen[p[size-1]] {
			return nil, errors.New("the parts of the data key do not fit together")
		}
		seen[p[size-1]] = true
	}
	key := make([]byte, size-1)
	for i, p := range parts {
		weight := byte(1) // of this part at 0, after Lagrange
		for j, other := range parts {
			if i != j {
				weight = multiply(weight, multiply(other[size-1], inverse(other[size-1]^p[size-1])))
			}
		}
		for b := range key {
			key[b] ^= multiply(weight, p[b])
		}
	}
	return key, nil
}

// multiply in the field of 256 elements that AES uses.
func multiply(a, b byte) byte {
	var product byte
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			product ^= a
		}
		carry := a&0x80 != 0
		a <<= 1
		if carry {
			a ^= 0x1b
		}
	}
	return product
}

// inverse is a to the power of 254.
func inverse(a byte) byte {
	result := byte(1)
	for range 254 {
		result = multiply(result, a)
	}
	return result
}
