package helmchart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/helmrepo"
)

// inFiles is a chart among the files of a source.
type inFiles struct {
	revision app.Revision
	name     string // of its directory or archive
	dir      bool
	unpacked Files // of an archive
}

// packed finds the chart and tells what packing it would give. The same version
// is the same chart, unless each revision is to be a version of its own.
func (u *Upstream) packed() (inFiles, error) {
	wrong := func(err error) (inFiles, error) {
		return inFiles{}, app.Fail(app.StageFetch, app.ReasonRefNotFound, "%s: %w", u, err).
			WithHint("correct spec.chart: it is the path of a directory with a Chart.yaml, or of an archive, in the source")
	}
	name := path.Clean(strings.TrimLeft(u.Chart.Chart, "/"))
	if !fs.ValidPath(name) {
		return wrong(fmt.Errorf("%q is no path in the source", u.Chart.Chart))
	}
	info, err := fs.Stat(u.Files, name)
	if err != nil {
		return wrong(err)
	}
	c := inFiles{name: name, dir: info.IsDir()}
	var m metadata
	if c.dir {
		data, err := readFile(u.Files, path.Join(name, metadataFile))
		if err != nil {
			return wrong(err)
		}
		if m, err = readMetadata(data); err != nil {
			return wrong(err)
		}
	} else {
		archive, err := readArchive(u.Files, name)
		if err == nil {
			c.unpacked, err = Unpack(archive)
		}
		if err == nil {
			m, err = c.unpacked.metadata()
		}
		if err != nil {
			return wrong(err)
		}
	}
	build := ""
	if u.Chart.ByRevision {
		build = u.Revision.ID()[:min(12, len(u.Revision.ID()))]
	}
	if u.Chart.Packs() {
		build = strings.TrimPrefix(build+"."+strconv.FormatInt(u.Chart.Generation, 10), ".")
	}
	version, err := withBuild(m.Version, build)
	if err != nil {
		return wrong(err)
	}
	chart := &app.ChartRevision{Name: m.Name, Packed: c.dir || build != "", Source: u.Revision}
	if u.Chart.Packs() {
		chart.ValuesFiles = u.Chart.ValuesFiles
	}
	c.revision = app.Revision{Ref: version, Chart: chart,
		Commit: digestOf("packed", m.Name, version, u.Chart.Generation, u.Chart.ValuesFiles, u.Chart.IgnoreMissing)}
	return c, nil
}

func readArchive(files fs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, helmrepo.MaxChart+1))
	if err == nil && len(data) > helmrepo.MaxChart {
		err = fmt.Errorf("%s is larger than %d MiB", name, helmrepo.MaxChart>>20)
	}
	return data, err
}

// pack makes the chart.
func (u *Upstream) pack(ctx context.Context, c inFiles) (Files, error) {
	files := c.unpacked
	if c.dir {
		var err error
		if files, err = ReadDir(ctx, u.Files, c.name); err != nil {
			return nil, u.fail(app.ReasonBuild, fmt.Errorf("%s: %w", u, err))
		}
		if _, ok := files[metadataFile]; !ok {
			return nil, u.fail(app.ReasonBuild, fmt.Errorf("%s: .helmignore leaves out %s", u, metadataFile))
		}
	}
	// The names of values files count from the root of the source.
	read := func(name string) ([]byte, error) {
		clean := path.Clean(strings.TrimLeft(name, "/"))
		if !fs.ValidPath(clean) {
			return nil, errors.New("it is outside of the source")
		}
		if info, err := fs.Stat(u.Files, clean); err == nil && !info.Mode().IsRegular() {
			return nil, errors.New("it is no file")
		}
		return readFile(u.Files, clean)
	}
	if err := u.repack(files, c.revision.Ref, read); err != nil {
		return nil, err
	}
	if c.dir {
		if err := u.depend(ctx, c.name, files); err != nil {
			return nil, u.fail(app.ReasonDependency, err)
		}
	}
	return files, nil
}
