package sandboxtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"plumb.dev/plumb/internal/source/bucket/sigv4"
)

// S3 is a store on the loopback interface: Versity's gateway, a server of its own
// that checks signatures.
type S3 struct {
	Endpoint             string // host:port, without TLS
	AccessKey, SecretKey string
	dir                  string
}

// S3Region is the region of the store.
const S3Region = "us-east-1"

// S3Store starts a store that ends with the test. With -short the test is
// skipped: the server may have to be built.
func S3Store(t testing.TB) *S3 {
	t.Helper()
	if testing.Short() {
		t.Skip("needs an S3-compatible store")
	}
	program := Tool(t, "versitygw")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &S3{Endpoint: l.Addr().String(), AccessKey: "AKIDTEST", SecretKey: "secret/of+the=store", dir: t.TempDir()}
	l.Close() // the server cannot be handed a listener
	dirs := map[string]string{"data": "", "meta": ""}
	for name := range dirs {
		dirs[name] = filepath.Join(s.dir, name)
		if err := os.Mkdir(dirs[name], 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	cmd := exec.Command(program, "--port", s.Endpoint, "--region", S3Region, "--quiet", "posix", "--sidecar", dirs["meta"], dirs["data"])
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey}
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	Eventually(t, func(ctx context.Context) error {
		select {
		case <-ended:
			t.Fatalf("the store ended: %s", log.String())
		default:
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", s.Endpoint)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return s
}

// Make makes a bucket.
func (s *S3) Make(ctx context.Context, bucket string) error {
	return s.do(ctx, http.MethodPut, bucket, "", nil)
}

// Put writes an object.
func (s *S3) Put(ctx context.Context, bucket, key string, data []byte) error {
	return s.do(ctx, http.MethodPut, bucket, key, data)
}

// Delete removes an object.
func (s *S3) Delete(ctx context.Context, bucket, key string) error {
	return s.do(ctx, http.MethodDelete, bucket, key, nil)
}

func (s *S3) do(ctx context.Context, method, bucket, key string, data []byte) error {
	path := "/" + bucket
	if key != "" {
		path += "/" + key
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+s.Endpoint+sigv4.Escape(path, true), bytes.NewReader(data))
	if err != nil {
		return err
	}
	sigv4.Sign(req, data, s.AccessKey, s.SecretKey, S3Region, time.Now())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, said)
	}
	return nil
}
