package signature

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signer is a repository in which stock git signs, with keys that stock gpg or
// ssh-keygen made.
type signer struct {
	t   *testing.T
	dir string
	env []string
}

func newSigner(t *testing.T, tools ...string) *signer {
	t.Helper()
	for _, tool := range append(tools, "git") {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	home, err := os.MkdirTemp("", "sig") // the path of gpg's socket must be short
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{t: t, dir: filepath.Join(home, "repo"), env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GNUPGHOME=" + home, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com",
	}}
	t.Cleanup(func() {
		stop := exec.Command("gpgconf", "--kill", "all")
		stop.Env = s.env
		_ = stop.Run() // not there without gpg
		os.RemoveAll(home)
	})
	s.run("git", "init", "-q", s.dir)
	return s
}

func (s *signer) run(name string, args ...string) []byte {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = s.env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s %v: %v\n%s", name, args, err, errs.String())
	}
	return out
}

func (s *signer) git(args ...string) []byte {
	s.t.Helper()
	return s.run("git", append([]string{"-C", s.dir}, args...)...)
}

// commitAndTag gives a signed commit and a signed tag v1 of it.
func (s *signer) commitAndTag() (commit, tag []byte) {
	s.t.Helper()
	s.git("commit", "-q", "-S", "--allow-empty", "-m", "first\n\nwith a body")
	s.git("tag", "-s", "v1", "-m", "one\n\nmore")
	return s.git("cat-file", "commit", "HEAD"), s.git("cat-file", "tag", "v1")
}

func (s *signer) check(keys Keys, want string) {
	s.t.Helper()
	commit, tag := s.commitAndTag()
	for name, split := range map[string]func() (Object, error){
		"commit": func() (Object, error) { return SplitCommit(commit) },
		"tag":    func() (Object, error) { return SplitTag(tag) },
	} {
		o, err := split()
		if err != nil {
			s.t.Fatalf("%s: %v", name, err)
		}
		key, err := keys.Verify(o, time.Now())
		if err != nil || !strings.Contains(key, want) {
			s.t.Errorf("%s: got %q, %v; want %q", name, key, err, want)
		}
		o.Payload = append(bytes.Clone(o.Payload), '\n')
		if key, err := keys.Verify(o, time.Now()); err == nil {
			s.t.Errorf("%s: verified with another content, by %s", name, key)
		}
	}
}

func TestGPG(t *testing.T) {
	s := newSigner(t, "gpg")
	quick := func(user, kind, until string) string {
		s.run("gpg", "--batch", "--passphrase", "", "--quick-generate-key", user, kind, "sign", until)
		for line := range strings.Lines(string(s.run("gpg", "--with-colons", "--list-keys", user))) {
			if f := strings.Split(line, ":"); f[0] == "pub" {
				return f[4]
			}
		}
		t.Fatal("no key")
		return ""
	}
	for _, kind := range []string{"ed25519", "rsa3072"} {
		t.Run(kind, func(t *testing.T) {
			id := quick(kind+"@example.com", kind, "1y")
			s.git("config", "user.signingkey", id)
			keys, err := ParseKeys(map[string][]byte{"author.asc": s.run("gpg", "--armor", "--export", id)})
			if err != nil {
				t.Fatal(err)
			}
			s.t = t
			s.check(keys, id)
			s.git("tag", "-d", "v1")
		})
	}
	// Several keyrings in one file, and a file of any name.
	all := append(s.run("gpg", "--armor", "--export", "rsa3072@example.com"), s.run("gpg", "--armor", "--export", "ed25519@example.com")...)
	if keys, err := ParseKeys(map[string][]byte{"keys": all}); err != nil || len(keys.pgp) != 2 {
		t.Errorf("got %d keys, %v", len(keys.pgp), err)
	}
	private := s.run("gpg", "--batch", "--passphrase", "", "--armor", "--export-secret-keys", "ed25519@example.com")
	if _, err := ParseKeys(map[string][]byte{"a.asc": private}); err == nil || !strings.Contains(err.Error(), "public keys are wanted") {
		t.Errorf("a private key: %v", err)
	}
}

func TestSSHKeygen(t *testing.T) {
	for _, kind := range []string{"ed25519", "rsa", "ecdsa"} {
		t.Run(kind, func(t *testing.T) {
			s := newSigner(t, "ssh-keygen")
			file := filepath.Join(filepath.Dir(s.dir), "key")
			s.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "me@here", "-f", file)
			public, err := os.ReadFile(file + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			s.git("config", "gpg.format", "ssh")
			s.git("config", "user.signingkey", file)
			keys, err := ParseKeys(map[string][]byte{"author.sshpub": public})
			if err != nil {
				t.Fatal(err)
			}
			s.check(keys, "SHA256:")

			// Made for files, with the same key, over the same bytes.
			commit := s.git("cat-file", "commit", "HEAD")
			o, err := SplitCommit(commit)
			if err != nil {
				t.Fatal(err)
			}
			payload := filepath.Join(filepath.Dir(s.dir), "payload")
			if err := os.WriteFile(payload, o.Payload, 0o600); err != nil {
				t.Fatal(err)
			}
			s.run("ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", file, payload)
			if o.Signature, err = os.ReadFile(payload + ".sig"); err != nil {
				t.Fatal(err)
			}
			if _, err := keys.Verify(o, time.Now()); err == nil || !strings.Contains(err.Error(), "another purpose") {
				t.Errorf("a signature of a file: %v", err)
			}
			// Not trusted any more.
			s.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file+"2")
			other, err := os.ReadFile(file + "2.pub")
			if err != nil {
				t.Fatal(err)
			}
			if keys, err = ParseKeys(map[string][]byte{"a.sshpub": other}); err != nil {
				t.Fatal(err)
			}
			o, _ = SplitCommit(commit)
			if _, err := keys.Verify(o, time.Now()); !errors.Is(err, ErrUnknownKey) {
				t.Errorf("an unknown key: %v", err)
			}
		})
	}
}
