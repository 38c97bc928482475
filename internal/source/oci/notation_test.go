package oci

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/signer"
)

func newNotary(t *testing.T, holds time.Duration, lists ...string) *signer.Notary {
	t.Helper()
	n, err := signer.NewNotary("ada", holds, lists...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// notation is a source that trusts an authority at a level.
func (r *registry) notation(level string, n *signer.Notary) app.Source {
	return r.byPolicy(signer.Policy(level), n)
}

func (r *registry) byPolicy(policy []byte, n *signer.Notary) app.Source {
	return r.source(func(s *app.Source) {
		s.OCI.Verify = &app.OCIVerification{Tool: app.Notation, Files: map[string][]byte{
			"trustpolicy.json": policy, "ca.crt": n.Authority(), "readme": []byte("no certificate"),
		}}
	})
}

func (r *registry) notarize(n *signer.Notary, digest, form string, holds time.Duration) {
	r.t.Helper()
	if err := n.Sign(r.t.Context(), r.push, r.host+"/team/app", digest, form, holds); err != nil {
		r.t.Fatal(err)
	}
}

func TestNotation(t *testing.T) {
	ada, eve := newNotary(t, time.Hour), newNotary(t, time.Hour)
	for _, form := range []string{signer.JWS, signer.COSE} {
		r := newRegistry(t)
		digest := r.publish("latest", files("one"))
		src := r.notation("strict", ada)
		rev, err := r.find(src)
		if err != nil || rev.Verified != "verified signature of revision latest@"+digest {
			t.Fatal(rev.Verified, err)
		}
		r.unverified(form+" unsigned", src, rev, "'notation': no signature is associated")
		r.notarize(eve, digest, form, 0)
		r.unverified(form+" by another", src, rev, "not contain any trusted certificate")
		r.notarize(ada, digest, form, 0) // a good one beside a bad one
		if got, err := r.bring(src, rev); err != nil || got["app/settings.yaml"] != "one" {
			t.Errorf("%s: brought %q, %v", form, got, err)
		}
		src.OCI.Tag = "other"
		r.publish("other", files("other"))
		if rev, err = r.find(src); err != nil {
			t.Fatal(err)
		}
		r.unverified("the other artifact", src, rev, "no signature is associated")
	}
}

func TestNotationRefuses(t *testing.T) {
	ada := newNotary(t, time.Hour)
	r := newRegistry(t)
	digest, other := r.publish("latest", files("one")), r.publish("other", files("other"))
	src := r.notation("strict", ada)
	rev, err := r.find(src)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		envelope []byte
		says     string
	}{
		"of another digest": {r.envelope(ada, other, 0), "content descriptor mismatch"},
		"tampered":          {bytes.Replace(r.envelope(ada, digest, 0), []byte(`"signature":"`), []byte(`"signature":"AAAA`), 1), "signature is invalid"},
		"no envelope":       {[]byte("x"), "unable to parse"},
		"empty":             {[]byte("{}"), "signature"},
	} {
		r := newRegistry(t)
		if got := r.publish("latest", files("one")); got != digest {
			t.Fatal(got)
		}
		r.pushNotation(digest, c.envelope)
		src.URL = r.source().URL
		r.unverified(name, src, rev, c.says)
	}

	// What is trusted must be clear.
	for says, files := range map[string]map[string][]byte{
		"holds no trustpolicy.json":             {"ca.crt": ada.Authority()},
		"trustpolicy.json is no trust policy":   {"trustpolicy.json": []byte("x"), "ca.crt": ada.Authority()},
		"trustpolicy.json: ":                    {"trustpolicy.json": []byte("{}"), "ca.crt": ada.Authority()},
		"holds no certificates":                 {"trustpolicy.json": signer.Policy("strict"), "ca.key": ada.Authority()},
		"b.pem: it holds no certificate":        {"trustpolicy.json": signer.Policy("strict"), "ca.crt": ada.Authority(), "b.pem": []byte("x")},
		"has no applicable trust policy":        {"trustpolicy.json": bytes.Replace(signer.Policy("strict"), []byte(`"*"],"sig`), []byte(`"example.com/a"],"sig`), 1), "ca.crt": ada.Authority()},
		"failed to verify the signature using ": {"trustpolicy.json": signer.Policy("sure"), "ca.crt": ada.Authority()},
	} {
		r.unverified(says, r.source(func(s *app.Source) { s.OCI.Verify = &app.OCIVerification{Tool: app.Notation, Files: files} }), rev, says)
	}
}

func (r *registry) envelope(n *signer.Notary, digest string, holds time.Duration) []byte {
	r.t.Helper()
	d, err := signer.Describe(r.t.Context(), r.host+"/team/app", digest)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.sign(n, d, holds)
}

func (r *registry) sign(n *signer.Notary, d ocispec.Descriptor, holds time.Duration) []byte {
	r.t.Helper()
	e, err := n.Envelope(r.t.Context(), d, signer.JWS, holds)
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func (r *registry) pushNotation(digest string, envelope []byte) {
	r.t.Helper()
	if err := signer.PushNotation(r.t.Context(), r.push, r.host+"/team/app", digest, signer.JWS, envelope); err != nil {
		r.t.Fatal(err)
	}
}

// What the levels of a policy let pass, and what is then said of it.
func TestNotationLevels(t *testing.T) {
	ada, eve := newNotary(t, time.Hour), newNotary(t, time.Hour)
	r := newRegistry(t)
	digest := r.publish("latest", files("one"))
	look := func(name string, src app.Source, trusted bool) {
		t.Helper()
		rev, err := r.find(src)
		if err != nil || (rev.Verified != "") != trusted {
			t.Errorf("%s: found %q, %v", name, rev.Verified, err)
		}
		if got, err := r.bring(src, rev); err != nil || got["app/settings.yaml"] != "one" {
			t.Errorf("%s: brought %q, %v", name, got, err)
		}
	}
	look("skip, unsigned", r.notation("skip", ada), false)
	if _, err := r.find(r.notation("audit", ada)); err == nil || reason(err) != app.ReasonUnverified {
		t.Errorf("audit, unsigned: %v", err)
	}
	r.notarize(eve, digest, signer.JWS, 0)
	look("audit, by another", r.notation("audit", ada), false)
	r.Requests()
	if _, err := r.find(r.notation("audit", ada)); err != nil || len(r.Requests()) != 1 {
		t.Errorf("what was found out is found out again, %v", err)
	}
	look("skip", r.notation("skip", ada), false)
	look("strict, by her", r.notation("strict", eve), true)
	look("audit, by her", r.notation("audit", eve), true)
	rev, err := r.find(r.notation("permissive", ada))
	if err != nil {
		t.Fatal(err)
	}
	r.unverified("permissive, by another", r.notation("permissive", ada), rev, "not contain any trusted certificate")
}

// A signature, and a certificate, hold for some time; a policy may say that it
// does not matter.
func TestNotationExpired(t *testing.T) {
	r := newRegistry(t)
	digest := r.publish("latest", files("one"))
	d, err := signer.Describe(t.Context(), r.host+"/team/app", digest)
	if err != nil {
		t.Fatal(err)
	}
	var ada *signer.Notary
	var signature []byte
	synctest.Test(t, func(t *testing.T) { // begins in the year 2000
		ada = newNotary(t, time.Hour)
		signature = r.sign(ada, d, time.Minute)
	})
	r.pushNotation(digest, signature)
	src := r.notation("strict", ada)
	rev, err := r.find(src)
	if err != nil {
		t.Fatal(err)
	}
	r.unverified("expired", src, rev, "digital signature has expired")
	src = r.notation("permissive", ada)
	if rev, err = r.find(src); err != nil || rev.Verified == "" {
		t.Errorf("permissive: %q, %v", rev.Verified, err)
	}
	if _, err := r.bring(src, rev); err != nil {
		t.Errorf("permissive: %v", err)
	}
}

// A certificate that was revoked counts no more. A list that cannot be had is
// for the policy to judge, and one of an authority that is not trusted is not
// asked for.
func TestNotationRevoked(t *testing.T) {
	var mu sync.Mutex
	var list []byte
	var asked int
	lists := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if list == nil {
			http.Error(w, "no list", http.StatusNotFound)
			return
		}
		_, _ = w.Write(list)
	}))
	t.Cleanup(lists.Close)
	ada, eve := newNotary(t, time.Hour, lists.URL+"/crl"), newNotary(t, time.Hour)
	says := func(revoked bool) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		var err error
		if list, err = ada.List(revoked); err != nil {
			t.Fatal(err)
		}
	}
	was := func() int {
		mu.Lock()
		defer mu.Unlock()
		defer func() { asked = 0 }()
		return asked
	}
	r := newRegistry(t)
	r.notarize(ada, r.publish("latest", files("one")), signer.JWS, 0)
	strict := r.notation("strict", ada)
	rev, err := r.find(strict)
	if err != nil {
		t.Fatal(err)
	}
	r.unverified("unknown", strict, rev, "revocation status is unknown")
	if was() == 0 {
		t.Error("nobody was asked")
	}
	if _, err := r.bring(r.notation("permissive", ada), rev); err != nil {
		t.Errorf("permissive: %v", err)
	}
	says(false)
	if _, err := r.bring(strict, rev); err != nil {
		t.Errorf("not revoked: %v", err)
	}
	says(true)
	r.unverified("revoked", strict, rev, "is revoked")
	was()
	if rev, err := r.find(r.notation("audit", eve)); err != nil || rev.Verified != "" {
		t.Errorf("audit by another: %q, %v", rev.Verified, err)
	}
	if n := was(); n != 0 {
		t.Errorf("an authority that is not trusted was asked %d times", n)
	}
}
