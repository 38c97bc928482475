package signature

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const (
	tree    = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
	author  = "author A <a@example.com> 1700000000 +0000\ncommitter A <a@example.com> 1700000000 +0000\n"
	message = "\nfirst\n\n gpgsig is a word here\n"
)

var start = time.Unix(1_700_000_000, 0)

func entity(t testing.TB, life time.Duration) *openpgp.Entity {
	t.Helper()
	e, err := openpgp.NewEntity("A", "", "a@example.com", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Time: func() time.Time { return start }, KeyLifetimeSecs: uint32(life.Seconds())})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func public(t testing.TB, e *openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Serialize(w), w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func trust(t testing.TB, es ...*openpgp.Entity) Keys {
	t.Helper()
	files := map[string][]byte{}
	for i, e := range es {
		files[string(rune('a'+i))+".asc"] = public(t, e)
	}
	keys, err := ParseKeys(files)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func sign(t testing.TB, e *openpgp.Entity, payload string, config *packet.Config) string {
	t.Helper()
	if config == nil {
		config = &packet.Config{Time: func() time.Time { return start }}
	}
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, e, strings.NewReader(payload), config); err != nil {
		t.Fatal(err)
	}
	return b.String() + "\n"
}

// signedCommit puts a signature into a commit, as Git does.
func signedCommit(head, sig, message string) []byte {
	return []byte(head + "gpgsig " + strings.ReplaceAll(strings.TrimSpace(sig), "\n", "\n ") + "\n" + message)
}

func TestPGP(t *testing.T) {
	e := entity(t, 24*time.Hour)
	payload := tree + author + message
	sig := sign(t, e, payload, nil)
	later := sign(t, e, payload, &packet.Config{Time: func() time.Time { return start.Add(20 * time.Hour) }})
	good := signedCommit(tree+author, sig, message)
	now := start.Add(time.Hour)
	for name, test := range map[string]struct {
		keys   Keys
		commit []byte
		now    time.Time
		want   string // part of the error
	}{
		"good":               {keys: trust(t, entity(t, 0), e), commit: good},
		"wrong key":          {keys: trust(t, entity(t, 0)), commit: good, want: ErrUnknownKey.Error()},
		"no key":             {commit: good, want: ErrUnknownKey.Error()},
		"expired key":        {keys: trust(t, e), commit: good, now: start.Add(25 * time.Hour), want: "has expired"},
		"unsigned":           {keys: trust(t, e), commit: []byte(payload), want: ErrUnsigned.Error()},
		"signature in text":  {keys: trust(t, e), commit: []byte(tree + author + "\ngpgsig " + sig), want: ErrUnsigned.Error()},
		"another tree":       {keys: trust(t, e), commit: signedCommit(strings.Replace(tree, "4b", "4c", 1)+author, sig, message), want: "not valid"},
		"a further tree":     {keys: trust(t, e), commit: signedCommit(tree+tree+author, sig, message), want: "not valid"},
		"another message":    {keys: trust(t, e), commit: signedCommit(tree+author, sig, "\nsecond\n"), want: "not valid"},
		"two signatures":     {keys: trust(t, e), commit: signedCommit(string(bytes.TrimSuffix(good, []byte(message))), sig, message), want: "several"},
		"hidden in a header": {keys: trust(t, e), commit: signedCommit(tree+author+"x y\n "+tree, sig, message), want: "not valid"},
		"key of the future":  {keys: trust(t, e), commit: good, now: start.Add(-48 * time.Hour), want: "not valid yet"},
		"made in the future": {keys: trust(t, e), commit: signedCommit(tree+author, later, message), want: "of the future"},
		"no armor":           {keys: trust(t, e), commit: signedCommit(tree+author, "LS0tLS1C", message), want: "neither"},
		"broken armor":       {keys: trust(t, e), commit: signedCommit(tree+author, pgpBegin, message), want: "cannot be read"},
		"S/MIME":             {keys: trust(t, e), commit: signedCommit(tree+author, begins[3]+"\nAAAA\n", message), want: "neither"},
		"huge":               {keys: trust(t, e), commit: signedCommit(tree+author, pgpBegin+strings.Repeat("\nAAAA", maxSignature), message), want: "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			at := test.now
			if at.IsZero() {
				at = now
			}
			o, err := SplitCommit(test.commit)
			key := ""
			if err == nil {
				key, err = test.keys.Verify(o, at)
			}
			switch {
			case test.want == "" && (err != nil || key != e.PrimaryKey.KeyIdString()):
				t.Errorf("got %q, %v", key, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %q, %v, want %q", key, err, test.want)
			}
		})
	}
}

func TestPGPSignatureOfText(t *testing.T) {
	e := entity(t, 0)
	config := &packet.Config{Time: func() time.Time { return start }, DefaultHash: crypto.SHA256}
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSignText(&b, e, strings.NewReader("a\n"), config); err != nil {
		t.Fatal(err)
	}
	// Line ends are not part of such a signature.
	if key, err := trust(t, e).Verify(Object{Payload: []byte("a\r\n"), Signature: b.Bytes()}, start); err == nil {
		t.Errorf("verified, by %s", key)
	}
}

func TestRevokedKey(t *testing.T) {
	e := entity(t, 0)
	sig := sign(t, e, "a", nil)
	if err := e.RevokeKey(packet.KeyCompromised, "stolen", &packet.Config{Time: func() time.Time { return start }}); err != nil {
		t.Fatal(err)
	}
	_, err := trust(t, e).Verify(Object{[]byte("a"), []byte(sig)}, start.Add(time.Hour))
	if err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Error(err)
	}
}

func TestSplitTag(t *testing.T) {
	head := "object 4b825dc642cb6eb9a060e54bf8d69288fbee4904\ntype commit\ntag v1\ntagger A <a@example.com> 1 +0000\n\none\n"
	e := entity(t, 0)
	sig := sign(t, e, head, nil)
	o, err := SplitTag([]byte(head + sig))
	if err != nil || string(o.Payload) != head {
		t.Fatalf("%q, %v", o.Payload, err)
	}
	if _, err := trust(t, e).Verify(o, start); err != nil {
		t.Error(err)
	}
	if _, err := SplitTag([]byte(head)); !errors.Is(err, ErrUnsigned) {
		t.Error(err)
	}
	// Only what stands before the last signature counts as signed.
	o, err = SplitTag([]byte(head + sig + "more\n" + sig))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust(t, e).Verify(o, start); err == nil {
		t.Error("text between two signatures was taken for signed")
	}
}

func TestParseKeys(t *testing.T) {
	key := "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGb1xX3dHXwXWbhb8pK0wXcRkVLjpZ8ZkB5dNQnlwGQm me@here"
	for name, test := range map[string]struct {
		file, text, want string
	}{
		"ssh":         {"a.sshpub", "# mine\n\n" + key + "\n", ""},
		"no ssh key":  {"a.sshpub", "hello\n", "line 1 is no SSH public key"},
		"restricted":  {"a.sshpub", "namespaces=\"file\" " + key, "options before the key"},
		"principal":   {"a.sshpub", "me@here " + key, "options before the key"},
		"nothing":     {"a.sshpub", "# none\n", "there is no key"},
		"pgp is not":  {"a.asc", key, "no armored PGP public key"},
		"other names": {"a.pub", key, "no armored PGP public key"},
		"broken":      {"a.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n", "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseKeys(map[string][]byte{test.file: []byte(test.text)})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	e := entity(f, 0)
	keys := trust(f, e)
	payload := tree + author + message
	good := signedCommit(tree+author, sign(f, e, payload, nil), message)
	f.Add(good)
	f.Add(signedCommit(tree+author, sshBegin+"\nU1NIU0lH\n"+sshEnd, message))
	f.Fuzz(func(t *testing.T, raw []byte) {
		o, err := SplitCommit(raw)
		if err != nil {
			return
		}
		if _, err := keys.Verify(o, start.Add(time.Hour)); err == nil && string(o.Payload) != payload {
			t.Errorf("another content was verified: %q", o.Payload)
		}
		if o, err := SplitTag(raw); err == nil {
			_, _ = keys.Verify(o, start)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add(public(f, entity(f, 0)))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = ParseKeys(map[string][]byte{"a.asc": text})
		_, _ = ParseKeys(map[string][]byte{"a.sshpub": text})
	})
}
