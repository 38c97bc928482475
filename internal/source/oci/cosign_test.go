package oci

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/ociserver"
)

func newKey(t *testing.T, kind string) ociserver.Key {
	t.Helper()
	k, err := ociserver.NewKey(kind)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (r *registry) verified(keys map[string][]byte) app.Source {
	return r.source(func(s *app.Source) { s.OCI.Verify = &app.OCIVerification{Files: keys} })
}

func TestVerify(t *testing.T) {
	for _, kind := range []string{"ecdsa", "rsa", "ed25519"} {
		for _, form := range []string{"tag", "bundle"} {
			r := newRegistry(t)
			digest := r.publish("latest", files("one"))
			key := newKey(t, kind)
			repo := r.host + "/team/app"
			var err error
			if form == "tag" {
				err = r.push.SignTag(t.Context(), repo, digest, key)
			} else {
				var bundle []byte
				if bundle, err = key.Bundle(ociserver.Statement(digest, signPredicate)); err == nil {
					err = r.push.PushBundle(t.Context(), repo, digest, bundle)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			other := newKey(t, "ecdsa")
			src := r.verified(map[string][]byte{"other.pub": other.Public(), "cosign.pub": key.Public(), "readme": []byte("no key")})
			rev, err := r.find(src)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := r.bring(src, rev); err != nil || got["app/settings.yaml"] != "one" {
				t.Errorf("%s %s: brought %q, %v", kind, form, got, err)
			}
			r.unverified(kind+" "+form+" by another key", r.verified(map[string][]byte{"other.pub": other.Public()}), rev, "another key")
		}
	}
}

// unverified makes sure that nothing is brought, not even read.
func (r *registry) unverified(name string, src app.Source, rev app.Revision, says string) {
	r.t.Helper()
	r.Requests()
	got, err := r.bring(src, rev)
	if err == nil || reason(err) != app.ReasonUnverified || !strings.Contains(err.Error(), says) {
		r.t.Errorf("%s: brought %q, %v", name, got, err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	r := newRegistry(t)
	repo := r.host + "/team/app"
	other := r.publish("other", files("other"))
	digest := r.publish("latest", files("one"))
	key := newKey(t, "ecdsa")
	keys := map[string][]byte{"cosign.pub": key.Public()}
	rev, err := r.find(r.source())
	if err != nil {
		t.Fatal(err)
	}
	r.unverified("unsigned", r.verified(keys), rev, "no signatures found")
	r.unverified("no keys", r.verified(map[string][]byte{"cosign.key": key.Public()}), rev, "holds no public keys")
	r.unverified("broken key", r.verified(map[string][]byte{"cosign.pub": key.Public(), "b.pub": []byte("x")}), rev, "b.pub holds no public key")
	r.unverified("missing", r.source(func(s *app.Source) { s.OCI.Verify = &app.OCIVerification{Missing: "secret not found"} }), rev, "secret not found")

	sign := func(layers ...ociserver.Layer) {
		t.Helper()
		if err := r.push.PushSignatures(t.Context(), repo, digest, layers...); err != nil {
			t.Fatal(err)
		}
	}
	signature := func(payload []byte) ociserver.Layer {
		t.Helper()
		l, err := key.Signature(payload)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	good := signature(ociserver.Payload(repo, digest))

	sign(signature(ociserver.Payload(repo, other)))
	r.unverified("of another digest", r.verified(keys), rev, "of the digest")

	tampered := signature(ociserver.Payload(repo, other))
	tampered.Data = bytes.Replace(tampered.Data, []byte(other), []byte(digest), 1)
	sign(tampered)
	r.unverified("tampered", r.verified(keys), rev, "was changed")

	noSignature := good
	noSignature.Annotations = nil
	sign(noSignature)
	r.unverified("without signature", r.verified(keys), rev, "not base64")

	sign(signature([]byte(strings.Replace(string(ociserver.Payload(repo, digest)), "cosign container image signature", "an attestation", 1))))
	r.unverified("of another type", r.verified(keys), rev, "of the type")

	wrongType := good
	wrongType.Type = "text/plain"
	sign(wrongType)
	r.unverified("another media type", r.verified(keys), rev, "no signatures found")

	for name, c := range map[string]struct {
		statement []byte
		says      string
	}{
		"bundle of another digest": {ociserver.Statement(other, signPredicate), "of another digest"},
		"attestation":              {ociserver.Statement(digest, "https://slsa.dev/provenance/v1"), "is no signature"},
	} {
		bundle, err := key.Bundle(c.statement)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.push.PushBundle(t.Context(), repo, digest, bundle); err != nil {
			t.Fatal(err)
		}
		r.unverified(name, r.verified(keys), rev, c.says)
	}
	bundle, err := key.Bundle(ociserver.Statement(other, signPredicate))
	if err != nil {
		t.Fatal(err)
	}
	from, to := base64.StdEncoding.EncodeToString(ociserver.Statement(other, signPredicate)), base64.StdEncoding.EncodeToString(ociserver.Statement(digest, signPredicate))
	if _, err := mustKeys(t, keys).bundle(bytes.Replace(bundle, []byte(from), []byte(to), 1), digest); err == nil || !strings.Contains(err.Error(), "was changed") {
		t.Errorf("tampered bundle: %v", err)
	}

	// A good one among bad ones counts.
	sign(tampered, good)
	if _, err := r.bring(r.verified(keys), rev); err != nil {
		t.Error(err)
	}
	// And counts for nothing else.
	src := r.verified(keys)
	src.OCI.Tag = "other"
	rev, err = r.find(src)
	if err != nil {
		t.Fatal(err)
	}
	r.unverified("the other artifact", src, rev, "no signatures found")
}

func mustKeys(t *testing.T, files map[string][]byte) keyTrust {
	t.Helper()
	keys, err := parseKeys(files)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
