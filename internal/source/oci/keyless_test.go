package oci

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/ociserver"
	"plumb.dev/plumb/internal/sandbox/signer"
	"plumb.dev/plumb/internal/source/keyless"
	"plumb.dev/plumb/internal/source/remote"
)

const (
	ada     = "ada@example.com"
	loginAt = "https://login.example.com"
)

// soon is within the ten minutes of a certificate.
const soon = time.Minute

func newSigstore(t *testing.T) *signer.Sigstore {
	t.Helper()
	s, err := signer.NewSigstore()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func trustedRoot(t *testing.T, s *signer.Sigstore) []byte {
	t.Helper()
	root, err := s.TrustedRoot(false)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// keyless is a source that trusts a root, and one identity.
func (r *registry) keyless(root []byte, issuer, subject string) app.Source {
	return r.source(func(s *app.Source) {
		s.OCI.Verify = &app.OCIVerification{Keyless: &app.Keyless{TrustedRoot: root, Identities: []app.SignerIdentity{{Issuer: issuer, Subject: subject}}}}
	})
}

// layer and bundle are the two forms of a signature of a digest.
func (r *registry) layer(s *signer.Sigstore, digest string, after time.Duration) ociserver.Layer {
	r.t.Helper()
	layer, err := s.Layer(ada, loginAt, ociserver.Payload(r.host+"/team/app", digest), after)
	if err != nil {
		r.t.Fatal(err)
	}
	return layer
}

func (r *registry) bundle(s *signer.Sigstore, digest, predicate string, after time.Duration) []byte {
	r.t.Helper()
	bundle, err := s.Bundle(ada, loginAt, ociserver.Statement(digest, predicate), after)
	if err != nil {
		r.t.Fatal(err)
	}
	return bundle
}

// attach puts a signature of one of the forms beside a digest.
func (r *registry) attach(digest string, signature any) {
	r.t.Helper()
	var err error
	switch s := signature.(type) {
	case ociserver.Layer:
		err = r.push.PushSignatures(r.t.Context(), r.host+"/team/app", digest, s)
	case []byte:
		err = r.push.PushBundle(r.t.Context(), r.host+"/team/app", digest, s)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestKeyless(t *testing.T) {
	s := newSigstore(t)
	root, other := trustedRoot(t, s), trustedRoot(t, newSigstore(t))
	logged, err := s.TrustedRoot(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"layer", "bundle"} {
		r := newRegistry(t)
		digest := r.publish("latest", files("one"))
		rev, err := r.find(r.keyless(root, ".*", ".*"))
		if err != nil || rev.Verified != "verified signature of revision latest@"+digest {
			t.Fatal(rev.Verified, err)
		}
		r.unverified(form+" unsigned", r.keyless(root, ".*", ".*"), rev, "'cosign keyless': no signatures found")
		if form == "layer" {
			r.attach(digest, r.layer(s, digest, soon))
		} else {
			r.attach(digest, r.bundle(s, digest, signPredicate, soon))
		}
		either := r.keyless(root, "^https://other", "^eve@")
		either.OCI.Verify.Keyless.Identities = append(either.OCI.Verify.Keyless.Identities, app.SignerIdentity{Issuer: "^https://login", Subject: "^ada@"})
		anyone := r.keyless(root, "", "")
		anyone.OCI.Verify.Keyless.Identities = nil
		for name, src := range map[string]app.Source{
			"as it is": r.keyless(root, "^"+loginAt+"$", "^"+ada+"$"), "part": r.keyless(root, "example", "ada"), "either": either, "anyone": anyone,
		} {
			if got, err := r.bring(src, rev); err != nil || got["app/settings.yaml"] != "one" {
				t.Errorf("%s, %s: brought %q, %v", form, name, got, err)
			}
		}
		r.unverified(form+" of another issuer", r.keyless(root, "^https://other", "ada"), rev, "no matching signatures")
		r.unverified(form+" of another subject", r.keyless(root, "login", "^eve@"), rev, "no matching signatures")
		r.unverified(form+" of another root", r.keyless(other, ".*", ".*"), rev, "no matching signatures")
		r.unverified(form+" whose certificate no log knows", r.keyless(logged, ".*", ".*"), rev, "signed certificate timestamp")
		// A signature is of one artifact.
		src := r.keyless(root, ".*", ".*")
		src.OCI.Tag = "other"
		r.publish("other", files("other"))
		if rev, err = r.find(src); err != nil {
			t.Fatal(err)
		}
		r.unverified("the other artifact", src, rev, "no signatures found")
	}
}

func TestKeylessRefuses(t *testing.T) {
	s := newSigstore(t)
	root := trustedRoot(t, s)
	r := newRegistry(t)
	digest, other := r.publish("latest", files("one")), r.publish("other", files("other"))
	rev, err := r.find(r.source())
	if err != nil {
		t.Fatal(err)
	}
	src := r.keyless(root, ".*", ".*")
	changed := func(change func(l *ociserver.Layer)) ociserver.Layer {
		l := r.layer(s, digest, soon)
		change(&l)
		return l
	}
	annotation := func(key, value string) ociserver.Layer {
		return changed(func(l *ociserver.Layer) { l.Annotations["dev.sigstore.cosign/"+key] = value })
	}
	mine, err := ociserver.NewKey("ecdsa")
	if err != nil {
		t.Fatal(err)
	}
	byKey, err := mine.Signature(ociserver.Payload(r.host+"/team/app", digest))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signature any
		says      string
	}{
		"tampered":              {changed(func(l *ociserver.Layer) { l.Data = []byte(strings.Replace(string(l.Data), "optional", "optionaL", 1)) }), "no matching"},
		"of another digest":     {r.layer(s, other, soon), "of the digest"},
		"by a key":              {byKey, "made with a key"},
		"without a log":         {annotation("bundle", ""), "no proof"},
		"no log":                {annotation("bundle", "x"), "cannot be read"},
		"an empty entry":        {annotation("bundle", `{"Payload":{"body":"e30="}}`), "no matching"},
		"a strange entry":       {annotation("bundle", `{"SignedEntryTimestamp":"eA==","Payload":{"body":"eyJraW5kIjoiaGFzaGVkcmVrb3JkIiwiYXBpVmVyc2lvbiI6IjAuMC4xIn0=","logID":"00"}}`), "no matching"},
		"no certificate":        {annotation("certificate", "-----BEGIN CERTIFICATE-----\neA==\n-----END CERTIFICATE-----\n"), "no matching"},
		"another's certificate": {annotation("certificate", r.layer(s, digest, soon).Annotations["dev.sigstore.cosign/certificate"]), "no matching"},
		"the log saw it late":   {r.layer(s, digest, time.Hour), "certificate validity"},
	} {
		r.attach(digest, c.signature)
		r.unverified(name, src, rev, c.says)
	}
	r.attach(digest, changed(func(l *ociserver.Layer) { l.Type = "text/plain" }))
	for name, c := range map[string]struct {
		bundle []byte
		says   string
	}{
		"of another digest":   {r.bundle(s, other, signPredicate, soon), "no matching"},
		"an attestation":      {r.bundle(s, digest, "https://slsa.dev/provenance/v1", soon), "is no signature"},
		"the log saw it late": {r.bundle(s, digest, signPredicate, time.Hour), "certificate validity"},
		"no bundle":           {[]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`), "cannot be read"},
		"no JSON":             {[]byte("x"), "cannot be read"},
	} {
		r := newRegistry(t)
		if got := r.publish("latest", files("one")); got != digest {
			t.Fatal(got)
		}
		r.attach(digest, c.bundle)
		src.URL = r.source().URL
		r.unverified("bundle: "+name, src, rev, c.says)
	}
	// What is trusted must be clear, before anything is asked for.
	r.attach(digest, r.layer(s, digest, soon))
	for says, by := range map[string]app.Keyless{
		"matchOIDCIdentity[0].subject is empty":  {TrustedRoot: root, Identities: []app.SignerIdentity{{Issuer: "x"}}},
		"error parsing regexp":                   {TrustedRoot: root, Identities: []app.SignerIdentity{{Issuer: "(", Subject: "x"}}},
		"matchOIDCIdentity[0].issuer has":        {TrustedRoot: root, Identities: []app.SignerIdentity{{Issuer: strings.Repeat("x", 5000), Subject: "x"}}},
		"matchOIDCIdentity has 200 entries":      {TrustedRoot: root, Identities: make([]app.SignerIdentity, 200)},
		"unable to parse trusted root":           {TrustedRoot: []byte("{}")},
		"unable to parse trusted root: it names": {TrustedRoot: []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`)},
		"unable to parse trusted root: it has":   {TrustedRoot: make([]byte, 2<<20)},
	} {
		r.unverified(says, r.source(func(s *app.Source) { s.OCI.Verify = &app.OCIVerification{Keyless: &by} }), rev, says)
	}
}

// What was signed long ago counts: it is the log, or an authority for time
// stamps, that tells when.
func TestKeylessLongAgo(t *testing.T) {
	var s *signer.Sigstore
	var root []byte
	r := newRegistry(t)
	digest := r.publish("latest", files("one"))
	signatures := map[string]any{}
	synctest.Test(t, func(t *testing.T) { // begins in the year 2000
		s = newSigstore(t)
		root = trustedRoot(t, s)
		signatures["layer"], signatures["bundle"] = r.layer(s, digest, soon), r.bundle(s, digest, signPredicate, soon)
	})
	for name, signature := range signatures {
		r := newRegistry(t)
		if got := r.publish("latest", files("one")); got != digest {
			t.Fatal(got)
		}
		r.attach(digest, signature)
		src := r.keyless(root, "login", "ada")
		rev, err := r.find(src)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.bring(src, rev); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Without a root of one's own that of the public instance counts, and if it
// cannot be had, nothing does.
func TestKeylessPublic(t *testing.T) {
	r := newRegistry(t)
	digest := r.publish("latest", files("one"))
	r.attach(digest, r.bundle(newSigstore(t), digest, signPredicate, soon))
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	r.client = NewClient(Options{Transport: remote.NewDialer(remote.Options{}).Transport, Public: keyless.PublicOptions{URL: closed.URL, Dir: t.TempDir()}})
	src := r.keyless(nil, ".*", ".*")
	rev, err := r.find(src)
	if err != nil {
		t.Fatal(err)
	}
	r.unverified("unreachable", src, rev, "the trusted root of Sigstore's public instance cannot be had from "+closed.URL)
	if text, err := json.Marshal(r.Requests()); err != nil || strings.Contains(string(text), "sha256-") {
		t.Errorf("signatures were asked for: %s, %v", text, err)
	}
}
