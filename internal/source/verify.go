package source

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/remote"
	"plumb.dev/plumb/internal/source/signature"
)

// verifier holds what must be signed, and by whom. Nil lets everything pass.
type verifier struct {
	commit, tag bool
	keys        signature.Keys
	now         time.Time
}

// newVerifier reads the keys, and refuses what no look at the repository could
// make right.
func newVerifier(v *app.Verification, sel selector, now time.Time) (*verifier, error) {
	if v == nil {
		return nil, nil
	}
	if v.Tag {
		switch sel.kind {
		case kindBranch, kindCommit:
			return nil, noTag()
		case kindName:
			if !strings.HasPrefix(sel.text, tagPrefix) {
				return nil, noTag()
			}
		}
	}
	if v.Err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonVerifyKeys, "keys to verify signatures with: %w", v.Err).
			WithHint("Put the public keys into the Secret that verify.secretRef names: *.asc for PGP, *.sshpub for SSH.")
	}
	keys, err := signature.ParseKeys(v.Keys)
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonVerifyKeys, "keys to verify signatures with: %w", err).
			WithHint("Correct the Secret that verify.secretRef names: *.asc are armored PGP public keys, *.sshpub are SSH public keys.")
	}
	return &verifier{commit: v.Commit, tag: v.Tag, keys: keys, now: now}, nil
}

func noTag() error {
	f := app.Fail(app.StageFetch, app.ReasonVerifyMode, "the signature of a tag cannot be verified: the ref selects no tag").
		WithHint("Set ref.tag or ref.semver, or verify the commit: mode HEAD.")
	f.Retry.Never = true
	return f
}

// target makes the tag itself what is fetched, where it must be verified: not
// the commit that the server says it leads to.
func (v *verifier) target(l *remote.Listing, t *target) error {
	if v == nil || !v.tag {
		return nil
	}
	id := l.Refs[t.name].ID
	if !strings.HasPrefix(t.name, tagPrefix) || id.IsZero() {
		return noTag()
	}
	t.id = id
	return nil
}

// verified gives the revision that t leads to, if it is signed as it must be.
func (r *Repo) verified(objs *objects.Store, t target, v *verifier) (app.Revision, error) {
	rev, err := r.revision(objs, t.id, t.shown)
	if err != nil || v == nil {
		return rev, err
	}
	var good []string
	if v.tag {
		key, err := v.checkTag(objs, t, rev.Commit)
		if err != nil {
			return app.Revision{}, r.unverified(err, app.ReasonTagSignature, "tag %s", t.shown)
		}
		good = append(good, fmt.Sprintf("- tag '%s@sha1:%s' with key '%s'", t.shown, t.id, key))
	}
	if v.commit {
		key, err := v.checkCommit(objs, plumbing.NewHash(rev.Commit))
		if err != nil {
			return app.Revision{}, r.unverified(err, app.ReasonCommitSignature, "commit %s", rev.Commit)
		}
		good = append(good, fmt.Sprintf("- commit '%s' with key '%s'", rev.Commit, key))
	}
	rev.Verified = "verified signature of\n\t" + strings.Join(good, "\n\t")
	return rev, nil
}

// unverified tells of a signature that is not good. Faults of the cache, which
// mend themselves, stay what they are.
func (r *Repo) unverified(err error, reason app.Reason, format string, args ...any) error {
	if r.lost(err) {
		return fmt.Errorf("%w: %w", errCacheGone, err)
	}
	if reason == app.ReasonTagSignature && errors.Is(err, signature.ErrUnsigned) {
		reason = app.ReasonUnsignedTag
	}
	return app.Fail(app.StageFetch, reason, "%s: signature of %s: %w", r.addr, fmt.Sprintf(format, args...), err).
		WithHint("Sign it with a key that verify.secretRef has, or add the signer's public key there.")
}

func (v *verifier) checkCommit(objs *objects.Store, id plumbing.Hash) (key string, err error) {
	raw, err := objs.Get(id, maxCommit)
	if err != nil {
		return "", err
	}
	signed, err := signature.SplitCommit(raw.Data)
	if err != nil {
		return "", err
	}
	if key, err = v.keys.Verify(signed, v.now); err != nil {
		return "", err
	}
	// What is delivered is read from the object as a whole.
	var whole, part object.Commit
	if err := whole.Decode(encoded(id, raw)); err != nil {
		return "", err
	}
	if err := part.Decode(encoded(id, objects.Object{Type: raw.Type, Data: signed.Payload})); err != nil {
		return "", err
	}
	if whole.TreeHash != part.TreeHash {
		return "", errors.New("what was signed has other files")
	}
	return key, nil
}

func (v *verifier) checkTag(objs *objects.Store, t target, commit string) (key string, err error) {
	raw, err := objs.Get(t.id, maxCommit)
	if err != nil {
		return "", err
	}
	if raw.Type != plumbing.TagObject {
		return "", fmt.Errorf("it is a lightweight tag: %w", signature.ErrUnsigned)
	}
	signed, err := signature.SplitTag(raw.Data)
	if err != nil {
		return "", err
	}
	if key, err = v.keys.Verify(signed, v.now); err != nil {
		return "", err
	}
	var tag object.Tag
	if err := tag.Decode(encoded(t.id, objects.Object{Type: raw.Type, Data: signed.Payload})); err != nil {
		return "", err
	}
	// The name is part of what is signed: an old release must not pass for a
	// new one by another name.
	if want := strings.TrimPrefix(t.name, tagPrefix); tag.Name != want {
		return "", fmt.Errorf("it was signed as the tag %q", tag.Name)
	}
	c, err := commitAt(objs, tag.Target)
	if err != nil {
		return "", err
	}
	if c.Hash.String() != commit {
		return "", errors.New("it was signed for another commit")
	}
	return key, nil
}
