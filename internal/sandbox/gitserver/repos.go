package gitserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// defaultBranch is HEAD of a new repository.
const defaultBranch = "main"

// Limits of names: they become directories.
const (
	maxNameLength = 200
	maxNameParts  = 8
)

var namePart = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// CheckName says why a repository cannot have the name; nil if it can. A name
// is one or more parts of letters, digits, dots, dashes and underscores,
// separated by slashes: apps, team/apps.
func CheckName(name string) error {
	parts := strings.Split(name, "/")
	if len(name) > maxNameLength || len(parts) > maxNameParts {
		return fmt.Errorf("the repository name is too long: at most %d characters and %d parts", maxNameLength, maxNameParts)
	}
	for _, part := range parts {
		if !namePart.MatchString(part) || strings.Contains(part, "..") ||
			strings.HasSuffix(part, ".git") || strings.HasSuffix(part, ".lock") {
			return fmt.Errorf("%q is no repository name: parts consist of letters, digits, '.', '-' and '_', begin with none of '.' and '-', and do not end in .git or .lock", name)
		}
	}
	return nil
}

// Dir is the bare repository of the name on disk.
func (s *Server) Dir(name string) string {
	return filepath.Join(s.opts.Dir, filepath.FromSlash(name)+".git")
}

// Create makes an empty repository; an existing one is left alone.
func (s *Server) Create(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	return s.ensure(ctx, name, true)
}

// ensure checks that a repository exists, or makes it. The error is
// os.ErrNotExist if it does not and should not.
func (s *Server) ensure(ctx context.Context, name string, create bool) error {
	s.create.Lock()
	defer s.create.Unlock()
	dir := s.Dir(name)
	if _, err := os.Stat(dir); err == nil || !create {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("create repository %s: %w", name, err)
	}
	// Made aside and moved: nobody ever sees half a repository. The name is
	// none that CheckName lets pass.
	making := dir + ".new"
	if err := os.RemoveAll(making); err != nil {
		return fmt.Errorf("create repository %s: %w", name, err)
	}
	if _, err := s.run(ctx, s.opts.Dir, nil, "init", "--quiet", "--bare", "--template=", "--initial-branch="+defaultBranch, making); err != nil {
		return fmt.Errorf("create repository %s: %w", name, err)
	}
	for _, setting := range [][2]string{
		{"http.receivepack", "true"}, // pushes without a user of the web server
		{"http.getanyfile", "false"},
		{"uploadpack.allowFilter", "true"},
		{"uploadpack.allowAnySHA1InWant", "true"}, // implies reachable and tip
		{"receive.denyDeleteCurrent", "ignore"},
	} {
		if _, err := s.run(ctx, making, nil, "config", setting[0], setting[1]); err != nil {
			return fmt.Errorf("create repository %s: %w", name, err)
		}
	}
	return os.Rename(making, dir)
}

// refs lists the refs with what they point to, one a line.
func (s *Server) refs(ctx context.Context, name string) ([]byte, error) {
	return s.run(ctx, s.Dir(name), nil, "for-each-ref", "--format=%(objectname) %(refname)")
}

// pushed is called after a push was answered, with the refs from before it.
func (s *Server) pushed(ctx context.Context, name string, before []byte) {
	after, err := s.refs(ctx, name)
	if err != nil || bytes.Equal(before, after) {
		return // refused, or nothing new
	}
	s.adoptHead(ctx, name, after)
	if s.opts.OnPush != nil {
		s.opts.OnPush(name)
	}
}

// adoptHead points HEAD to a branch that exists, if it does not: who pushes
// master to a new repository wants to clone it.
func (s *Server) adoptHead(ctx context.Context, name string, refs []byte) {
	if _, err := s.run(ctx, s.Dir(name), nil, "rev-parse", "--quiet", "--verify", "HEAD"); err == nil {
		return
	}
	for line := range strings.Lines(string(refs)) {
		_, ref, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(ref, "refs/heads/") {
			s.run(ctx, s.Dir(name), nil, "symbolic-ref", "HEAD", ref)
			return
		}
	}
}

// run runs git without any configuration of the machine or user, and returns
// its output. The error holds what it complained of.
func (s *Server) run(ctx context.Context, dir string, stdin io.Reader, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.git, args...)
	cmd.Dir = dir
	cmd.Env = append(gitEnvironment(), "PATH="+filepath.Dir(s.git))
	cmd.Stdin = stdin
	output, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("git %s: %s (%w)", args[0], bytes.TrimSpace(exit.Stderr), err)
	}
	return output, err
}

// gitEnvironment makes git behave the same on every machine.
func gitEnvironment() []string {
	return []string{
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_TERMINAL_PROMPT=0",
		"LC_ALL=C",
		// The repositories may belong to another user, as in a mounted volume.
		"GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=safe.directory",
		"GIT_CONFIG_VALUE_0=*",
	}
}
