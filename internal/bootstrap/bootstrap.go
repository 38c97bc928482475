// Package bootstrap puts Plumb into a repository and into the cluster that
// follows it: Plumb's manifests are committed to the cluster's directory and
// applied once, and from then on the cluster delivers that directory, Plumb
// included. It must not know flags, nor how anything is printed, and it keeps
// credentials to itself: they go to the Git server and into one Secret.
package bootstrap

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/source"
	"plumb.dev/plumb/internal/source/giturl"
)

// Options say what to bootstrap.
type Options struct {
	Config  *rest.Config
	Sources *source.Store
	URL     string // of the repository
	Branch  string
	Path    string // of the cluster's directory
	// Secret is the content of the Secret by which the cluster reads the
	// repository, in the format of Flux; empty for a repository that needs none.
	// It is what the commit is pushed with, too.
	Secret map[string][]byte
	Author source.Author
	// Components are the manifests of Plumb, one YAML stream, and Version what
	// they install.
	Components []byte
	Version    string
	// ReplaceFlux takes Flux's components out of the directory.
	ReplaceFlux bool
	// Running: a Plumb serves the cluster already, and follows the directory.
	Running bool
	DryRun  bool
	// Told hears of each step that is done.
	Told func(format string, args ...any)
}

// Outcome is what came of it.
type Outcome struct {
	Revision  app.Revision
	Committed bool
	Files     []string // that were, or would be, in the commit
}

// Run commits, pushes and applies. It returns when that is done; whether the
// cluster becomes what the directory says is told by the Kustomization Name in
// Namespace. Errors are of type Problem where the user has to do something.
func Run(ctx context.Context, o Options) (Outcome, error) {
	if err := o.complete(); err != nil {
		return Outcome{}, err
	}
	src := app.Source{URL: o.URL, Ref: app.GitRef{Branch: o.Branch}, Auth: flux.Credentials(o.Secret, o.URL)}
	if len(o.Secret) == 0 {
		src.Auth = app.Credentials{}
	}
	var l layout
	var out Outcome
	change := func(tree *source.Tree) (_ source.Change, err error) {
		var files fs.FS
		if tree != nil {
			files = tree
		}
		if l, err = draw(files, o); err != nil {
			return source.Change{}, err
		}
		out.Files, err = changed(files, l.change)
		if err == nil && o.DryRun {
			err = errDryRun
		}
		return l.change, err
	}
	revision, committed, err := o.Sources.Commit(ctx, src, o.Author, change)
	if o.DryRun && err == errDryRun {
		o.tellDryRun(l, out)
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Revision, out.Committed = revision, committed
	if committed {
		o.Told("committed to %s: %s", o.Branch, revision.Commit)
	} else {
		o.Told("%s has all of it, at %s", o.Branch, revision.Commit)
	}
	for _, note := range l.notes {
		o.Told("note: %s", note)
	}
	objects, err := o.rendered(ctx, src, l)
	if err != nil {
		return out, err
	}
	return out, o.install(ctx, objects)
}

// complete checks the options and settles their form.
func (o *Options) complete() (err error) {
	address, err := giturl.Parse(o.URL)
	switch {
	case err != nil:
		return problem("--url is a URL of Git over https, http or ssh", "--url: %w", err)
	case address.Scheme == "file":
		return problem("--url is a URL that the cluster can reach", "--url: %s is a directory of this machine", address.Path)
	case address.Password != "" || address.User != "" && address.Scheme != "ssh":
		return problem("--username and --password-file take them", "--url holds credentials, which would be committed")
	}
	o.URL = address.String() // scp's form too, as a URL
	if err := checkBranch(o.Branch); err != nil {
		return err
	}
	o.Path, err = pathOf(o.Path)
	return err
}

var errDryRun = fmt.Errorf("dry run")

// changed lists the paths that a change touches.
func changed(files fs.FS, c source.Change) ([]string, error) {
	if files == nil {
		files = nothing{}
	}
	var out []string
	for _, name := range sorted(c.Files) {
		there, err := read(files, name)
		switch {
		case err != nil:
			return nil, err
		case there == nil:
			out = append(out, "+ "+name)
		case string(there) != string(c.Files[name]):
			out = append(out, "~ "+name)
		}
	}
	for _, name := range c.Remove {
		there, err := read(files, name)
		if err != nil {
			return nil, err
		}
		if there != nil {
			out = append(out, "- "+name)
		}
	}
	return out, nil
}

func (o Options) tellDryRun(l layout, out Outcome) {
	if len(out.Files) == 0 {
		o.Told("%s has all of it: nothing would be committed", o.Branch)
	} else {
		o.Told("would be committed to %s:", o.Branch)
	}
	for _, f := range out.Files {
		o.Told("  %s", f)
	}
	for _, note := range l.notes {
		o.Told("note: %s", note)
	}
	if len(o.Secret) > 0 {
		o.Told("would be made: Secret/%s/%s", Namespace, Name)
	}
	o.Told("would be applied: what is in %s, and followed from then on", l.dirs[0])
}

// rendered is what Git holds now of Plumb, as Plumb itself would deliver it:
// applying it twice changes nothing.
func (o Options) rendered(ctx context.Context, src app.Source, l layout) ([]object.Object, error) {
	revision, repo, err := o.Sources.Resolve(ctx, src, time.Now())
	if err != nil {
		return nil, err
	}
	tree, err := repo.Tree(revision.Commit)
	if err != nil {
		return nil, err
	}
	var all []object.Object
	for _, dir := range l.dirs {
		result, err := render.Render(ctx, tree, app.Render{Path: dir, Mode: app.RenderGenerated, Name: Name})
		if err != nil {
			return nil, err
		}
		all = append(all, result.Objects...)
	}
	for _, one := range all {
		if ref := one.Ref(); ref.Kind == flux.KindKustomization && ref.Name == Name && ref.Namespace == Namespace {
			prepared, _, failure := plan.Prepare(all, flux.DecodeKustomization(one.Unstructured()), map[schema.GroupKind]plan.Kind{})
			if failure != nil {
				return nil, failure
			}
			return prepared, nil
		}
	}
	return nil, problem("plumb-sync.yaml must be among the resources of its kustomization", "%s does not hold the Kustomization %s", l.dirs[0], Name)
}

// isSync tells what makes the cluster follow Git, and is applied last.
func isSync(u *unstructured.Unstructured) bool {
	group := u.GroupVersionKind().Group
	return group == flux.SourceGroup || group == flux.KustomizeGroup
}
