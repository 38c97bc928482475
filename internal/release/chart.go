package release

import "io/fs"

// Chart is a loaded chart. It may be used by several actions at a time.
type Chart struct {
	Name, Version, AppVersion string
	// Digest of the OCI artifact; "" for other sources.
	Digest string
}

// LoadChart reads the chart in fsys: at its root, in its only directory that has
// a Chart.yaml, or packaged, as its only .tgz file. The revision of an OCI
// artifact, "tag@sha256:…" or "sha256:…", puts 12 digits into the build metadata
// of the chart's version, so that a tag that moved is another chart; a tag that
// is a version must be the chart's. It is "" for other sources. The error is an
// app.Failure.
func LoadChart(fsys fs.FS, revision string) (*Chart, error) { return nil, errUnwritten }
