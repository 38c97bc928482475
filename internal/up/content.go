package up

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/examples"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/sandbox/gitserver"
	"plumb.dev/plumb/internal/source/giturl"
)

// content is what is delivered to begin with.
type content struct {
	// Kind is sample, repo or none; "" is not chosen yet.
	Kind string `json:"kind,omitempty"`
	// URL and Path are of a repo.
	URL  string `json:"url,omitempty"`
	Path string `json:"path,omitempty"`
}

const (
	contentSample = "sample"
	contentRepo   = "repo"
	contentNone   = "none"

	sampleName = "sample" // of the repository and of its source
)

// chooseContent follows the options, or what was chosen before.
func chooseContent(ctx context.Context, opts Options, before content) (content, error) {
	switch {
	case opts.Repo != "":
		return repository(ctx, opts.Repo, opts.Path)
	case opts.NoSample:
		return content{Kind: contentNone}, nil
	case before.Kind != "":
		return before, nil
	}
	return content{Kind: contentSample}, nil
}

// local reports whether the content is a directory of this machine.
func (c content) local() bool { return strings.HasPrefix(c.URL, "file://") }

// repository reads --repo, a directory or a URL.
func repository(ctx context.Context, repo, path string) (content, error) {
	c := content{Kind: contentRepo, Path: path}
	info, err := os.Stat(repo)
	if err != nil && strings.Contains(repo, ":") {
		c.URL, err = remote(repo)
		return c, err
	}
	switch {
	case err != nil:
		return c, problem("--repo is a directory with a Git repository, or a URL", "--repo: %w", err)
	case !info.IsDir():
		return c, problem("--repo is a directory with a Git repository, or a URL", "--repo: %s is not a directory", repo)
	}
	absolute, err := filepath.Abs(repo)
	if err != nil {
		return c, problem("give the full path", "--repo: %w", err)
	}
	if absolute, err = filepath.EvalSymlinks(absolute); err != nil {
		return c, problem("give the full path", "--repo: %w", err)
	}
	root, err := git(ctx, absolute, "rev-parse", "--show-toplevel")
	if err != nil { // a bare repository has no top level
		if root, err = git(ctx, absolute, "rev-parse", "--absolute-git-dir"); err != nil {
			return c, problem("make it one with git init and git commit, or name another directory", "--repo: %s is not a Git repository: %w", absolute, err)
		}
	}
	if root != absolute {
		within, err := filepath.Rel(root, absolute)
		if err != nil || strings.HasPrefix(within, "..") {
			within = "."
		}
		return c, problem(fmt.Sprintf("write --repo %s --path %s", root, filepath.ToSlash(filepath.Join(within, path))),
			"--repo: %s is a directory inside of a Git repository", absolute)
	}
	if _, err := git(ctx, root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err != nil {
		return c, problem("commit something: only what is committed is delivered", "--repo: %s has no commit yet", absolute)
	}
	if path != "" {
		if _, err := git(ctx, root, "cat-file", "-e", "HEAD:"+strings.Trim(filepath.ToSlash(filepath.Clean(path)), "/.")); err != nil && filepath.Clean(path) != "." {
			return c, problem("--path is a directory of the last commit", "--path: %s has no committed %s", absolute, path)
		}
	}
	c.URL = (&url.URL{Scheme: "file", Path: filepath.ToSlash(root)}).String()
	return c, nil
}

// remote is the URL that a GitRepository can have for what a user of git writes.
func remote(text string) (string, error) {
	address, err := giturl.Parse(text)
	switch {
	case err != nil:
		return "", problem("--repo is a directory, or a URL of Git over http, https or ssh", "--repo: %w", err)
	case address.Scheme == "file":
		return "", problem("write the path without file://", "--repo: %s is a directory of this machine", address.Path)
	case address.Password != "" || address.User != "" && address.Scheme != "ssh":
		return "", problem("leave them out, and put them into a Secret that the GitRepository names", "--repo: credentials in a URL would be kept where others can read them")
	}
	return address.String(), nil // scp's form too, as a URL
}

// git asks the git of the machine.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	output, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && len(exit.Stderr) > 0 {
		err = errors.New(strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(output)), err
}

// seed makes the sample repository, unless it is there. It reports whether it
// did.
func seed(ctx context.Context, server *gitserver.Server) (bool, error) {
	files, err := examples.Sample(server.RepoURL(sampleName))
	if err != nil {
		return false, err
	}
	_, err = server.Seed(ctx, sampleName, files, "A shop in three environments")
	if errors.Is(err, gitserver.ErrNotEmpty) {
		return false, nil
	}
	if err != nil {
		return false, problem("--data chooses another directory, --no-sample does without it", "the sample repository cannot be made: %w", err)
	}
	return true, nil
}

// placed is an object with the resource it belongs to.
type placed struct {
	resource schema.GroupVersionResource
	*unstructured.Unstructured
}

// bootstrap is what delivers the content: apps, with their sources first.
func (c content) bootstrap(server *gitserver.Server) []placed {
	switch c.Kind {
	case contentSample:
		address := server.RepoURL(sampleName)
		return []placed{
			fluxSource(sampleName, address, map[string]any{"branch": "main"}, "1m"),
			fluxApp("cluster", sampleName, "./clusters/local"),
			rootApplication(address),
		}
	case contentRepo:
		interval := "1m"
		if c.local() {
			interval = "3s" // a look costs next to nothing, and nobody tells of commits
		}
		path := c.Path
		if path == "" {
			path = "."
		}
		if !strings.HasPrefix(path, ".") {
			path = "./" + path
		}
		return []placed{
			fluxSource("repo", c.URL, map[string]any{"name": "HEAD"}, interval),
			fluxApp("repo", "repo", path),
		}
	}
	return nil
}

func fluxSource(name, address string, ref map[string]any, interval string) placed {
	return placed{gitRepositories, object(flux.SourceGroup+"/v1", flux.KindGitRepository, fluxNamespace, name, map[string]any{
		"url": address, "ref": ref, "interval": interval,
	})}
}

func fluxApp(name, source, path string) placed {
	return placed{kustomizations, object(flux.KustomizeGroup+"/v1", flux.KindKustomization, fluxNamespace, name, map[string]any{
		"interval": "10m", "path": path, "prune": true, "wait": true, "timeout": "5m",
		"sourceRef": map[string]any{"kind": flux.KindGitRepository, "name": source},
	})}
}

// rootApplication delivers the Applications of the sample.
func rootApplication(address string) placed {
	return placed{applications, object(argo.Group+"/"+argo.Version, argo.KindApplication, argoNamespace, "root", map[string]any{
		"project":     "default",
		"source":      map[string]any{"repoURL": address, "targetRevision": "main", "path": "argocd"},
		"destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": argoNamespace},
		"syncPolicy":  map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true}},
	})}
}
