package helmchart

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/Masterminds/semver/v3"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/helmrepo"
	"plumb.dev/plumb/internal/source/oci"
)

// archiveType is the media type of the layer that is a chart.
const archiveType = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"

// inRepository is a chart in a registry.
type inRepository struct {
	revision app.Revision // of the chart
	artifact *oci.Artifact
	manifest app.Revision // of the artifact
	version  string
}

// inRegistry finds a version of a chart below the address of the source. A tag
// cannot hold the + of a version; an _ stands for it, as Helm writes it.
func (u *Upstream) inRegistry(ctx context.Context, chart, constraint string) (inRepository, error) {
	version := constraint
	if _, err := semver.StrictNewVersion(constraint); err != nil {
		all, err := u.artifact(chart, "")
		if err != nil {
			return inRepository{}, err
		}
		tags, err := all.Tags(ctx)
		if err != nil {
			return inRepository{}, err
		}
		versions := make([]helmrepo.Version, len(tags))
		for i, tag := range tags {
			versions[i].Version = strings.ReplaceAll(tag, "_", "+")
		}
		v, err := helmrepo.Pick(versions, constraint)
		if errors.Is(err, helmrepo.ErrNoVersion) {
			return inRepository{}, app.Fail(app.StageFetch, app.ReasonRefNotFound,
				"failed to get chart version for remote reference: could not locate a version matching provided version string %s of %s", orAny(constraint), all).
				WithHint("correct spec.version, or publish it; a range leaves out pre-releases unless it names one, as in >=1.0.0-0")
		}
		if err != nil {
			return inRepository{}, app.Fail(app.StageFetch, app.ReasonInvalidSpec, "spec.version: %w", err)
		}
		version = v.Version
	}
	a, err := u.artifact(chart, strings.ReplaceAll(version, "+", "_"))
	if err != nil {
		return inRepository{}, err
	}
	manifest, err := a.Find(ctx)
	if err != nil {
		return inRepository{}, err
	}
	digest, err := a.Content(ctx, manifest)
	if err != nil {
		return inRepository{}, err
	}
	rev := app.Revision{Commit: digest, Ref: version, Time: manifest.Time, Chart: &app.ChartRevision{Name: path.Base(chart)}}
	if manifest.Verified != "" {
		rev.Verified = "verified signature of version " + version
	}
	if rev, err = u.asPacked(rev); err != nil {
		return inRepository{}, err
	}
	return inRepository{rev, a, manifest, version}, nil
}

// artifact is a chart in the registry, at a tag.
func (u *Upstream) artifact(chart, tag string) (*oci.Artifact, error) {
	src := u.From
	src.URL = strings.TrimSuffix(src.URL, "/") + "/" + strings.Trim(chart, "/")
	src.OCI = &app.OCIArtifact{Tag: tag, MediaType: archiveType, Insecure: src.HelmRepository.Insecure,
		Keychain: src.HelmRepository.Keychain, Verify: u.Chart.Verify}
	return u.Registries.Open(src)
}

// pull gets the archive.
func (u *Upstream) pull(ctx context.Context, from inRepository) (Files, error) {
	archive, err := from.artifact.Read(ctx, from.manifest, helmrepo.MaxChart)
	if err != nil {
		return nil, err
	}
	return u.unpacked(archive, from.version)
}

// inOther pulls a dependency from a registry that asks for no credentials.
func (u *Upstream) inOther(ctx context.Context, d dependency) (Files, error) {
	other := &Upstream{Chart: app.HelmChart{Chart: d.Name}, Registries: u.Registries, From: app.Source{
		ID: app.SourceID{Name: d.Repository}, URL: d.Repository, HelmRepository: &app.HelmRepository{OCI: true}}}
	found, err := other.inRegistry(ctx, d.Name, d.Version)
	if err != nil {
		return nil, err
	}
	files, err := other.pull(ctx, found)
	if err != nil {
		return nil, err
	}
	if m, err := files.metadata(); err != nil || m.Name != d.Name {
		return nil, fmt.Errorf("%s: the archive holds the chart %q", d.Repository, m.Name)
	}
	return files, nil
}
