package gitserver_test

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"plumb.dev/plumb/internal/sandbox/gitserver"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// git runs the client; dir is where, "" for nowhere in particular.
func git(t *testing.T, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=T", "GIT_AUTHOR_EMAIL=t@localhost", "GIT_COMMITTER_NAME=T", "GIT_COMMITTER_EMAIL=t@localhost",
	}
	output, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	output, err := git(t, dir, args...)
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return output
}

// worktree makes a repository with one commit of one file.
func worktree(t *testing.T, branch string, content []byte) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	mustGit(t, dir, "init", "--quiet", "--initial-branch="+branch)
	if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	mustGit(t, dir, "add", "file")
	mustGit(t, dir, "commit", "--quiet", "--message=one")
	return dir, mustGit(t, dir, "rev-parse", "HEAD")
}

func TestPushCreatesAndCloneReads(t *testing.T) {
	for _, name := range []string{"apps", "team/apps", "a.b/c_d/e-f"} {
		t.Run(name, func(t *testing.T) {
			server := sandboxtest.GitWith(t, gitserver.Options{})
			dir, commit := worktree(t, "main", []byte("hello"))
			if output, err := git(t, "", "clone", server.RepoURL(name), filepath.Join(t.TempDir(), "none")); err == nil {
				t.Errorf("cloning a repository that does not exist succeeded: %s", output)
			}
			mustGit(t, dir, "push", "--quiet", server.RepoURL(name), "main")
			clone := filepath.Join(t.TempDir(), "clone")
			mustGit(t, "", "clone", "--quiet", server.RepoURL(name), clone)
			if got := mustGit(t, clone, "rev-parse", "HEAD"); got != commit {
				t.Errorf("cloned %s, pushed %s", got, commit)
			}
			c := &server.Counters
			if c.ReceivePack.Load() != 1 || c.UploadPack.Load() == 0 || c.Advertisements.Load() == 0 {
				t.Errorf("counted %d receive-pack, %d upload-pack, %d advertisements",
					c.ReceivePack.Load(), c.UploadPack.Load(), c.Advertisements.Load())
			}
		})
	}
}

// A body beyond http.postBuffer is sent in chunks, small ones may be gzipped.
func TestLargePush(t *testing.T) {
	content := make([]byte, 5<<20) // random: it must stay large when packed
	rand.Read(content)
	var pushes int
	server := sandboxtest.GitWith(t, gitserver.Options{OnPush: func(string) { pushes++ }})
	dir, commit := worktree(t, "main", content)
	mustGit(t, dir, "push", "--quiet", server.RepoURL("large"), "main")
	if pushes != 1 {
		t.Errorf("OnPush was called %d times for one push", pushes)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	mustGit(t, "", "clone", "--quiet", server.RepoURL("large"), clone)
	if got := mustGit(t, clone, "rev-parse", "HEAD"); got != commit {
		t.Errorf("cloned %s, pushed %s", got, commit)
	}
}

// Many refs make the fetch's request large enough for the client to gzip it.
func TestGzippedRequest(t *testing.T) {
	server := sandboxtest.GitWith(t, gitserver.Options{})
	dir, _ := worktree(t, "main", []byte("x"))
	args := []string{"push", "--quiet", server.RepoURL("many"), "main"}
	for i := range 60 {
		ref := "refs/heads/b" + strings.Repeat("x", i)
		commit := mustGit(t, dir, "commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", ref)
		args = append(args, commit+":"+ref)
	}
	mustGit(t, dir, args...)
	var gzipped bool
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gzipped = gzipped || r.Header.Get("Content-Encoding") == "gzip"
		server.ServeHTTP(w, r)
	}))
	defer front.Close()
	clone := filepath.Join(t.TempDir(), "clone")
	mustGit(t, "", "-c", "protocol.version=0", "clone", "--quiet", "--mirror", front.URL+"/many.git", clone)
	if !gzipped {
		t.Fatal("the client gzipped no request; the test tests nothing")
	}
	if refs := mustGit(t, clone, "for-each-ref"); strings.Count(refs, "\n")+1 != 61 {
		t.Errorf("cloned refs:\n%s", refs)
	}
}

func TestOnPushSeesNewRefs(t *testing.T) {
	var server *gitserver.Server
	var names, heads []string
	server = sandboxtest.GitWith(t, gitserver.Options{OnPush: func(name string) {
		names = append(names, name)
		heads = append(heads, mustGit(t, server.Dir(name), "rev-parse", "main"))
	}})
	dir, first := worktree(t, "main", []byte("1"))
	mustGit(t, dir, "push", "--quiet", server.RepoURL("team/apps"), "main")
	mustGit(t, dir, "push", "--quiet", server.RepoURL("team/apps"), "main") // nothing new
	mustGit(t, dir, "commit", "--quiet", "--allow-empty", "--message=two")
	mustGit(t, dir, "push", "--quiet", server.RepoURL("team/apps"), "main")
	second := mustGit(t, dir, "rev-parse", "HEAD")
	mustGit(t, dir, "commit", "--quiet", "--amend", "--allow-empty", "--message=three")
	if output, err := git(t, dir, "push", server.RepoURL("team/apps"), "main"); err == nil {
		t.Errorf("a push that rewrites history without force succeeded: %s", output)
	}
	if got, want := strings.Join(names, " "), "team/apps team/apps"; got != want {
		t.Errorf("OnPush was called for %q, want %q", got, want)
	}
	if got, want := strings.Join(heads, " "), first+" "+second; got != want {
		t.Errorf("OnPush saw main at %s, want %s", got, want)
	}
}

func TestOtherDefaultBranch(t *testing.T) {
	server := sandboxtest.GitWith(t, gitserver.Options{})
	dir, commit := worktree(t, "master", []byte("x"))
	mustGit(t, dir, "push", "--quiet", server.RepoURL("old"), "master")
	clone := filepath.Join(t.TempDir(), "clone")
	mustGit(t, "", "clone", "--quiet", server.RepoURL("old"), clone)
	if got := mustGit(t, clone, "rev-parse", "HEAD"); got != commit {
		t.Errorf("HEAD is %s, want %s", got, commit)
	}
}

func TestFetchByCommitAndFilter(t *testing.T) {
	server := sandboxtest.GitWith(t, gitserver.Options{})
	dir, first := worktree(t, "main", []byte("x"))
	mustGit(t, dir, "push", "--quiet", server.RepoURL("r"), "main")
	mustGit(t, dir, "commit", "--quiet", "--allow-empty", "--amend", "--message=two")
	mustGit(t, dir, "push", "--quiet", "--force", server.RepoURL("r"), "main")
	// first is on no branch now.
	into := t.TempDir()
	mustGit(t, into, "init", "--quiet")
	mustGit(t, into, "fetch", "--quiet", "--depth=1", "--filter=blob:none", server.RepoURL("r"), first)
	if got := mustGit(t, into, "rev-parse", "FETCH_HEAD"); got != first {
		t.Errorf("fetched %s, want %s", got, first)
	}
}

func TestAuthentication(t *testing.T) {
	server := sandboxtest.GitWith(t, gitserver.Options{Username: "plumb", Password: "pa:ss"})
	dir, _ := worktree(t, "main", []byte("x"))
	with := func(user string) string {
		return strings.Replace(server.RepoURL("private"), "http://", "http://"+user+"@", 1)
	}
	for _, user := range []string{"plumb:wrong", "other:pa%3Ass", "plumb:"} {
		if output, err := git(t, dir, "push", with(user), "main"); err == nil {
			t.Errorf("push as %s succeeded: %s", user, output)
		}
	}
	if _, err := os.Stat(server.Dir("private")); !os.IsNotExist(err) {
		t.Errorf("a refused push left a repository: %v", err)
	}
	mustGit(t, dir, "push", "--quiet", with("plumb:pa%3Ass"), "main")
	if output, err := git(t, "", "ls-remote", server.RepoURL("private")); err == nil {
		t.Errorf("reading without credentials succeeded: %s", output)
	}
	mustGit(t, "", "ls-remote", with("plumb:pa%3Ass"))
}

func TestInvalidRequests(t *testing.T) {
	parent := t.TempDir()
	server := sandboxtest.GitWith(t, gitserver.Options{Dir: filepath.Join(parent, "repos")})
	const query = "/info/refs?service=git-receive-pack"
	for path, want := range map[string]int{
		"/..%2fescape.git" + query:                       400,
		"/a%2f..%2f..%2fescape.git" + query:              400,
		"/.git" + query:                                  400,
		"/.hidden.git" + query:                           400,
		"/-option.git" + query:                           400,
		"/a//b.git" + query:                              400,
		"/a.git/b.git" + query:                           400,
		"/a%00b.git" + query:                             400,
		"/a.lock.git" + query:                            400,
		"/" + strings.Repeat("a", 300) + ".git" + query:  400,
		"/" + strings.Repeat("a/", 20) + "a.git" + query: 400,
		"/":                                  404,
		"/noextension" + query:               404,
		"/a.git/info/refs":                   404,
		"/a.git/HEAD":                        404,
		"/a.git/info/refs?service=git-shell": 404,
		"/missing.git/info/refs?service=git-upload-pack": 404,
	} {
		response, err := http.Get(server.URL() + path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: answered %d, want %d", path, response.StatusCode, want)
		}
	}
	for _, dir := range []string{parent, filepath.Join(parent, "repos")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if entry.Name() != "repos" {
				t.Errorf("refused requests left %s in %s", entry.Name(), dir)
			}
		}
	}
}

func TestSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	first := sandboxtest.GitWith(t, gitserver.Options{Dir: dir})
	work, commit := worktree(t, "main", []byte("x"))
	mustGit(t, work, "push", "--quiet", first.RepoURL("kept"), "main")
	first.Close()
	second := sandboxtest.GitWith(t, gitserver.Options{Dir: dir})
	if got := mustGit(t, "", "ls-remote", second.RepoURL("kept"), "main"); !strings.HasPrefix(got, commit) {
		t.Errorf("after the restart main is %q, want %s", got, commit)
	}
}

func TestSeed(t *testing.T) {
	server := sandboxtest.GitWith(t, gitserver.Options{})
	files := fstest.MapFS{
		"apps/web.yaml":     {Data: []byte("kind: ConfigMap\n")},
		"apps/run.sh":       {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
		`odd "name" \ äö.x`: {Data: []byte{0, 1, '\n', 0xff}},
		"empty":             {},
	}
	commit, err := server.Seed(t.Context(), "demo", files, "First: what runs\n\nAnd more.")
	if err != nil {
		t.Fatal(err)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	mustGit(t, "", "clone", "--quiet", server.RepoURL("demo"), clone)
	if got := mustGit(t, clone, "log", "--format=%H %an <%ae> %s"); got != commit+" Plumb <plumb@localhost> First: what runs" {
		t.Errorf("log is %q", got)
	}
	for name, file := range files {
		content, err := os.ReadFile(filepath.Join(clone, name))
		if err != nil || string(content) != string(file.Data) {
			t.Errorf("%s has %q (%v), want %q", name, content, err, file.Data)
		}
	}
	if info, err := os.Stat(filepath.Join(clone, "apps/run.sh")); err != nil || info.Mode()&0o100 == 0 {
		t.Errorf("run.sh is not executable: %v %v", info, err)
	}
	if _, err := server.Seed(t.Context(), "demo", files, "Again"); err == nil {
		t.Error("seeding twice succeeded")
	}
}

func TestNoGit(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := gitserver.New(gitserver.Options{Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "install git") {
		t.Errorf("without git: %v", err)
	}
}
