package render

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/gobwas/glob"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// manifests reads the plain manifests of dir, in the order of their paths.
func (r *rendering) manifests(dir string) ([]object.Object, error) {
	selected, err := newSelection(r.spec.Directory)
	if err != nil {
		return nil, err
	}
	var objects []object.Object
	wanted := func(name string) bool { return selected.has(strings.TrimPrefix(name, dir+"/")) }
	err = r.walk(dir, r.spec.Directory.Recurse, wanted, func(name string) error {
		found, err := r.manifest(name)
		objects = append(objects, found...)
		if err == nil && len(objects) > r.files.opts.MaxObjects {
			err = r.checkSize(objects)
		}
		return err
	})
	return objects, err
}

// walk calls visit for the wanted files of dir, by name. Links to files are
// followed, links to directories are not.
func (r *rendering) walk(dir string, recurse bool, wanted func(name string) bool, visit func(name string) error) error {
	entries, err := r.files.list(dir)
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range entries {
		if name := path.Join(dir, entry.Name()); entry.Type().IsRegular() && wanted(name) {
			names = append(names, name)
		}
	}
	r.files.ahead(names)
	for _, entry := range entries {
		name := path.Join(dir, entry.Name())
		if entry.Type()&fs.ModeSymlink != 0 {
			_, info, err := r.files.stat(name)
			if errors.Is(err, errEscape) {
				return failure(app.ReasonBuild, "%s: %w", name, errEscape).WithHint("remove the link, or exclude it")
			}
			if err != nil || info.IsDir() {
				continue
			}
		} else if entry.IsDir() {
			if recurse {
				if err := r.walk(name, recurse, wanted, visit); err != nil {
					return err
				}
			}
			continue
		}
		if !wanted(name) {
			continue
		}
		if err := visit(name); err != nil {
			return err
		}
	}
	return nil
}

// selection is which files of a directory are taken.
type selection struct{ include, exclude *glob.Pattern }

// newSelection compiles the patterns, in which * also matches slashes and
// {a,b} either, as Argo CD has them.
func newSelection(d app.Directory) (s selection, err error) {
	compile := func(field, pattern string) (*glob.Pattern, error) {
		if pattern == "" {
			return nil, nil
		}
		g, err := glob.Compile(pattern)
		if err != nil {
			return nil, failure(app.ReasonInvalidSpec, "%s pattern %q: %w", field, pattern, err)
		}
		return g, nil
	}
	if s.include, err = compile("include", d.Include); err != nil {
		return s, err
	}
	s.exclude, err = compile("exclude", d.Exclude)
	return s, err
}

// has reports whether the file of that path below the app's is selected.
func (s selection) has(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json", ".jsonnet":
	default:
		return false
	}
	if s.exclude != nil && s.exclude.Match(name) {
		return false
	}
	return s.include == nil || s.include.Match(name)
}

// manifest reads one file of plain manifests.
func (r *rendering) manifest(name string) ([]object.Object, error) {
	if path.Ext(name) == ".jsonnet" {
		return nil, failure(app.ReasonUnsupported, "%s: Jsonnet is not rendered", name).
			WithHint("commit the rendered manifests, or exclude the file")
	}
	data, err := r.files.content(name)
	if err != nil {
		return nil, err
	}
	d := r.spec.Directory
	if d.SkipMarker != "" && bytes.Contains(data, []byte(d.SkipMarker)) {
		return nil, nil
	}
	if slices.Contains(kustomizationNames, path.Base(name)) && bytes.Contains(data, []byte("kustomize.config.k8s.io/")) {
		r.warn("%s: left out: this directory is delivered as plain manifests, its kustomization is not built", name)
		return nil, nil
	}
	objects, err := object.Decoder{Lenient: d.Lenient}.Decode(name, data)
	var wrong *object.DecodeError
	if d.Lenient && errors.As(err, &wrong) && wrong.Syntax && !looksLikeManifest(data) {
		r.warn("%s: left out: it is neither readable as YAML nor looks like a manifest (%s)", name, wrong.Message)
		return nil, nil
	}
	if err != nil {
		return nil, failure(app.ReasonBuild, "%w", err).WithHint("%s", noManifest(name, "correct the file"))
	}
	return objects, nil
}

// noManifest is what to do about a file that should be a manifest: hint, unless
// its name tells what it is.
func noManifest(name, hint string) string {
	if path.Base(name) == "Chart.yaml" {
		return "the directory is a Helm chart: deliver it by a HelmRelease, or commit its rendered manifests elsewhere"
	}
	return hint
}

// looksLikeManifest is Argo CD's test of whether an unreadable file was meant
// to be one.
func looksLikeManifest(data []byte) bool {
	return bytes.Contains(data, []byte("apiVersion:")) && bytes.Contains(data, []byte("kind:")) && bytes.Contains(data, []byte("metadata:"))
}
