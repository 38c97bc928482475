package source

import (
	"io/fs"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/ociserver"
)

// artifacts is a registry with an artifact team/app:latest.
func artifacts(t *testing.T) (server *httptest.Server, publish func(content string) string, sign func(digest string) (public []byte)) {
	t.Helper()
	server = httptest.NewServer(ociserver.New())
	t.Cleanup(server.Close)
	repo := ociserver.Host(server.URL) + "/team/app"
	var client ociserver.Client
	publish = func(content string) string {
		data, err := ociserver.Archive(fstest.MapFS{"dir/file": {Data: []byte(content), Mode: 0o644}})
		if err != nil {
			t.Fatal(err)
		}
		digest, err := client.Push(t.Context(), repo+":latest", ociserver.Artifact{Layers: []ociserver.Layer{{Data: data}}})
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	sign = func(digest string) []byte {
		key, err := ociserver.NewKey("ecdsa")
		if err == nil {
			err = client.SignTag(t.Context(), repo, digest, key)
		}
		if err != nil {
			t.Fatal(err)
		}
		return key.Public()
	}
	return server, publish, sign
}

func content(t *testing.T, repo *Repo, rev app.Revision) string {
	t.Helper()
	tree, err := repo.Tree(rev.ID())
	if err != nil {
		t.Fatal(err)
	}
	data, err := fs.ReadFile(tree, "dir/file")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestArtifact: an artifact is found, and had again without its registry.
func TestArtifact(t *testing.T) {
	server, publish, _ := artifacts(t)
	digest := publish("one")
	dir := t.TempDir()
	src := app.Source{URL: "oci://" + ociserver.Host(server.URL) + "/team/app", OCI: &app.OCIArtifact{Insecure: true}}
	rev, repo, err := Open(Options{Dir: dir}).Resolve(t.Context(), src, time.Now())
	if err != nil || "sha256:"+rev.Commit != digest || content(t, repo, rev) != "one" {
		t.Fatalf("found %+v, %v", rev, err)
	}
	server.Close()
	s := Open(Options{Dir: dir}) // as after a restart
	if _, _, err := s.Resolve(t.Context(), src, time.Now()); app.AsFailure(err, "").Reason != app.ReasonUnreachable {
		t.Errorf("the registry is away, and %v", err)
	}
	src.Ref.Commit = rev.Commit
	again, repo, err := s.Resolve(t.Context(), src, time.Time{})
	if err != nil || again.Ref != "latest" || content(t, repo, again) != "one" {
		t.Errorf("found %+v, %v", again, err)
	}
}

// TestArtifactVerified: what came in without a signature, or by another key,
// does not do where one is asked for.
func TestArtifactVerified(t *testing.T) {
	server, publish, sign := artifacts(t)
	digest := publish("one")
	s := Open(Options{Dir: t.TempDir()})
	source := func(key []byte) app.Source {
		src := app.Source{URL: "oci://" + ociserver.Host(server.URL) + "/team/app", OCI: &app.OCIArtifact{Insecure: true}}
		if key != nil {
			src.OCI.Verify = &app.OCIVerification{Files: map[string][]byte{"cosign.pub": key}}
		}
		return src
	}
	open, _, err := s.Resolve(t.Context(), source(nil), time.Now())
	if err != nil || open.Verified != "" {
		t.Fatalf("found %+v, %v", open, err)
	}
	ours := sign(digest)
	rev, _, err := s.Resolve(t.Context(), source(ours), time.Now())
	if err != nil || rev.Verified != "verified signature of revision latest@"+digest {
		t.Errorf("found %+v, %v", rev, err)
	}
	sign(digest) // by another key, in place of the first
	other, err := ociserver.NewKey("ecdsa")
	if err != nil {
		t.Fatal(err)
	}
	for _, pinned := range []string{"", strings.TrimPrefix(digest, "sha256:")} {
		src := source(other.Public())
		src.Ref.Commit = pinned
		if rev, _, err := s.Resolve(t.Context(), src, time.Now()); err == nil || app.AsFailure(err, "").Reason != app.ReasonUnverified {
			t.Errorf("found %+v, %v", rev, err)
		}
	}
}

func TestArtifactByProxy(t *testing.T) {
	server, publish, _ := artifacts(t)
	publish("one")
	_, port, err := net.SplitHostPort(ociserver.Host(server.URL))
	if err != nil {
		t.Fatal(err)
	}
	var used atomic.Int64
	src := app.Source{URL: "oci://" + onlyByProxy + ":" + port + "/team/app", OCI: &app.OCIArtifact{Insecure: true}}
	src.Auth.Proxy = app.Proxy{URL: httpProxy(t, ociserver.Host(server.URL), &used), Username: "px", Password: "hunter2"}
	s := Open(Options{Dir: t.TempDir()})
	rev, repo, err := s.Resolve(t.Context(), src, time.Now())
	if err != nil || content(t, repo, rev) != "one" || used.Load() == 0 {
		t.Errorf("found %+v, %v", rev, err)
	}
	src.Auth.Proxy.Password = "hunter3"
	if _, _, err := s.Resolve(t.Context(), src, time.Now()); err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("with a wrong password: %v", err)
	}
}
