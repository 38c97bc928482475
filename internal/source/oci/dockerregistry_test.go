package oci

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/ociserver"
)

// TestDockerRegistry does it all with the registry of the distribution project,
// where that is installed.
func TestDockerRegistry(t *testing.T) {
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	listener.Close()
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte("letmein"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	passwords, config := filepath.Join(dir, "htpasswd"), filepath.Join(dir, "config.yml")
	for name, text := range map[string]string{
		passwords: "alice:" + string(hash) + "\n",
		config: "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: " + filepath.Join(dir, "data") + "}}\n" +
			"http: {addr: \"" + host + "\"}\nauth: {htpasswd: {realm: registry, path: " + passwords + "}}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	server := exec.Command(bin, "serve", config)
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
	})
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		if res, err := http.Get("http://" + host + "/v2/"); err == nil {
			res.Body.Close()
			break
		} else if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	r := &registry{Server: ociserver.New(), t: t}
	r.at("http://" + host)
	r.push = ociserver.Client{Username: "alice", Password: "letmein"}
	digest := r.publish("1.0.0", files("one"))
	key := newKey(t, "ecdsa")
	if err := r.push.SignTag(t.Context(), r.host+"/team/app", digest, key); err != nil {
		t.Fatal(err)
	}
	src := r.verified(map[string][]byte{"cosign.pub": key.Public()})
	src.OCI.SemVer, src.OCI.Keychain = "1.x", keychain(map[string]string{host: "alice:letmein"})
	rev, err := r.find(src)
	if err != nil || "sha256:"+rev.Commit != digest || rev.Ref != "1.0.0" {
		t.Fatalf("found %+v, %v", rev, err)
	}
	if got, err := r.bring(src, rev); err != nil || got["app/settings.yaml"] != "one" {
		t.Errorf("brought %q, %v", got, err)
	}
	// It has no list of referrers: a tag stands in for it.
	digest = r.publish("1.1.0", files("two"))
	bundle, err := key.Bundle(ociserver.Statement(digest, signPredicate))
	if err == nil {
		err = r.push.PushBundle(t.Context(), r.host+"/team/app", digest, bundle)
	}
	if err != nil {
		t.Fatal(err)
	}
	if rev, err = r.find(src); err != nil || rev.Ref != "1.1.0" {
		t.Fatalf("found %+v, %v", rev, err)
	}
	if got, err := r.bring(src, rev); err != nil || got["app/settings.yaml"] != "two" {
		t.Errorf("brought %q, %v", got, err)
	}
	src.OCI.Verify.Files["cosign.pub"] = newKey(t, "ecdsa").Public()
	r.unverified("another key", src, rev, "no matching signatures")
	for name, c := range map[string]struct {
		change func(*app.OCIArtifact)
		reason app.Reason
	}{
		"unknown tag":    {func(a *app.OCIArtifact) { a.SemVer, a.Tag = "", "none" }, app.ReasonRefNotFound},
		"no credentials": {func(a *app.OCIArtifact) { a.Keychain = nil }, app.ReasonAuthentication},
	} {
		other := src
		spec := *src.OCI
		c.change(&spec)
		other.OCI = &spec
		if _, err := r.find(other); reason(err) != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}
