package keyless

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"plumb.dev/plumb/internal/sandbox/signer"
)

// repository is one that publishes a trusted root by TUF.
type repository struct {
	*httptest.Server
	anchor []byte // its root.json

	mu       sync.Mutex
	requests []string
}

func newRepository(t *testing.T, trustedRoot []byte) *repository {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	public, private, err := ed25519.GenerateKey(nil)
	must(err)
	key, err := metadata.KeyFromPublicKey(public)
	must(err)
	by, err := signature.LoadSigner(private, crypto.Hash(0))
	must(err)
	until := time.Now().Add(24 * time.Hour)
	root, targets, snapshot, timestamp := metadata.Root(until), metadata.Targets(until), metadata.Snapshot(until), metadata.Timestamp(until)
	for _, role := range metadata.TOP_LEVEL_ROLE_NAMES {
		must(root.Signed.AddKey(key, role))
	}
	file, err := metadata.TargetFile().FromBytes("trusted_root.json", trustedRoot, "sha256")
	must(err)
	targets.Signed.Targets["trusted_root.json"] = file
	write := func(name string, signed func(string) error) {
		must(signed(filepath.Join(dir, name)))
	}
	must(os.Mkdir(filepath.Join(dir, "targets"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "targets", file.Hashes["sha256"].String()+".trusted_root.json"), trustedRoot, 0o600))
	for _, sign := range []func() error{
		func() error { _, err := root.Sign(by); return err },
		func() error { _, err := targets.Sign(by); return err },
		func() error { _, err := snapshot.Sign(by); return err },
		func() error { _, err := timestamp.Sign(by); return err },
	} {
		must(sign())
	}
	write("1.root.json", func(p string) error { return root.ToFile(p, true) })
	write("1.targets.json", func(p string) error { return targets.ToFile(p, true) })
	write("1.snapshot.json", func(p string) error { return snapshot.ToFile(p, true) })
	write("timestamp.json", func(p string) error { return timestamp.ToFile(p, true) })
	r := &repository{}
	r.anchor, err = root.ToBytes(true)
	must(err)
	files := http.FileServer(http.Dir(dir))
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.requests = append(r.requests, req.URL.Path)
		r.mu.Unlock()
		files.ServeHTTP(w, req)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *repository) asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { r.requests = nil }()
	return len(r.requests)
}

func TestPublic(t *testing.T) {
	s, err := signer.NewSigstore()
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.TrustedRoot(false)
	if err != nil {
		t.Fatal(err)
	}
	r := newRepository(t, text)
	now, dir := time.Now(), t.TempDir()
	plain := func() (http.RoundTripper, error) { return http.DefaultTransport, nil }
	begin := func(anchor []byte) *Public {
		return NewPublic(PublicOptions{Transport: plain, Dir: dir, URL: r.URL, Anchor: anchor, Now: func() time.Time { return now }})
	}
	p := begin(r.anchor)
	got, err := p.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := len(got.material.RekorLogs()); want != 1 || r.asked() == 0 {
		t.Errorf("%d logs", want)
	}
	// What is known is not asked for again, by another process neither.
	for _, p := range []*Public{p, begin(r.anchor)} {
		if _, err := p.Root(t.Context()); err != nil || r.asked() != 0 {
			t.Errorf("asked again, %v", err)
		}
	}
	// What another signs counts for nothing.
	other := newRepository(t, text)
	stranger := NewPublic(PublicOptions{Transport: plain, Dir: t.TempDir(), URL: r.URL, Anchor: other.anchor})
	if _, err := stranger.Root(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be had from "+r.URL) {
		t.Errorf("by another anchor: %v", err)
	}

	// A look that fails leaves what was fetched before, for as long as it holds.
	r.Close()
	now = now.Add(refresh)
	looked, err := filepath.Glob(filepath.Join(dir, "sigstore", "*.json")) // when, by the clock of the process
	if err != nil || len(looked) != 1 {
		t.Fatal(looked, err)
	}
	if err := os.Remove(looked[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Root(t.Context()); err != nil {
		t.Errorf("unreachable: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	p = begin(r.anchor)
	_, first := p.Root(t.Context())
	_, second := p.Root(t.Context())
	if first == nil || second == nil || !errors.Is(second, first) {
		t.Errorf("unreachable: %v, and then %v", first, second)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	now = now.Add(again)
	if _, err := p.Root(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// FuzzSignature: what someone put into a registry is refused, and ends nothing.
func FuzzSignature(f *testing.F) {
	s, err := signer.NewSigstore()
	if err != nil {
		f.Fatal(err)
	}
	text, err := s.TrustedRoot(false)
	if err != nil {
		f.Fatal(err)
	}
	trusted, err := ParseRoot(text)
	if err != nil {
		f.Fatal(err)
	}
	policy, err := NewPolicy(trusted, nil)
	if err != nil {
		f.Fatal(err)
	}
	other, err := signer.NewSigstore()
	if err != nil {
		f.Fatal(err)
	}
	digest := "sha256:" + strings.Repeat("0", 64)
	bundle, err := other.Bundle("a@b.c", "https://i", []byte(`{"subject":[{"digest":{"sha256":"`+strings.Repeat("0", 64)+`"}}]}`), time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	layer, err := other.Layer("a@b.c", "https://i", []byte("payload"), time.Minute)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bundle, "payload", layer.Annotations[signatureAnnotation], layer.Annotations[certificateAnnotation], layer.Annotations[logAnnotation])
	f.Add([]byte("{}"), "", "", "", "{}")
	f.Fuzz(func(t *testing.T, bundle []byte, payload, signature, certificate, log string) {
		if _, err := policy.Bundle(bundle, digest); err == nil {
			t.Error("a bundle of a stranger counts")
		}
		if err := policy.Layer([]byte(payload), map[string]string{signatureAnnotation: signature, certificateAnnotation: certificate, logAnnotation: log}); err == nil {
			t.Error("a signature of a stranger counts")
		}
	})
}
