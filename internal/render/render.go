// Package render turns the files of a source tree into Kubernetes objects. It
// is hermetic: what comes out depends on the tree, the spec and the options
// alone. It must not know clusters, Git or custom resources, reads nothing but
// the tree it is given, opens no connection, starts no process and looks at no
// clock; a hostile tree can cost it bounded time and memory and nothing else.
package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Options bounds a rendering; a zero field means its default.
type Options struct {
	MaxFiles          int   // files read, repetitions included; 20,000
	MaxBytes          int64 // bytes read, repetitions included; 128 MiB
	MaxObjects        int   // objects rendered; 20,000
	MaxOutput         int64 // bytes of rendered objects, about; 256 MiB
	MaxDepth          int   // kustomizations upon kustomizations; 32
	MaxKustomizations int   // kustomizations built, repetitions included; 2,000
}

func (o Options) withDefaults() Options {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.MaxFiles, 20_000)
	set(&o.MaxObjects, 20_000)
	set(&o.MaxDepth, 32)
	set(&o.MaxKustomizations, 2_000)
	if o.MaxBytes == 0 {
		o.MaxBytes = 128 << 20
	}
	if o.MaxOutput == 0 {
		o.MaxOutput = 256 << 20
	}
	return o
}

// Result is what was rendered, each object with the place it comes from.
type Result struct {
	Objects  []object.Object
	Warnings []app.Warning
	// Mode is how the path was read in the end: RenderDirectory,
	// RenderKustomize or RenderChart.
	Mode app.RenderMode
}

// Render renders spec from tree within the default bounds.
func Render(ctx context.Context, tree fs.FS, spec app.Render) (Result, error) {
	return Options{}.Render(ctx, tree, spec)
}

// Render renders spec from tree. Every error is an *app.Failure of the render
// stage that names file and line where they are known:
//
//   - ReasonInvalidSpec: spec itself cannot mean anything (a bad glob, a path
//     that leaves the tree);
//   - ReasonPathNotFound: spec.Path is no directory of the tree;
//   - ReasonUnsupported: the files ask for what is not done here (remote
//     bases, plugins, Helm inflation, Jsonnet);
//   - ReasonTimeout: ctx reached its deadline;
//   - ReasonBuild: everything else that is wrong with the files, the bounds
//     included.
//
// If ctx is cancelled with a Failure as its cause, that is returned. What
// spec.Completes asks for is left to Complete.
func (o Options) Render(ctx context.Context, tree fs.FS, spec app.Render) (result Result, err error) {
	defer func() {
		// Kustomize and the YAML library below it have panicked on strange
		// input before; that must cost one app its attempt and no more.
		if r := recover(); r != nil {
			result, err = Result{}, failure(app.ReasonBuild, "rendering %q failed on an unexpected input: %s", spec.Path, firstLine(fmt.Sprint(r)))
		}
	}()
	r := &rendering{files: newFiles(ctx, tree, o.withDefaults()), spec: spec}
	objects, err := r.objects()
	if stopped := r.files.stopped; stopped != nil {
		err = stopped // the reason behind whatever the libraries made of it
	}
	if err != nil {
		var f *app.Failure
		if !errors.As(err, &f) {
			err = failure(app.ReasonBuild, "%w", err)
		}
		return Result{}, r.nameBases(nil, err)
	}
	if err := r.checkSize(objects); err != nil {
		return Result{}, err
	}
	result = Result{Objects: objects, Warnings: r.warnings, Mode: r.mode}
	return result, r.nameBases(&result, nil)
}

// rendering is one call of Render.
type rendering struct {
	files    *files
	spec     app.Render
	warnings []app.Warning
	mode     app.RenderMode
	remotes  map[string]Remote // the remote bases that were found, by where they stand
}

func (r *rendering) warn(format string, args ...any) {
	r.warnings = append(r.warnings, app.Warning{Message: fmt.Sprintf(format, args...)})
}

// objects dispatches by mode.
func (r *rendering) objects() ([]object.Object, error) {
	if r.spec.Mode == app.RenderChart {
		return r.chart()
	}
	dir, err := r.directory()
	if err != nil {
		return nil, err
	}
	var objects []object.Object
	r.mode = app.RenderKustomize
	switch r.spec.Mode {
	case app.RenderDirectory:
		r.mode = app.RenderDirectory
		return r.manifests(dir)
	case app.RenderAuto, app.RenderKustomize, app.RenderGenerated:
		file, err := r.files.kustomizationFile(dir)
		switch {
		case err != nil:
			return nil, err
		case file != "":
			objects, err = r.kustomize(dir, file)
		case r.spec.Mode == app.RenderAuto:
			r.mode = app.RenderDirectory
			return r.manifests(dir)
		case r.spec.Mode == app.RenderGenerated:
			objects, err = r.generated(dir)
		default:
			return nil, failure(app.ReasonBuild, "%s: there is no kustomization.yaml", show(dir)).
				WithHint("add a kustomization.yaml, or deliver the directory as plain manifests")
		}
		if err != nil {
			return nil, err
		}
		if !r.spec.Completes() {
			setMetadata(objects, r.spec.Kustomize)
		}
		return objects, nil
	}
	return nil, failure(app.ReasonInvalidSpec, "unknown render mode %q", r.spec.Mode)
}

// directory is the resolved spec.Path.
func (r *rendering) directory() (string, error) {
	dir := path.Clean("./" + strings.TrimPrefix(r.spec.Path, "/"))
	if dir == ".." || strings.HasPrefix(dir, "../") || !fs.ValidPath(dir) || repositoryOf(dir) != "." {
		return "", failure(app.ReasonInvalidSpec, "path %q leaves the source tree", r.spec.Path)
	}
	real, info, err := r.files.stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", failure(app.ReasonPathNotFound, "path %q does not exist in the source", r.spec.Path).
			WithHint("check the path, and that it is committed on the branch or tag that is delivered")
	case err != nil:
		return "", failure(app.ReasonPathNotFound, "path %q: %s", r.spec.Path, cause(err))
	case !info.IsDir():
		return "", failure(app.ReasonPathNotFound, "path %q is a file, not a directory", r.spec.Path).
			WithHint("name the directory that holds the manifests")
	}
	return real, nil
}

// checkSize holds the bounds on what comes out.
func (r *rendering) checkSize(objects []object.Object) error {
	if n := len(objects); n > r.files.opts.MaxObjects {
		return failure(app.ReasonBuild, "%s renders %d objects, more than the %d allowed", show(r.spec.Path), n, r.files.opts.MaxObjects).
			WithHint("split the app into several")
	}
	left := r.files.opts.MaxOutput
	for _, o := range objects {
		if left = shrink(left, o.Unstructured().Object); left < 0 {
			return failure(app.ReasonBuild, "%s renders more than the %d bytes allowed", show(r.spec.Path), r.files.opts.MaxOutput).
				WithHint("split the app into several")
		}
	}
	return nil
}

// shrink takes the approximate JSON size of v from left.
func shrink(left int64, v any) int64 {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if left = shrink(left-int64(len(k))-4, item); left < 0 {
				break
			}
		}
	case []any:
		for _, item := range v {
			if left = shrink(left-2, item); left < 0 {
				break
			}
		}
	case string:
		return left - int64(len(v)) - 2
	}
	return left - 4
}

func failure(reason app.Reason, format string, args ...any) *app.Failure {
	return app.Fail(app.StageRender, reason, format, args...)
}

// show names a directory of the tree to a person.
func show(dir string) string {
	if dir == "." || dir == "" {
		return "the root of the source"
	}
	return dir
}

func firstLine(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	if r := []rune(text); len(r) > 500 {
		return string(r[:500]) + "…"
	}
	return text
}
