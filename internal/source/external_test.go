package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
)

// tarball is a .tar.gz of files by name.
func tarball(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for name, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestExternal(t *testing.T) {
	good := tarball(t, map[string]string{"app/a.yaml": "a"})
	second := tarball(t, map[string]string{"app/a.yaml": "b"})
	evil := tarball(t, map[string]string{"../../etc/x": "x"})
	files := map[string][]byte{"/1.tar.gz": good, "/2.tar.gz": second, "/evil.tar.gz": evil, "/no.tar.gz": []byte("hello")}
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch data, ok := files[r.URL.Path]; {
		case ok:
			_, _ = w.Write(data)
		case r.URL.Path == "/moved.tar.gz":
			http.Redirect(w, r, "/1.tar.gz", http.StatusFound)
		case r.URL.Path == "/away.tar.gz":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	sum := func(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }
	id := app.SourceID{Kind: "ExternalArtifact", Namespace: "team", Name: "made"}
	s := Open(Options{Dir: t.TempDir()})
	resolve := func(url, digest, revision string) (app.Revision, string, error) {
		if !strings.HasPrefix(url, "ftp:") && url != "" {
			url = server.URL + url
		}
		src := app.Source{ID: id, External: &app.External{ID: id, URL: url, Digest: digest, Revision: revision}}
		rev, repo, err := s.Resolve(t.Context(), src, time.Now())
		if err != nil {
			return rev, "", err
		}
		tree, err := repo.Tree(rev.ID())
		if err != nil {
			return rev, "", err
		}
		data, err := fs.ReadFile(tree, "app/a.yaml")
		return rev, string(data), err
	}
	for _, c := range []struct{ url, digest, revision, text, commit, ref string }{
		{"/1.tar.gz", sum(good), "main@sha1:0123456789012345678901234567890123456789", "a", "0123456789012345678901234567890123456789", "main"},
		{"/1.tar.gz", sum(good), sum(good), "a", sum(good)[7:], ""},
		{"/2.tar.gz", sum(second), "1.2.3", "b", sum(second)[7:], "1.2.3"},
		{"/moved.tar.gz", fmt.Sprintf("sha512:%x", sha512.Sum512(good)), "latest", "a", fmt.Sprintf("%x", sha512.Sum512(good)), "latest"},
	} {
		rev, text, err := resolve(c.url, c.digest, c.revision)
		if err != nil || text != c.text || rev.Commit != c.commit || rev.Ref != c.ref {
			t.Errorf("%s: %q, %+v, %v", c.revision, text, rev, err)
		}
	}
	before := asked.Load()
	if _, _, err := resolve("/1.tar.gz", sum(good), "again"); err != nil || asked.Load() != before {
		t.Errorf("what is there was fetched again, or %v", err)
	}
	for name, c := range map[string]struct {
		url, digest, says string
		reason            app.Reason
		after             time.Duration
	}{
		"not told of":     {"", "", "is not ready, artifact not found", app.ReasonSourceNotReady, 0},
		"not there":       {"/none.tar.gz", sum(nil), "HTTP 404", app.ReasonUnreachable, 30 * time.Second},
		"away":            {"/away.tar.gz", sum(nil), "HTTP 503", app.ReasonUnreachable, 0},
		"another content": {"/2.tar.gz", sum([]byte("x")), "and should be", app.ReasonBadArtifact, 30 * time.Second},
		"no archive":      {"/no.tar.gz", sum(files["/no.tar.gz"]), "no tar archive", app.ReasonBadArtifact, 0},
		"out of it":       {"/evil.tar.gz", sum(evil), "outside of it", app.ReasonBadArtifact, 0},
		"weak digest":     {"/1.tar.gz", "md5:00112233445566778899aabbccddeeff", "no digest that can be checked", app.ReasonBadArtifact, 0},
		"short digest":    {"/1.tar.gz", "sha256:00", "no digest that can be checked", app.ReasonBadArtifact, 0},
		"no digest":       {"/1.tar.gz", "", "artifact not found", app.ReasonSourceNotReady, 0},
		"no HTTP":         {"ftp://host/1.tar.gz", sum(good), "not one of http", app.ReasonBadArtifact, 0},
	} {
		_, _, err := resolve(c.url, c.digest, "x")
		f := app.AsFailure(err, "")
		if f == nil || f.Reason != c.reason || !strings.Contains(f.Error(), c.says) || f.Retry.After != c.after {
			t.Errorf("%s: %v", name, err)
		}
	}
}
