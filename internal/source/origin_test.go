package source

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/gitserver"
)

// origin is a repository on a real Git server, and a working copy to change it
// with.
type origin struct {
	t     testing.TB
	git   *gitserver.Server
	http  *httptest.Server
	bare  string
	work  string
	posts atomic.Int64 // upload-pack requests
	gets  atomic.Int64 // listings
	bytes atomic.Int64 // of upload-pack answers
	spent atomic.Int64 // nanoseconds until git had answered, both kinds of requests
}

func newOrigin(t testing.TB) *origin {
	t.Helper()
	server, err := gitserver.New(gitserver.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	o := &origin{t: t, git: server}
	if err := server.Create(t.Context(), "team/repo"); err != nil {
		t.Fatal(err)
	}
	o.bare = server.Dir("team/repo")
	o.http = httptest.NewServer(o)
	t.Cleanup(o.http.Close)
	o.work = t.TempDir()
	o.run("init", "--quiet", "--initial-branch=main", ".")
	o.run("remote", "add", "origin", o.bare)
	return o
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	defer func() { o.spent.Add(int64(time.Since(begun))) }()
	if r.Method == http.MethodPost {
		o.posts.Add(1)
		o.git.ServeHTTP(&countingWriter{w, &o.bytes}, r)
		return
	}
	o.gets.Add(1)
	o.git.ServeHTTP(w, r)
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return c.ResponseWriter.Write(b)
}

func (o *origin) url() string { return o.http.URL + "/team/repo.git" }

// run runs git in the working copy and returns what it says.
func (o *origin) run(args ...string) string {
	o.t.Helper()
	return runGit(o.t, o.work, args...)
}

func runGit(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.org", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.org",
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, errs.String())
	}
	return strings.TrimSpace(string(out))
}

// write puts files into the working copy; a nil-like "" removes one.
func (o *origin) write(files map[string]string) {
	o.t.Helper()
	for name, text := range files {
		name = filepath.Join(o.work, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			o.t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			os.Remove(name)
			if err := os.Symlink(target, name); err != nil {
				o.t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			o.t.Fatal(err)
		}
	}
}

// commit writes files, commits and returns the id. It does not push.
func (o *origin) commit(message string, files map[string]string) string {
	o.t.Helper()
	o.write(files)
	o.run("add", "--all", "--force")
	o.run("commit", "--quiet", "--allow-empty", "--message", message)
	return o.run("rev-parse", "HEAD")
}

// push sends branches and tags as they are.
func (o *origin) push(args ...string) {
	o.t.Helper()
	o.run(append([]string{"push", "--quiet", "--force", "origin"}, args...)...)
}

func newStore(t testing.TB) *Store {
	t.Helper()
	return Open(Options{Dir: filepath.Join(t.TempDir(), "cache")})
}

func (o *origin) source(ref app.GitRef) app.Source { return app.Source{URL: o.url(), Ref: ref} }

func resolve(t testing.TB, s *Store, src app.Source) (app.Revision, *Repo) {
	t.Helper()
	rev, repo, err := s.Resolve(t.Context(), src, time.Now())
	if err != nil {
		t.Fatalf("resolve %+v: %v", src.Ref, err)
	}
	return rev, repo
}

func treeOf(t testing.TB, s *Store, src app.Source) *Tree {
	t.Helper()
	rev, repo := resolve(t, s, src)
	tree, err := repo.Tree(rev.Commit)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// wantFailure checks reason and that nothing of secret shows.
func wantFailure(t testing.TB, err error, reason app.Reason, secrets ...string) *app.Failure {
	t.Helper()
	var f *app.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a failure with reason %s", err, reason)
	}
	if f.Stage != app.StageFetch || f.Reason != reason {
		t.Fatalf("got %s/%s (%v), want %s", f.Stage, f.Reason, err, reason)
	}
	for _, s := range secrets {
		if strings.Contains(err.Error()+f.Hint, s) {
			t.Errorf("failure shows a secret: %v (%s)", err, f.Hint)
		}
	}
	return f
}

func resolveError(t testing.TB, s *Store, src app.Source) error {
	t.Helper()
	_, _, err := s.Resolve(context.Background(), src, time.Now())
	if err == nil {
		t.Fatalf("resolve %+v: no error", src.Ref)
	}
	return err
}
