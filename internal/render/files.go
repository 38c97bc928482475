package render

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"plumb.dev/plumb/internal/app"
)

// files reads the tree within the bounds and follows links inside it. It
// remembers the first bound that was hit, because the libraries above bury
// errors. Names are slash separated, relative, "." for the root.
type files struct {
	ctx   context.Context
	tree  fs.FS
	links fs.ReadLinkFS // nil if the tree has no links to read
	opts  Options

	count   int
	bytes   int64
	stopped error           // a bound, or the context
	plain   map[string]bool // names known to be no links
	read    []string        // the names of the files read, in order, each once
	seen    map[string]bool // those of read
}

func newFiles(ctx context.Context, tree fs.FS, opts Options) *files {
	links, _ := tree.(fs.ReadLinkFS)
	return &files{ctx: ctx, tree: tree, links: links, opts: opts, plain: map[string]bool{}, seen: map[string]bool{}}
}

// foreseeing is a tree that is far away, and can fetch at once what it would be
// asked for one by one.
type foreseeing interface{ Ahead(names []string) }

// ahead says which names will be looked at next. It is a hint only.
func (f *files) ahead(names []string) {
	if tree, ok := f.tree.(foreseeing); ok && len(names) > 0 && f.alive() == nil {
		tree.Ahead(names[:min(len(names), f.opts.MaxFiles)])
	}
}

func (f *files) stop(err error) error {
	if f.stopped == nil {
		f.stopped = err
	}
	return f.stopped
}

// alive fails once a bound was hit or the context has ended.
func (f *files) alive() error {
	if f.stopped != nil {
		return f.stopped
	}
	if f.ctx.Err() == nil {
		return nil
	}
	return f.stop(Stopped(f.ctx))
}

// Stopped is the failure of a rendering whose context has ended.
func Stopped(ctx context.Context) *app.Failure {
	cause := context.Cause(ctx)
	var why *app.Failure
	switch {
	case errors.As(cause, &why):
		return why
	case errors.Is(cause, context.DeadlineExceeded):
		return failure(app.ReasonTimeout, "rendering took longer than allowed")
	}
	return failure(app.ReasonTerminated, "rendering was stopped: %w", cause)
}

var errEscape = errors.New("the link leaves the source tree")

// resolve gives the name that name stands for once all links are followed.
// The last element need not exist.
func (f *files) resolve(name string) (string, error) {
	if f.links == nil || name == "." {
		return name, nil
	}
	const maxLinks = 40 // as Linux has it
	at, rest := ".", strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		next := path.Join(at, rest[0])
		rest = rest[1:]
		if f.plain[next] {
			at = next
			continue
		}
		info, err := f.links.Lstat(next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			f.plain[next] = true
			at = next
			continue
		}
		target, err := f.links.ReadLink(next)
		if err != nil {
			return "", err
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "open", Path: name, Err: errors.New("too many links")}
		}
		to := path.Join(at, target)
		if path.IsAbs(target) || to == ".." || strings.HasPrefix(to, "../") || repositoryOf(to) != repositoryOf(next) {
			return "", &fs.PathError{Op: "open", Path: next, Err: errEscape}
		}
		rest = append(strings.Split(to, "/"), rest...)
		at = "."
	}
	return at, nil
}

// stat describes what name stands for, and how it is really named.
func (f *files) stat(name string) (string, fs.FileInfo, error) {
	if err := f.alive(); err != nil {
		return "", nil, err
	}
	real, err := f.resolve(name)
	if err != nil {
		return "", nil, err
	}
	info, err := fs.Stat(f.tree, real)
	return real, info, err
}

// list returns the entries of a directory, sorted by name.
func (f *files) list(dir string) ([]fs.DirEntry, error) {
	if err := f.alive(); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(f.tree, dir)
	for _, e := range entries {
		// A Git tree may hold any name. Followed, these would lead elsewhere,
		// or here again without end.
		if name := e.Name(); name == "." || !fs.ValidPath(name) || strings.Contains(name, "/") {
			return nil, f.stop(failure(app.ReasonBuild, "%s holds an entry that no directory can have: %q", show(dir), name).
				WithHint("mend the repository: git fsck tells more"))
		}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, err
}

// content reads a file.
func (f *files) content(name string) ([]byte, error) {
	real, info, err := f.stat(name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("is a directory")}
	}
	if f.count++; f.count > f.opts.MaxFiles {
		return nil, f.stop(failure(app.ReasonBuild, "more than the %d files allowed are read", f.opts.MaxFiles).
			WithHint("split the app into several, or narrow its path"))
	}
	file, err := f.tree.Open(real)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	left := f.opts.MaxBytes - f.bytes
	data, err := io.ReadAll(io.LimitReader(file, left+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if f.bytes += int64(len(data)); f.bytes > f.opts.MaxBytes {
		return nil, f.stop(failure(app.ReasonBuild, "%s: more than the %d bytes allowed are read", name, f.opts.MaxBytes).
			WithHint("split the app into several, or narrow its path"))
	}
	if !f.seen[real] {
		f.seen[real] = true
		f.read = append(f.read, real)
	}
	return data, nil
}

// peek reads a file again for an error message or a line number: outside the
// bounds, since it only reads what was read before.
func (f *files) peek(name string) []byte {
	real, err := f.resolve(name)
	if err != nil || !f.seen[real] {
		return nil
	}
	data, err := fs.ReadFile(f.tree, real)
	if err != nil {
		return nil
	}
	return data
}

// kustomizationNames are the names of a kustomization file.
var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// appendKustomizationFiles appends the paths that a kustomization file of dir
// can have.
func appendKustomizationFiles(to []string, dir string) []string {
	for _, name := range kustomizationNames {
		to = append(to, path.Join(dir, name))
	}
	return to
}

// kustomizationFile names the kustomization file of a directory, "" if it has
// none.
func (f *files) kustomizationFile(dir string) (string, error) {
	found := ""
	for _, name := range kustomizationNames {
		file := path.Join(dir, name)
		_, info, err := f.stat(file)
		if err != nil || info.IsDir() {
			continue
		}
		if found != "" {
			return "", failure(app.ReasonBuild, "%s: there is also a %s in this directory", file, path.Base(found)).
				WithHint("keep one of them")
		}
		found = file
	}
	return found, f.alive()
}
