package sandboxtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"plumb.dev/plumb/internal/sandbox/gitserver"
)

// Git starts a Git server without authentication that ends with the test.
func Git(t testing.TB) *gitserver.Server {
	t.Helper()
	return GitWith(t, gitserver.Options{})
}

// GitWith is Git with options; an empty Dir is filled in.
func GitWith(t testing.TB, opts gitserver.Options) *gitserver.Server {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	server, err := gitserver.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server
}

// Repo is a user's clone of a repository: files are changed in Dir, then
// committed and pushed.
type Repo struct {
	URL string // to fetch from
	Dir string // the clone
	t   testing.TB
}

// NewRepo creates the repository on the server and clones it, with branch
// main and no commit.
func NewRepo(t testing.TB, server *gitserver.Server, name string) *Repo {
	t.Helper()
	if err := server.Create(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	repo := &Repo{URL: server.RepoURL(name), Dir: t.TempDir(), t: t}
	repo.Git("init", "--quiet", "--initial-branch=main")
	repo.Git("remote", "add", "origin", repo.URL)
	return repo
}

// Write writes files by path, and makes their directories.
func (r *Repo) Write(files map[string]string) *Repo {
	r.t.Helper()
	for name, content := range files {
		path := filepath.Join(r.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
	return r
}

// WriteArchive writes the files of a txtar archive.
func (r *Repo) WriteArchive(archive string) *Repo {
	r.t.Helper()
	files := map[string]string{}
	for _, file := range txtar.Parse([]byte(archive)).Files {
		files[file.Name] = string(file.Data)
	}
	return r.Write(files)
}

// Remove removes files or directories.
func (r *Repo) Remove(names ...string) *Repo {
	r.t.Helper()
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(r.Dir, filepath.FromSlash(name))); err != nil {
			r.t.Fatal(err)
		}
	}
	return r
}

// Commit commits everything as it is, even nothing, without pushing, and
// returns the commit's id.
func (r *Repo) Commit(message string) string {
	r.t.Helper()
	r.Git("add", "--all")
	r.Git("commit", "--quiet", "--allow-empty", "--message="+message)
	return r.Git("rev-parse", "HEAD")
}

// Push commits everything and pushes the branch the clone is on, by force if
// need be. It returns the commit's id.
func (r *Repo) Push(message string) string {
	r.t.Helper()
	commit := r.Commit(message)
	r.Git("push", "--quiet", "--force", "origin", "HEAD")
	return commit
}

// Git runs git in the clone and returns its output without the last line
// break.
func (r *Repo) Git(args ...string) string {
	r.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = r.Dir
	cmd.Env = GitEnvironment()
	output, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return strings.TrimRight(string(output), "\n")
}

// GitEnvironment is the environment for a git that is the same on every
// machine, with an author and nothing of the user's configuration.
func GitEnvironment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Plumb Test",
		"GIT_AUTHOR_EMAIL=test@localhost",
		"GIT_COMMITTER_NAME=Plumb Test",
		"GIT_COMMITTER_EMAIL=test@localhost",
	}
}
