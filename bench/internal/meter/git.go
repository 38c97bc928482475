package meter

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Clone is a working copy of a repository, kept by stock git.
type Clone struct {
	Dir    string
	Remote string // its address
}

// Init makes an empty working copy whose branch main will be pushed to remote.
func Init(dir, remote string) (Clone, error) {
	c := Clone{Dir: dir, Remote: remote}
	if out, err := exec.Command("git", "init", "-q", "--initial-branch=main", dir).CombinedOutput(); err != nil {
		return c, fmt.Errorf("git init: %w\n%s", err, out)
	}
	_, err := c.Git("remote", "add", "origin", remote)
	return c, err
}

// Git runs git in the working copy.
func (c Clone) Git(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", c.Dir, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// Write writes files, by path in the working copy.
func (c Clone) Write(files map[string]string) error {
	for name, content := range files {
		path := filepath.Join(c.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Commit commits everything, and returns the commit.
func (c Clone) Commit() (string, error) {
	_, add := c.Git("add", "-A")
	_, commit := c.Git("commit", "-q", "-m", "bench")
	if err := errors.Join(add, commit); err != nil {
		return "", err
	}
	return c.Git("rev-parse", "HEAD")
}

// Push pushes what is committed.
func (c Clone) Push() error {
	_, err := c.Git("push", "-q", "origin", "HEAD:main")
	return err
}
