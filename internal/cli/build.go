package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/engine"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/source"
)

type buildOptions struct {
	repo        string
	revision    string
	mode        string
	recurse     bool
	remoteBases bool
	showSecrets bool
}

func buildCommand(p *program) *cobra.Command {
	var opts buildOptions
	cmd := &cobra.Command{
		Use:     "build PATH",
		Short:   "Render a directory as Plumb would, without a cluster",
		GroupID: groupRepository,
		Long: `Render the manifests of a directory, exactly as an app of that path is rendered,
and print the objects. No cluster is needed.

PATH is a directory on this machine, with what is not committed yet. If it is
in the work tree of a Git repository, files of the whole repository may be
referred to, as from an app (../base), and nothing outside of it.

With --revision, PATH is rendered as it is in that revision. With --repo, PATH
is a directory of that repository, which may be a directory on this machine or
a URL; credentials can be part of the URL.

--mode says how the directory is read:

  auto        Kustomize if there is a kustomization file, else plain manifests
  kustomize   Kustomize; a kustomization file must be there
  generated   Kustomize; without a kustomization file, all manifests below PATH,
              as a Kustomization has them
  directory   plain manifests, with --recurse those of subdirectories, too

Secrets are shown as fingerprints, which differ from one run to the next, unless
--show-secrets says otherwise. -o is yaml (the default), json or name.`,
		Example: `  plumb build ./overlays/production
  plumb build overlays/production --revision v1.4.0 -o name
  plumb build apps/shop --repo https://git.example/fleet.git --revision main`,
		Args: arguments(1, 1),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.buildObjects(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.repo, "repo", "", "repository that PATH is in, a `DIRECTORY or URL`")
	flags.StringVar(&opts.revision, "revision", "", "branch, tag, commit, HEAD or version range to render (default with --repo: HEAD)")
	flags.StringVar(&opts.mode, "mode", "auto", "auto, kustomize, generated or directory")
	flags.BoolVar(&opts.recurse, "recurse", false, "with plain manifests: read subdirectories, too")
	flags.BoolVar(&opts.remoteBases, "allow-remote-bases", false, "allow kustomizations to build on other Git repositories, and fetch those without credentials")
	flags.BoolVar(&opts.showSecrets, "show-secrets", false, "print the values of Secrets")
	_ = cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"auto", "kustomize", "generated", "directory"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (p *program) buildObjects(ctx context.Context, out, stderr io.Writer, opts buildOptions, dir string) error {
	format, err := p.format("yaml", "json", "name")
	if err != nil {
		return err
	}
	mode, ok := map[string]app.RenderMode{
		"auto": app.RenderAuto, "kustomize": app.RenderKustomize, "generated": app.RenderGenerated, "directory": app.RenderDirectory,
	}[opts.mode]
	if !ok {
		return usage("--mode %s: no such mode", opts.mode).hint("the modes are auto, kustomize, generated and directory")
	}
	tree, err := p.openTree(ctx, opts, dir)
	if err != nil {
		return err
	}
	defer tree.close()
	renderer := engine.RenderFunc(render.Render)
	if opts.remoteBases {
		cache, done, err := p.cache("bases")
		if err != nil {
			return err
		}
		defer done()
		renderer = renderer.WithBases(p.bases(cache))
	}
	result, err := renderer(ctx, tree.files, app.Render{
		Path: tree.path, Mode: mode, Name: filepath.Base(dir), Revision: tree.revision,
		Directory: app.Directory{Recurse: opts.recurse},
	})
	if err != nil && tree.root != "" {
		return fmt.Errorf("in %s: %w", tree.root, err) // paths count from there
	}
	if err != nil {
		return err
	}
	for _, w := range result.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", warningText(w))
	}
	if len(result.Objects) == 0 {
		fmt.Fprintf(stderr, "%s holds no manifests\n", dir)
		if result.Mode == app.RenderDirectory && !opts.recurse {
			fmt.Fprintln(stderr, "  hint: files count that end in .yaml, .yml or .json; --recurse reads those of subdirectories, too")
		}
	}
	return writeObjects(out, format, result.Objects, opts.showSecrets)
}

// writeObjects prints objects as manifests, or only their names.
func writeObjects(out io.Writer, format string, objects []object.Object, secrets bool) error {
	switch format {
	case "name":
		for _, o := range objects {
			fmt.Fprintln(out, o.Ref())
		}
		return nil
	case "json":
		items := []any{}
		for _, o := range objects {
			content := o.Unstructured().Object
			if !secrets {
				content = object.Redact(content)
			}
			items = append(items, content)
		}
		return write(out, format, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	}
	text, err := object.EncodeYAML(objects, !secrets)
	if err != nil {
		return err
	}
	_, err = out.Write(text)
	return err
}

// openedTree is files to render from.
type openedTree struct {
	files    fs.FS
	path     string // of the directory, within files
	revision string // commit, "" for files that are not committed
	root     string // of files, where it is a directory other than the current one
	close    func()
}

func (p *program) openTree(ctx context.Context, opts buildOptions, dir string) (openedTree, error) {
	if opts.repo != "" {
		repo := opts.repo
		if isDirectory(repo) {
			absolute, err := filepath.Abs(repo)
			if err != nil {
				return openedTree{}, err
			}
			repo = absolute
		}
		return p.openRevision(ctx, repo, opts.revision, filepath.ToSlash(dir))
	}
	root, within, err := workTree(dir)
	if err != nil {
		return openedTree{}, err
	}
	if opts.revision != "" {
		if !isRepository(root) {
			return openedTree{}, usage("--revision: %s is not in a Git repository", dir).hint("name one with --repo")
		}
		return p.openRevision(ctx, root, opts.revision, within)
	}
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		return openedTree{}, notFound("%s does not exist", dir).hint("name a directory that holds manifests, or a --repo that it is in")
	case err != nil:
		return openedTree{}, fail(ExitOther, "%w", err).hint("name a directory that can be read")
	case !info.IsDir():
		return openedTree{}, notFound("%s is a file, not a directory", dir).hint("name its directory: plumb build %s", filepath.Dir(dir))
	}
	confined, err := os.OpenRoot(root)
	if err != nil {
		return openedTree{}, err
	}
	tree := openedTree{files: confined.FS(), path: within, close: func() { confined.Close() }}
	if here, _, err := workTree("."); err != nil || here != root {
		tree.root = root
	}
	return tree, nil
}

// openRevision fetches a repository and opens the files of a revision.
func (p *program) openRevision(ctx context.Context, url, revision, dir string) (openedTree, error) {
	cache, done, err := p.cache("repositories")
	if err != nil {
		return openedTree{}, err
	}
	store := source.Open(source.Options{Dir: cache, Local: true, Proxy: p.env.Proxy, Now: p.env.Now})
	at, repo, err := store.Resolve(ctx, app.Source{URL: url, Ref: app.GitRef{Any: revision}}, p.env.Now())
	if err != nil {
		done()
		return openedTree{}, err
	}
	tree, err := repo.Tree(at.ID())
	if err != nil {
		done()
		return openedTree{}, err
	}
	return openedTree{files: tree, path: dir, revision: at.Commit, close: done}, nil
}

// bases fetches the remote bases of kustomizations. Directories of this machine
// are not among them: a repository that someone else wrote could name any.
func (p *program) bases(cache string) *source.Store {
	return source.Open(source.Options{Dir: filepath.Join(cache, "bases"), Proxy: p.env.Proxy, Now: p.env.Now})
}

// workTree finds the root of the work tree that dir is in, and where in it
// that is. A directory in no work tree is its own root. Nothing has to exist:
// an older revision may have what is gone.
func workTree(dir string) (root, within string, err error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return "", "", err
	}
	if real, err := filepath.EvalSymlinks(absolute); err == nil {
		absolute = real
	}
	for root = absolute; ; root = filepath.Dir(root) {
		if isRepository(root) {
			within, err = filepath.Rel(root, absolute)
			return root, filepath.ToSlash(within), err
		}
		if root == filepath.Dir(root) {
			return absolute, ".", nil
		}
	}
}

// isRepository reports whether dir is the root of a work tree, a linked one or
// a submodule included.
func isRepository(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, ".git"))
	return err == nil
}

func isDirectory(dir string) bool {
	if strings.Contains(dir, "://") {
		return false
	}
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

// cache gives a directory that belongs to this process: the one of that name
// in the cache directory or, if another process has it or there is none, a
// temporary one.
func (p *program) cache(name string) (dir string, done func(), err error) {
	if p.env.CacheDir != "" {
		dir = filepath.Join(p.env.CacheDir, name)
		if os.MkdirAll(dir, 0o700) == nil {
			if unlock, ok := tryLock(dir + ".lock"); ok {
				return dir, unlock, nil
			}
		}
	}
	dir, err = os.MkdirTemp("", "plumb-")
	if err != nil {
		return "", nil, err
	}
	return dir, func() { os.RemoveAll(dir) }, nil
}
