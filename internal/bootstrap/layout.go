package bootstrap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/source"
)

// What a bootstrapped directory holds. The second set is what Flux calls its
// own, whose directory is understood.
const (
	plumbDir       = "plumb-system"
	componentsFile = "plumb-components.yaml"
	syncFile       = "plumb-sync.yaml"

	fluxDir            = "flux-system"
	fluxComponentsFile = "gotk-components.yaml"
	fluxSyncFile       = "gotk-sync.yaml"

	kustomizationFile = "kustomization.yaml"
)

// Name and Namespace are of the GitRepository, the Kustomization and the Secret
// through which a cluster follows its directory. They are Flux's: Kustomizations
// that were written for a cluster which Flux bootstrapped name that
// GitRepository as their source, and people and scripts know the name.
const (
	Name      = "flux-system"
	Namespace = "flux-system"
)

// kustomization is written once; what users add to it stays. A namespace that
// leaves Git takes along all that is in it, Kustomizations with what they have
// delivered included: that must take more than a commit.
const kustomization = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
  - plumb-components.yaml
%spatches:
  - target: {kind: Namespace}
    patch: |
      apiVersion: v1
      kind: Namespace
      metadata:
        name: any
        annotations:
          kustomize.toolkit.fluxcd.io/prune: disabled
`

const componentsHead = "# Plumb, as `plumb bootstrap` writes it. Changes belong into patches in kustomization.yaml.\n"

const syncHead = "# By this the cluster follows its directory, in which Plumb itself is.\n"

// Problem is why a repository cannot be bootstrapped as it is, and what to do.
type Problem struct {
	Err  error
	Hint string
}

func (p *Problem) Error() string { return p.Err.Error() }
func (p *Problem) Unwrap() error { return p.Err }

func problem(hint, format string, args ...any) *Problem {
	return &Problem{Err: fmt.Errorf(format, args...), Hint: hint}
}

// layout is what is to be in Git, and what follows from what is there.
type layout struct {
	change source.Change
	dirs   []string // that hold Plumb and the way it follows the repository
	notes  []string // for the user
}

// draw decides about a repository. files is nil if it has no commits.
func draw(files fs.FS, o Options) (layout, error) {
	l := layout{change: source.Change{Files: map[string][]byte{}, Message: "Bootstrap Plumb " + o.Version + " in " + o.Path + "\n"}}
	if files == nil {
		files = nothing{}
	}
	if err := refersTo(files, o.Path); err != nil {
		return layout{}, err
	}
	at := func(dir, name string) string { return path.Join(o.Path, dir, name) }
	l.dirs = []string{path.Join(o.Path, plumbDir)}
	l.change.Files[at(plumbDir, componentsFile)] = append([]byte(componentsHead), o.Components...)

	fluxSync, err := read(files, at(fluxDir, fluxSyncFile))
	if err != nil {
		return layout{}, err
	}
	extra := "  - " + syncFile + "\n"
	if fluxSync != nil {
		note, err := checkSync(fluxSync, at(fluxDir, fluxSyncFile), o)
		if err != nil {
			return layout{}, err
		}
		l.notes = append(l.notes, note...)
		l.dirs = append(l.dirs, path.Join(o.Path, fluxDir))
		l.change.Remove = append(l.change.Remove, at(plumbDir, syncFile))
		extra = ""
	} else {
		sync, err := o.sync()
		if err != nil {
			return layout{}, err
		}
		l.change.Files[at(plumbDir, syncFile)] = sync
	}
	if err := l.replaceFlux(files, o); err != nil {
		return layout{}, err
	}
	own, err := read(files, at(plumbDir, kustomizationFile))
	if err != nil {
		return layout{}, err
	}
	if own == nil {
		l.change.Files[at(plumbDir, kustomizationFile)] = fmt.Appendf(nil, kustomization, extra)
	}
	return l, nil
}

// replaceFlux takes Flux's own components out of Git: with Plumb's beside them
// the directory would hold the same definitions and the same namespace twice,
// and could not be built.
func (l *layout) replaceFlux(files fs.FS, o Options) error {
	name := path.Join(o.Path, fluxDir, fluxComponentsFile)
	components, err := read(files, name)
	if components == nil || err != nil {
		return err
	}
	objects, err := object.Decode(name, components)
	if err != nil {
		return err
	}
	runs := slices.ContainsFunc(objects, func(o object.Object) bool { return o.Ref().Kind == "Deployment" })
	if runs && !o.ReplaceFlux {
		return problem("stop Flux with plumb adopt flux where it runs, then bootstrap with --replace-flux: the commit removes the file and its line in "+kustomizationFile,
			"%s holds Flux's own components: the directory was bootstrapped by Flux", name)
	}
	list := path.Join(o.Path, fluxDir, kustomizationFile)
	text, err := read(files, list)
	if err != nil {
		return err
	}
	if text != nil {
		shorter := componentsLine.ReplaceAll(text, nil)
		if bytes.Equal(shorter, text) {
			return problem("remove gotk-components.yaml from its resources by hand, and commit that", "%s does not list gotk-components.yaml on a line of its own", list)
		}
		if bytes.Contains(text, []byte("patches")) {
			l.notes = append(l.notes, list+" has patches: those of Flux's controllers can go now")
		}
		l.change.Files[list] = shorter
	}
	l.change.Remove = append(l.change.Remove, name)
	return nil
}

var componentsLine = regexp.MustCompile(`(?m)^\s*-\s+(\./)?gotk-components\.yaml\s*?\n`)

// checkSync reads what Flux follows the repository by: it goes on to be used.
func checkSync(text []byte, name string, o Options) (notes []string, err error) {
	objects, err := object.Decode(name, text)
	if err != nil {
		return nil, err
	}
	var repository, app *unstructured.Unstructured
	for _, one := range objects {
		switch u := one.Unstructured(); {
		case one.Ref().Kind == flux.KindGitRepository && u.GetName() == Name:
			repository = u
		case one.Ref().Kind == flux.KindKustomization && u.GetName() == Name:
			app = u
		}
	}
	if repository == nil || app == nil {
		return nil, problem("restore it from Git's history, or remove the directory "+path.Dir(name), "%s does not hold the GitRepository and the Kustomization %s", name, Name)
	}
	if url, _, _ := unstructured.NestedString(repository.Object, "spec", "url"); url != o.URL {
		notes = append(notes, fmt.Sprintf("%s stays as it is: the cluster follows %s", name, source.Canonical(url)))
	}
	return notes, nil
}

// refersTo makes sure that what is put into the directory is delivered: where a
// kustomization lists what counts, it must list Plumb's.
func refersTo(files fs.FS, dir string) error {
	for _, name := range []string{kustomizationFile, "kustomization.yml", "Kustomization"} {
		name = path.Join(dir, name)
		text, err := read(files, name)
		if err != nil {
			return err
		}
		if text == nil {
			continue
		}
		var k struct {
			Resources []string `json:"resources"`
		}
		if err := yaml.Unmarshal(text, &k); err != nil {
			return problem("correct it first", "%s: %w", name, err)
		}
		if !slices.ContainsFunc(k.Resources, func(r string) bool { return path.Clean(r) == plumbDir }) {
			return problem("add "+plumbDir+" to its resources, and commit that", "%s lists what the directory holds, and %s is not among it", name, plumbDir)
		}
	}
	return nil
}

// sync is what makes a cluster follow its directory.
func (o Options) sync() ([]byte, error) {
	spec := map[string]any{"interval": "1m", "ref": map[string]any{"branch": o.Branch}, "url": o.URL}
	if len(o.Secret) > 0 {
		spec["secretRef"] = map[string]any{"name": Name}
	}
	metadata := map[string]any{"name": Name, "namespace": Namespace}
	out := []byte(syncHead)
	for i, doc := range []map[string]any{
		{"apiVersion": flux.SourceGroup + "/v1", "kind": flux.KindGitRepository, "metadata": metadata, "spec": spec},
		{"apiVersion": flux.KustomizeGroup + "/v1", "kind": flux.KindKustomization, "metadata": metadata, "spec": map[string]any{
			"interval": "10m", "path": "./" + o.Path, "prune": true,
			"sourceRef": map[string]any{"kind": flux.KindGitRepository, "name": Name},
		}},
	} {
		text, err := yaml.Marshal(doc)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out = append(out, "---\n"...)
		}
		out = append(out, text...)
	}
	return out, nil
}

// read gives a file, nil if there is none.
func read(files fs.FS, name string) ([]byte, error) {
	data, err := fs.ReadFile(files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonBuild, "%s: %w", name, err)
	}
	return data, nil
}

// nothing is a file system without files.
type nothing struct{}

func (nothing) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// pathOf cleans the path of a directory in a repository.
func pathOf(text string) (string, error) {
	clean := path.Clean(strings.ReplaceAll(text, "\\", "/"))
	if text == "" || path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", problem("name a directory of the repository, such as clusters/production", "--path %q is no directory within a repository", text)
	}
	return clean, nil
}

var branchName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._/+@#-]*$`)

func checkBranch(name string) error {
	if !branchName.MatchString(name) || strings.Contains(name, "..") || strings.Contains(name, "@{") || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".lock") {
		return problem("--branch names a branch, such as main", "--branch %q is not the name of a branch", name)
	}
	return nil
}
