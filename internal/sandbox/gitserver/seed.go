package gitserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// seedAuthor is who commits what Plumb itself puts into a repository.
const seedAuthor = "Plumb <plumb@localhost>"

// ErrNotEmpty: the repository has commits already.
var ErrNotEmpty = errors.New("it has commits already")

// Seed creates a repository whose first commit has the files, and returns
// that commit's id. It fails with ErrNotEmpty if the repository has some already. OnPush is
// not called.
func (s *Server) Seed(ctx context.Context, name string, files fs.FS, message string) (commit string, err error) {
	if err := s.Create(ctx, name); err != nil {
		return "", err
	}
	refs, err := s.refs(ctx, name)
	if err != nil {
		return "", fmt.Errorf("seed repository %s: %w", name, err)
	}
	if len(refs) > 0 {
		return "", fmt.Errorf("seed repository %s: %w", name, ErrNotEmpty)
	}
	stream, err := fastImport(files, message)
	if err != nil {
		return "", fmt.Errorf("seed repository %s: %w", name, err)
	}
	if _, err := s.run(ctx, s.Dir(name), stream, "fast-import", "--quiet", "--date-format=now"); err != nil {
		return "", fmt.Errorf("seed repository %s: %w", name, err)
	}
	id, err := s.run(ctx, s.Dir(name), nil, "rev-parse", "refs/heads/"+defaultBranch)
	if err != nil {
		return "", fmt.Errorf("seed repository %s: %w", name, err)
	}
	return strings.TrimSpace(string(id)), nil
}

// fastImport writes one commit in the language of git fast-import.
func fastImport(files fs.FS, message string) (*bytes.Buffer, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "commit refs/heads/%s\ncommitter %s now\n", defaultBranch, seedAuthor)
	data := func(content []byte) {
		fmt.Fprintf(&out, "data %d\n%s\n", len(content), content)
	}
	data([]byte(message))
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file", path)
		}
		content, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		mode := "100644"
		if info.Mode()&0o111 != 0 {
			mode = "100755"
		}
		fmt.Fprintf(&out, "M %s inline %s\n", mode, quotePath(path))
		data(content)
		return nil
	})
	return &out, err
}

// quotePath quotes as git does in its streams: C strings, other bytes as they are.
func quotePath(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}
