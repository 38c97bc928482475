package source

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
)

// signedOrigin is an origin whose commits and tags can be signed by stock git
// with the key it returns.
func signedOrigin(t *testing.T) (o *origin, public []byte) {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip(err)
	}
	o = newOrigin(t)
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	o.run("config", "gpg.format", "ssh")
	o.run("config", "user.signingkey", key)
	return o, public
}

// sign commits a file and signs the commit.
func (o *origin) sign(message, text string) string {
	o.t.Helper()
	o.commit(message, map[string]string{"a": text})
	o.run("commit", "--quiet", "--amend", "-S", "-m", message)
	return o.run("rev-parse", "HEAD")
}

// object writes an object as it is.
func (o *origin) object(kind, text string) string {
	o.t.Helper()
	name := filepath.Join(o.t.TempDir(), "object")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return o.run("hash-object", "-t", kind, "-w", "--literally", name)
}

func (o *origin) raw(kind, rev string) string { return o.run("cat-file", kind, rev) + "\n" }

func TestVerifyCommit(t *testing.T) {
	o, public := signedOrigin(t)
	s := newStore(t)
	src := o.source(app.GitRef{Branch: "main"})
	src.Verify = &app.Verification{Commit: true, Keys: map[string][]byte{"ada.sshpub": public}}
	good := o.sign("good", "1")
	o.push("main")
	rev, repo := resolve(t, s, src)
	if rev.Commit != good || !strings.Contains(rev.Verified, "- commit '"+good+"' with key 'SHA256:") {
		t.Fatalf("got %+v", rev)
	}
	signed := o.raw("commit", good)

	o.commit("unsigned", map[string]string{"a": "2"})
	o.push("main")
	f := wantFailure(t, resolveError(t, s, src), app.ReasonCommitSignature)
	if !strings.Contains(f.Error(), "it is not signed") || f.Retry.Never {
		t.Error(f)
	}
	// What was verified before stays.
	tree, err := repo.Tree(good)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := fs.ReadFile(tree, "a"); err != nil || string(text) != "1" {
		t.Errorf("%q, %v", text, err)
	}

	// The good signature on a commit with other files.
	evil := o.object("commit", strings.Replace(signed, o.run("rev-parse", good+"^{tree}"), o.run("rev-parse", "HEAD^{tree}"), 1))
	o.run("push", "--quiet", "--force", "origin", evil+":refs/heads/main")
	wantFailure(t, resolveError(t, s, src), app.ReasonCommitSignature)
	// By its id, without a look, it is no better.
	src.Ref = app.GitRef{Commit: evil}
	wantFailure(t, resolveError(t, s, src), app.ReasonCommitSignature)
	src.Ref = app.GitRef{Commit: good}
	resolve(t, s, src)

	for name, v := range map[string]*app.Verification{
		"no keys":      {Commit: true},
		"broken key":   {Commit: true, Keys: map[string][]byte{"a.asc": []byte("hello")}},
		"missing keys": {Commit: true, Err: errors.New("secrets \"keys\" not found")},
	} {
		t.Run(name, func(t *testing.T) {
			src.Verify = v
			wantFailure(t, resolveError(t, s, src), app.ReasonVerifyKeys)
		})
	}
	_, other := signedOrigin(t)
	src.Verify = &app.Verification{Commit: true, Keys: map[string][]byte{"eve.sshpub": other}}
	f = wantFailure(t, resolveError(t, s, src), app.ReasonCommitSignature)
	if !strings.Contains(f.Error(), "none of the trusted keys") {
		t.Error(f)
	}
}

func TestVerifyTag(t *testing.T) {
	o, public := signedOrigin(t)
	s := newStore(t)
	first := o.commit("first", map[string]string{"a": "1"})
	o.run("tag", "-s", "-m", "one", "v1.0.0")
	o.commit("second", map[string]string{"a": "2"})
	o.run("tag", "light")
	o.run("tag", "-a", "-m", "unsigned", "plain")
	o.run("update-ref", "refs/tags/v9.0.0", o.run("rev-parse", "refs/tags/v1.0.0")) // the old release by a new name
	one := o.raw("tag", "v1.0.0")
	o.run("update-ref", "refs/tags/grafted", o.object("tag",
		strings.NewReplacer(first, o.run("rev-parse", "HEAD"), "tag v1.0.0", "tag grafted").Replace(one)))
	moved := o.object("tag", strings.Replace(one, first, o.run("rev-parse", "HEAD"), 1))
	o.push("main", "refs/tags/*:refs/tags/*")

	source := func(ref app.GitRef, commit bool) app.Source {
		src := o.source(ref)
		src.Verify = &app.Verification{Tag: true, Commit: commit, Keys: map[string][]byte{"ada.sshpub": public}}
		return src
	}
	for _, ref := range []app.GitRef{{Tag: "v1.0.0"}, {SemVer: "^1"}, {Name: "refs/tags/v1.0.0"}, {Any: "v1.0.0"}} {
		rev, _ := resolve(t, s, source(ref, false))
		if rev.Commit != first || !strings.Contains(rev.Verified, "- tag '") || strings.Contains(rev.Verified, "- commit") {
			t.Errorf("%+v: got %+v", ref, rev)
		}
	}
	// The commit itself is not signed.
	wantFailure(t, resolveError(t, s, source(app.GitRef{Tag: "v1.0.0"}, true)), app.ReasonCommitSignature)
	for name, reason := range map[string]app.Reason{
		"light": app.ReasonUnsignedTag, "plain": app.ReasonUnsignedTag,
		"v9.0.0": app.ReasonTagSignature, "grafted": app.ReasonTagSignature,
	} {
		t.Run(name, func(t *testing.T) {
			f := wantFailure(t, resolveError(t, s, source(app.GitRef{Tag: name}, false)), reason)
			if name == "v9.0.0" && !strings.Contains(f.Error(), `signed as the tag "v1.0.0"`) {
				t.Error(f)
			}
		})
	}
	for name, ref := range map[string]app.GitRef{
		"branch": {Branch: "main"}, "commit": {Commit: first}, "name": {Name: "refs/heads/main"}, "any": {Any: "main"}, "head": {},
	} {
		t.Run(name, func(t *testing.T) {
			f := wantFailure(t, resolveError(t, s, source(ref, false)), app.ReasonVerifyMode)
			if !f.Retry.Never {
				t.Error("is tried again")
			}
		})
	}
	// The same tag, moved to another commit with the old signature.
	o.run("push", "--quiet", "--force", "origin", moved+":refs/tags/v1.0.0")
	wantFailure(t, resolveError(t, s, source(app.GitRef{Tag: "v1.0.0"}, false)), app.ReasonTagSignature)

	second := o.sign("third", "3")
	o.run("tag", "-s", "-m", "two", "v2.0.0")
	o.push("main", "v2.0.0")
	rev, _ := resolve(t, s, source(app.GitRef{Tag: "v2.0.0"}, true))
	if rev.Commit != second || !strings.Contains(rev.Verified, "- tag 'v2.0.0@sha1:") || !strings.Contains(rev.Verified, "- commit") {
		t.Errorf("got %+v", rev)
	}
	// The old tag of the moved one is in the store: a new process verifies from disk.
	resolve(t, Open(Options{Dir: s.opt.Dir}), source(app.GitRef{Tag: "v2.0.0"}, true))
	checkStore(t, s)
}

// A server says of each tag which commit it leads to; here it lies.
func TestVerifyTagOfALyingServer(t *testing.T) {
	o, public := signedOrigin(t)
	good := o.commit("good", map[string]string{"a": "1"})
	o.run("tag", "-s", "-m", "one", "v1")
	evil := o.commit("evil", map[string]string{"a": "2"})
	o.push("main", "v1")
	tag := o.run("rev-parse", "refs/tags/v1")
	if err := os.Remove(filepath.Join(o.bare, "refs/tags/v1")); err != nil {
		t.Fatal(err)
	}
	packed := "# pack-refs with: peeled fully-peeled sorted \n" + tag + " refs/tags/v1\n^" + evil + "\n"
	if err := os.WriteFile(filepath.Join(o.bare, "packed-refs"), []byte(packed), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStore(t)
	src := o.source(app.GitRef{Tag: "v1"})
	if rev, _ := resolve(t, s, src); rev.Commit != evil {
		t.Fatal("this Git does not lie: the test shows nothing")
	}
	src.Verify = &app.Verification{Tag: true, Keys: map[string][]byte{"ada.sshpub": public}}
	if rev, _ := resolve(t, s, src); rev.Commit != good {
		t.Errorf("got %s, signed is %s", rev.Commit, good)
	}
}
