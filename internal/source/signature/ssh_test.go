package signature

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// armorSSH is a signature as ssh-keygen writes it.
func armorSSH(key ssh.PublicKey, sig sshSignature, inner *ssh.Signature) []byte {
	sig.PublicKey, sig.Signature = string(key.Marshal()), string(ssh.Marshal(inner))
	blob := append([]byte(sshMagic), ssh.Marshal(sig)...)
	return []byte(sshBegin + "\n" + base64.StdEncoding.EncodeToString(blob) + "\n" + sshEnd + "\n")
}

// toSign is what a signature of payload is made of.
func toSign(payload []byte, namespace string) []byte {
	sum := sha512.Sum512(payload)
	return append([]byte(sshMagic), ssh.Marshal(sshSigned{namespace, "", "sha512", string(sum[:])})...)
}

// TestSSHSignatures has such as stock tools do not make, or not without a device.
func TestSSHSignatures(t *testing.T) {
	payload := []byte("tree\n")
	whole := sshSignature{Version: 1, Namespace: "git", Hash: "sha512"}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	by := func(algorithm, namespace string) *ssh.Signature {
		sig, err := signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, toSign(payload, namespace), algorithm)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	// A security key signs what it saw with: whether it was touched.
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	device, err := ssh.ParsePublicKey(ssh.Marshal(struct{ Name, Key, Application string }{ssh.KeyAlgoSKED25519, string(public), "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	touched := func(flags byte) *ssh.Signature {
		application, content := sha256.Sum256([]byte("ssh:")), sha256.Sum256(toSign(payload, "git"))
		rest := binary.BigEndian.AppendUint32([]byte{flags}, 7)
		blob := append(append(append([]byte{}, application[:]...), rest...), content[:]...)
		return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(private, blob), Rest: rest}
	}
	keys, err := ParseKeys(map[string][]byte{"a.sshpub": append(ssh.MarshalAuthorizedKey(signer.PublicKey()), ssh.MarshalAuthorizedKey(device)...)})
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*sshSignature)) sshSignature {
		sig := whole
		change(&sig)
		return sig
	}
	for name, test := range map[string]struct {
		armored []byte
		want    string
	}{
		"rsa":           {armorSSH(signer.PublicKey(), whole, by(ssh.KeyAlgoRSASHA512, "git")), ""},
		"rsa, SHA-1":    {armorSSH(signer.PublicKey(), whole, by(ssh.KeyAlgoRSA, "git")), "SHA-1"},
		"device":        {armorSSH(device, whole, touched(1)), ""},
		"untouched":     {armorSSH(device, whole, touched(0)), "nobody touched"},
		"claims touch":  {armorSSH(device, whole, func() *ssh.Signature { s := touched(0); s.Rest[0] = 1; return s }()), "not one of this content"},
		"another key":   {armorSSH(device, whole, by(ssh.KeyAlgoRSASHA512, "git")), "nobody touched"},
		"namespace":     {armorSSH(signer.PublicKey(), with(func(s *sshSignature) { s.Namespace = "file" }), by(ssh.KeyAlgoRSASHA512, "file")), "another purpose"},
		"for Git after": {armorSSH(signer.PublicKey(), whole, by(ssh.KeyAlgoRSASHA512, "file")), "not one of this content"},
		"version":       {armorSSH(signer.PublicKey(), with(func(s *sshSignature) { s.Version = 2 }), by(ssh.KeyAlgoRSASHA512, "git")), "version 2"},
		"hash":          {armorSSH(signer.PublicKey(), with(func(s *sshSignature) { s.Hash = "md5" }), by(ssh.KeyAlgoRSASHA512, "git")), "unknown hash"},
		"hash mixed up": {armorSSH(signer.PublicKey(), with(func(s *sshSignature) { s.Hash = "sha256" }), by(ssh.KeyAlgoRSASHA512, "git")), "not one of this content"},
		"cut off":       {[]byte(sshBegin + "\nU1NIU0lH\n"), "cannot be read"},
		"no content":    {[]byte(sshBegin + "\n" + sshEnd), "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := keys.Verify(Object{payload, test.armored}, time.Now())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %q, %v, want %q", key, err, test.want)
			}
		})
	}
}
