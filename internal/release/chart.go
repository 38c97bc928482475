package release

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v4/pkg/action"
	hchart "helm.sh/helm/v4/pkg/chart"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/ignore"

	"plumb.dev/plumb/internal/app"
)

// What a chart may hold, its packaged dependencies unpacked. Helm's own limits
// are the first two, for each archive by itself.
const (
	maxChartSize  = 100 << 20
	maxChartFile  = 5 << 20
	maxChartFiles = 20000
	maxSubcharts  = 8 // packaged within each other
)

// Chart is a loaded chart. It may be used by several actions at a time.
type Chart struct {
	Name, Version, AppVersion string
	// Digest of the OCI artifact; "" for other sources.
	Digest string

	files []*archive.BufferedFile
}

// LoadChart reads the chart in fsys: at its root, in its only directory that has
// a Chart.yaml, or packaged, as its only .tgz file. The revision of an OCI
// artifact, "tag@sha256:…" or "sha256:…", puts 12 digits into the build metadata
// of the chart's version, so that a tag that moved is another chart; a tag that
// is a version must be the chart's. It is "" for other sources. The error is an
// app.Failure.
func LoadChart(fsys fs.FS, revision string) (*Chart, error) {
	files, err := readChart(fsys)
	if err != nil {
		return nil, artifactFailure(err)
	}
	budget := &budget{bytes: maxChartSize, files: maxChartFiles}
	if files, err = budget.unpack(files, 0); err != nil {
		return nil, artifactFailure(err)
	}
	c := &Chart{files: files}
	loaded, err := c.fresh()
	if err != nil {
		return nil, artifactFailure(err)
	}
	if loaded.Metadata.Type == "library" {
		return nil, artifactFailure(fmt.Errorf("%s is a library chart, which cannot be released", loaded.Name()))
	}
	var needs []hchart.Dependency
	for _, d := range loaded.Metadata.Dependencies {
		needs = append(needs, d)
	}
	if err := action.CheckDependencies(loaded, needs); err != nil {
		return nil, artifactFailure(err).WithHint("Run helm dependency build, and commit or push the charts directory with it.")
	}
	c.Name, c.Version, c.AppVersion = loaded.Name(), loaded.Metadata.Version, loaded.Metadata.AppVersion
	if revision != "" {
		if err := c.identify(revision); err != nil {
			return nil, artifactFailure(err)
		}
	}
	return c, nil
}

func artifactFailure(err error) *app.Failure {
	return app.Fail(app.StageFetch, app.ReasonArtifact, "no chart to release: %w", err)
}

// identify puts the digest of the artifact into the version.
func (c *Chart) identify(revision string) error {
	version, err := semver.NewVersion(c.Version)
	if err != nil {
		return fmt.Errorf("chart version %q is no semantic version", c.Version)
	}
	tag, digest, ok := strings.Cut(revision, "@")
	if !ok {
		tag, digest = "", revision
	}
	// A tag cannot hold the + of build metadata, and has _ in its place.
	if tagged, err := semver.NewVersion(strings.ReplaceAll(tag, "_", "+")); err == nil && !tagged.Equal(version) {
		return fmt.Errorf("the artifact is tagged %s, and the chart in it has version %s", tag, c.Version)
	}
	const digits = 12
	_, sum, ok := strings.Cut(digest, ":")
	if !ok || len(sum) < digits {
		return fmt.Errorf("revision %q names no digest", revision)
	}
	identified, err := version.SetMetadata(sum[:digits])
	if err != nil {
		return fmt.Errorf("chart version %q: %w", c.Version, err)
	}
	c.Version, c.Digest = identified.String(), digest
	return nil
}

// fresh gives the chart as Helm has it. Rendering changes it, so that each
// action needs its own.
func (c *Chart) fresh() (*chart.Chart, error) {
	loaded, err := loader.LoadFiles(c.files)
	if err != nil {
		return nil, err
	}
	if c.Version != "" {
		loaded.Metadata.Version = c.Version
	}
	return loaded, nil
}

// readChart finds the chart's files, named from its root.
func readChart(fsys fs.FS) ([]*archive.BufferedFile, error) {
	if _, err := fs.Stat(fsys, "Chart.yaml"); err == nil {
		return readDirectory(fsys)
	}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, err
	}
	var directories, packages []string
	for _, e := range entries {
		if e.IsDir() {
			if _, err := fs.Stat(fsys, path.Join(e.Name(), "Chart.yaml")); err == nil {
				directories = append(directories, e.Name())
			}
		} else if path.Ext(e.Name()) == ".tgz" {
			packages = append(packages, e.Name())
		}
	}
	switch {
	case len(directories)+len(packages) == 0:
		return nil, errors.New("there is no Chart.yaml at the root or one directory below it, and no .tgz file")
	case len(directories)+len(packages) > 1:
		return nil, fmt.Errorf("there are several charts: %s", strings.Join(append(directories, packages...), ", "))
	case len(directories) == 1:
		sub, err := fs.Sub(fsys, directories[0])
		if err != nil {
			return nil, err
		}
		return readDirectory(sub)
	}
	info, err := fs.Stat(fsys, packages[0])
	if err != nil {
		return nil, err
	}
	if info.Size() > maxChartSize {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d that a chart may have", packages[0], info.Size(), maxChartSize)
	}
	file, err := fsys.Open(packages[0])
	if err != nil {
		return nil, err
	}
	defer file.Close()
	files, err := archive.LoadArchiveFiles(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", packages[0], err)
	}
	return files, nil
}

// readDirectory reads an unpacked chart, without what its .helmignore leaves out.
func readDirectory(fsys fs.FS) ([]*archive.BufferedFile, error) {
	rules := ignore.Empty()
	if text, err := fs.ReadFile(fsys, ignore.HelmIgnore); err == nil {
		if rules, err = ignore.Parse(bytes.NewReader(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", ignore.HelmIgnore, err)
		}
	}
	rules.AddDefaults()
	budget := &budget{bytes: maxChartSize, files: maxChartFiles}
	var files []*archive.BufferedFile
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := fs.Stat(fsys, name) // follows links as far as fsys does
		if err != nil {
			return err
		}
		if rules.Ignore(name, info) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		switch {
		case d.IsDir():
			return nil
		case !info.Mode().IsRegular():
			return fmt.Errorf("%s is neither a file nor a directory", name)
		case info.Size() > maxChartFile:
			return fmt.Errorf("%s has %d bytes, more than the %d that a file of a chart may have", name, info.Size(), maxChartFile)
		}
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		if err := budget.spend(len(data)); err != nil {
			return err
		}
		files = append(files, &archive.BufferedFile{Name: name, ModTime: info.ModTime(), Data: bytes.TrimPrefix(data, []byte("\ufeff"))})
		return nil
	})
	return files, err
}

// budget bounds what is unpacked in all: Helm bounds each archive by itself, and
// archives hold archives.
type budget struct{ bytes, files int }

func (b *budget) spend(size int) error {
	b.bytes -= size
	b.files--
	if b.bytes < 0 || b.files < 0 {
		return fmt.Errorf("unpacked it has more than %d bytes, or more than %d files", maxChartSize, maxChartFiles)
	}
	return nil
}

// unpack replaces packaged dependencies by their files.
func (b *budget) unpack(files []*archive.BufferedFile, depth int) ([]*archive.BufferedFile, error) {
	if depth > maxSubcharts {
		return nil, fmt.Errorf("it holds charts packaged more than %d deep in each other", maxSubcharts)
	}
	var out []*archive.BufferedFile
	for _, f := range files {
		name, packed := strings.CutPrefix(f.Name, "charts/")
		if !packed || strings.Contains(name, "/") || path.Ext(name) != ".tgz" || strings.IndexAny(name, "_.") == 0 {
			if err := b.spend(len(f.Data)); err != nil {
				return nil, err
			}
			out = append(out, f)
			continue
		}
		inner, err := archive.LoadArchiveFiles(bytes.NewReader(f.Data))
		if err == nil {
			inner, err = b.unpack(inner, depth+1)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		for _, g := range inner {
			out = append(out, &archive.BufferedFile{Name: strings.TrimSuffix(f.Name, ".tgz") + "/" + g.Name, ModTime: g.ModTime, Data: g.Data})
		}
	}
	return out, nil
}
