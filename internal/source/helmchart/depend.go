package helmchart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/helmrepo"
)

const (
	chartsDir       = "charts/"
	maxDependencies = 100
)

// depend adds the dependencies that the chart at dir names and does not contain,
// in the versions of its lock file if there is one. They come from beside the
// chart (file://), or from Helm repositories that ask for no credentials.
func (u *Upstream) depend(ctx context.Context, dir string, files Files) error {
	wanted, err := files.dependencies()
	if err != nil {
		return err
	}
	if len(wanted) > maxDependencies {
		return fmt.Errorf("%s: more than %d dependencies", dir, maxDependencies)
	}
	there := files.contained()
	for _, d := range wanted {
		if there[d.Name] {
			continue
		}
		if !fs.ValidPath(d.Name) || strings.Contains(d.Name, "/") || d.Name == "." {
			return fmt.Errorf("%q is no name of a dependency", d.Name)
		}
		below, err := u.dependency(ctx, dir, d)
		if err != nil {
			var f *app.Failure
			if errors.As(err, &f) {
				return app.Fail(app.StageFetch, app.ReasonDependency, "dependency %s %s: %w", d.Name, d.Version, f.Err).WithHint("%s", f.Hint)
			}
			return app.Fail(app.StageFetch, app.ReasonDependency, "dependency %s %s: %w", d.Name, d.Version, err)
		}
		for name, data := range below {
			files[chartsDir+d.Name+"/"+name] = data
		}
		there[d.Name] = true
	}
	return nil
}

// dependencies are those of Chart.yaml, or of requirements.yaml in charts of
// old, unless a lock file says it more exactly.
func (f Files) dependencies() ([]dependency, error) {
	m, err := f.metadata()
	if err != nil {
		return nil, err
	}
	var lists struct {
		Dependencies []dependency `json:"dependencies"`
	}
	lock := "Chart.lock"
	if len(m.Dependencies) == 0 {
		if err := yaml.Unmarshal(f["requirements.yaml"], &lists); err != nil {
			return nil, fmt.Errorf("requirements.yaml: %w", err)
		}
		m.Dependencies, lock = lists.Dependencies, "requirements.lock"
	}
	if data, ok := f[lock]; ok && len(m.Dependencies) > 0 {
		lists.Dependencies = nil
		if err := yaml.Unmarshal(data, &lists); err != nil {
			return nil, fmt.Errorf("%s: %w", lock, err)
		}
		m.Dependencies = lists.Dependencies
	}
	return m.Dependencies, nil
}

// contained names the charts in charts/.
func (f Files) contained() map[string]bool {
	out := map[string]bool{}
	for name, data := range f {
		below, ok := strings.CutPrefix(name, chartsDir)
		if !ok {
			continue
		}
		switch parts := strings.Split(below, "/"); {
		case len(parts) == 2 && parts[1] == metadataFile:
			if m, err := readMetadata(data); err == nil {
				out[m.Name] = true
			}
		case len(parts) == 1 && strings.HasSuffix(below, ".tgz"):
			if packed, err := Unpack(data); err == nil {
				if m, err := packed.metadata(); err == nil {
					out[m.Name] = true
				}
			}
		}
	}
	return out
}

func (u *Upstream) dependency(ctx context.Context, dir string, d dependency) (Files, error) {
	scheme, rest, _ := strings.Cut(d.Repository, "://")
	switch {
	case scheme == "file":
		return u.beside(ctx, path.Join(dir, rest), d)
	case scheme == "http" || scheme == "https":
		return u.elsewhere(ctx, d)
	case scheme == "oci":
		return u.inOther(ctx, d)
	case d.Repository == "":
		return nil, errors.New("it has no repository and is not in charts/")
	case strings.HasPrefix(d.Repository, "@") || strings.HasPrefix(d.Repository, "alias:"):
		return nil, fmt.Errorf("repository %q is an alias, known on someone's machine only; write its URL", d.Repository)
	}
	return nil, fmt.Errorf("repository %q is not supported; use a https:// or file:// repository, or put the chart in charts/", d.Repository)
}

// beside takes a dependency from the same source.
func (u *Upstream) beside(ctx context.Context, dir string, d dependency) (Files, error) {
	if !fs.ValidPath(dir) {
		return nil, fmt.Errorf("repository %q leads out of the source", d.Repository)
	}
	info, err := fs.Stat(u.Files, dir)
	if err != nil {
		return nil, err
	}
	var files Files
	if info.IsDir() {
		files, err = ReadDir(ctx, u.Files, dir)
	} else {
		var archive []byte
		if archive, err = readArchive(u.Files, dir); err == nil {
			files, err = Unpack(archive)
		}
	}
	if err != nil {
		return nil, err
	}
	m, err := files.metadata()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	within, err := semver.NewConstraint(orAny(d.Version))
	if err != nil {
		return nil, fmt.Errorf("version %q: %w", d.Version, err)
	}
	if version, err := semver.NewVersion(m.Version); err != nil || !within.Check(version) && m.Version != d.Version {
		return nil, fmt.Errorf("%s has version %s", dir, m.Version)
	}
	return files, nil
}

// elsewhere downloads a dependency.
func (u *Upstream) elsewhere(ctx context.Context, d dependency) (Files, error) {
	repo, err := u.Repositories.Repository(d.Repository, app.Credentials{}, false)
	if err != nil {
		return nil, err
	}
	versions, err := repo.Versions(ctx, d.Name)
	if err != nil {
		return nil, err
	}
	v, err := helmrepo.Pick(versions, d.Version)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", repo, err)
	}
	archive, err := repo.Download(ctx, v)
	if err != nil {
		return nil, err
	}
	files, err := Unpack(archive)
	if err == nil {
		var m metadata
		if m, err = files.metadata(); err == nil && m.Name != d.Name {
			err = fmt.Errorf("the archive holds the chart %q", m.Name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", repo, err)
	}
	return files, nil
}
