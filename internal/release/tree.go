package release

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
)

// LoadTree reads a chart out of a tree of files that nobody has packaged it
// from, at a revision. The error is an app.Failure.
func LoadTree(fsys fs.FS, at app.ReleaseChart, revision string) (*Chart, error) {
	place := path.Clean(strings.Trim(at.Path, "/"))
	if !fs.ValidPath(place) {
		return nil, artifactFailure(fmt.Errorf("path %q leads out of the source", at.Path))
	}
	sub, err := below(fsys, place)
	if err != nil {
		return nil, err
	}
	c, err := LoadChart(sub, "")
	if err != nil {
		return nil, err
	}
	if len(at.ValuesFiles) > 0 {
		if err := c.replaceValues(fsys, at); err != nil {
			return nil, err
		}
	}
	if at.ByRevision {
		const digits = 12
		version, err := semver.NewVersion(c.Version)
		if err == nil && len(revision) >= digits {
			*version, err = version.SetMetadata(revision[:digits])
		}
		if err != nil {
			return nil, artifactFailure(fmt.Errorf("chart version %q: %w", c.Version, err))
		}
		c.Version = version.String()
	}
	return c, nil
}

// below is the directory at a place, or what holds nothing but the archive that
// is there.
func below(fsys fs.FS, place string) (fs.FS, error) {
	info, err := fs.Stat(fsys, place)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, app.Fail(app.StageFetch, app.ReasonPathNotFound, "no chart to release: there is no %s in the source", place).
			WithHint("correct the path of the chart")
	case err != nil:
		return nil, app.AsFailure(err, app.StageFetch)
	case info.IsDir():
		return fs.Sub(fsys, place)
	}
	return single{fsys, place}, nil
}

// single is a file system with one file at its root.
type single struct {
	fsys  fs.FS
	place string
}

func (s single) Open(name string) (fs.File, error) {
	if name != path.Base(s.place) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return s.fsys.Open(s.place)
}

func (s single) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	info, err := fs.Stat(s.fsys, s.place)
	if err != nil {
		return nil, err
	}
	return []fs.DirEntry{fs.FileInfoToDirEntry(info)}, nil
}

// replaceValues makes values files of the source the chart's own.
func (c *Chart) replaceValues(fsys fs.FS, at app.ReleaseChart) error {
	merged := map[string]any{}
	for _, name := range at.ValuesFiles {
		place := path.Clean(strings.Trim(name, "/"))
		if !fs.ValidPath(place) {
			return artifactFailure(fmt.Errorf("values file %q leads out of the source", name))
		}
		data, err := fs.ReadFile(fsys, place)
		if errors.Is(err, fs.ErrNotExist) {
			if at.IgnoreMissing {
				continue
			}
			return app.Fail(app.StageFetch, app.ReasonArtifact, "values file %s does not exist in the source", place).
				WithHint("correct valuesFiles, or set ignoreMissingValuesFiles")
		}
		if err != nil {
			return app.AsFailure(err, app.StageFetch)
		}
		var values map[string]any
		if err := yaml.Unmarshal(data, &values); err != nil {
			return artifactFailure(fmt.Errorf("values file %s: %w", place, err))
		}
		merged = util.MergeTables(values, merged) // what is first wins
	}
	data, err := yaml.Marshal(merged)
	if err != nil {
		return artifactFailure(err)
	}
	const own = "values.yaml"
	files := make([]*archive.BufferedFile, 0, len(c.files)+1)
	for _, f := range c.files {
		if f.Name != own {
			files = append(files, f)
		}
	}
	c.files = append(files, &archive.BufferedFile{Name: own, Data: data})
	return nil
}

// Secrets are the texts of what was fetched that must not be told.
func Secrets(from []Fetched) []string { return newScrubber(from).secrets }
