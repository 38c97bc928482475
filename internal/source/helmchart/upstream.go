package helmchart

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/helmrepo"
	"plumb.dev/plumb/internal/source/objects"
	"plumb.dev/plumb/internal/source/oci"
)

// Upstream is where a chart comes from. Which of its fields are set says what
// it comes from.
type Upstream struct {
	Chart app.HelmChart
	// From is the source that the chart is in, Revision what it is at, Files
	// what it holds (of an index: its lists). A registry has neither.
	From     app.Source
	Revision app.Revision
	Files    fs.FS
	// Repository is set if the source is a Helm repository with an index.
	Repository *helmrepo.Repository
	// Repositories and Registries fetch dependencies, and charts of registries.
	Repositories *helmrepo.Client
	Registries   *oci.Client
}

// String says which chart it is, for messages.
func (u *Upstream) String() string { return fmt.Sprintf("chart %s of %s", u.Chart.Chart, u.From.ID) }

// fail makes a failure of an error, unless it is one.
func (u *Upstream) fail(reason app.Reason, err error) error {
	var known *app.Failure
	if errors.As(err, &known) {
		return known
	}
	return app.Fail(app.StageFetch, reason, "%w", err)
}

// Find looks the chart up in what the source last gave. Only a registry is
// asked.
func (u *Upstream) Find(ctx context.Context) (app.Revision, error) {
	switch {
	case u.From.Static():
		found, err := u.inRegistry(ctx, u.Chart.Chart, u.Chart.Version)
		return found.revision, err
	case u.Repository != nil:
		found, _, err := u.published("")
		return found, err
	}
	found, err := u.packed()
	return found.revision, err
}

// Bring fetches or packs the chart.
func (u *Upstream) Bring(ctx context.Context, rev app.Revision, into *objects.Build) error {
	files, err := u.make(ctx, rev)
	if err != nil {
		return err
	}
	if err := files.write(into); err != nil {
		return u.fail(app.ReasonBuild, err)
	}
	return nil
}

// make gives the files of a revision.
func (u *Upstream) make(ctx context.Context, rev app.Revision) (Files, error) {
	var files Files
	var found app.Revision
	switch {
	case u.From.Static():
		at, err := u.inRegistry(ctx, u.Chart.Chart, u.Chart.Version)
		if err != nil {
			return nil, err
		}
		if found = at.revision; found.Commit != rev.Commit {
			return nil, u.gone(rev)
		}
		if files, err = u.pull(ctx, at); err != nil {
			return nil, err
		}
	case u.Repository != nil:
		at, v, err := u.published(rev.Commit)
		if err != nil {
			return nil, err
		}
		found = at
		if files, err = u.download(ctx, v); err != nil {
			return nil, err
		}
	default:
		at, err := u.packed()
		if err != nil {
			return nil, err
		}
		if at.revision.Commit != rev.Commit {
			return nil, u.gone(rev)
		}
		return u.pack(ctx, at)
	}
	if u.Chart.Packs() {
		return files, u.repack(files, found.Ref, files.read)
	}
	return files, nil
}

func (u *Upstream) gone(rev app.Revision) error {
	return app.Fail(app.StageFetch, app.ReasonRefNotFound, "%s: what was delivered before (sha256:%.12s) is not there any more", u, rev.Commit)
}

// published finds a version in the index: the one whose chart would get the
// digest, or, if that is "", the one that the chart's constraint asks for.
func (u *Upstream) published(digest string) (app.Revision, helmrepo.Version, error) {
	name := strings.TrimSpace(u.Chart.Chart)
	versions, err := helmrepo.List(u.Files, name)
	if err != nil {
		return app.Revision{}, helmrepo.Version{}, u.fail(app.ReasonInternal, err)
	}
	if digest != "" {
		for _, v := range versions {
			if rev, err := u.of(v); err == nil && rev.Commit == digest {
				return rev, v, nil
			}
		}
		return app.Revision{}, helmrepo.Version{}, u.gone(app.Revision{Commit: digest})
	}
	if len(versions) == 0 {
		return app.Revision{}, helmrepo.Version{}, app.Fail(app.StageFetch, app.ReasonRefNotFound,
			"failed to get chart version for remote reference: no '%s' chart in %s", name, u.Repository).
			WithHint("correct spec.chart, or publish it: the index is looked at at the interval of the HelmRepository")
	}
	v, err := helmrepo.Pick(versions, u.Chart.Version)
	switch {
	case errors.Is(err, helmrepo.ErrNoVersion):
		return app.Revision{}, v, app.Fail(app.StageFetch, app.ReasonRefNotFound,
			"failed to get chart version for remote reference: no '%s' chart with version matching '%s' found", name, orAny(u.Chart.Version)).
			WithHint("correct spec.version, or publish it; a range leaves out pre-releases unless it names one, as in >=1.0.0-0")
	case err != nil:
		return app.Revision{}, v, app.Fail(app.StageFetch, app.ReasonInvalidSpec, "spec.version: %w", err)
	}
	rev, err := u.of(v)
	return rev, v, err
}

func orAny(constraint string) string {
	if constraint == "" {
		return "*"
	}
	return constraint
}

// of is the revision that a version in an index makes. An index without digests
// is trusted not to change what is behind a version.
func (u *Upstream) of(v helmrepo.Version) (app.Revision, error) {
	rev := app.Revision{Ref: v.Version, Chart: &app.ChartRevision{Name: path.Base(u.Chart.Chart), Source: u.Revision}}
	sum := v.SHA256()
	if sum != nil {
		rev.Commit = hex.EncodeToString(sum)
	} else {
		rev.Commit = digestOf("published", u.Chart.Chart, v.Version, v.URLs, v.Created)
	}
	return u.asPacked(rev)
}

// asPacked is the revision that a chart someone published becomes by values
// files.
func (u *Upstream) asPacked(rev app.Revision) (app.Revision, error) {
	if !u.Chart.Packs() {
		return rev, nil
	}
	version, err := withBuild(rev.Ref, strconv.FormatInt(u.Chart.Generation, 10))
	if err != nil {
		return rev, app.Fail(app.StageFetch, app.ReasonInvalidSpec, "%s: %w", u, err)
	}
	rev.Ref, rev.Chart.Packed, rev.Chart.ValuesFiles = version, true, u.Chart.ValuesFiles
	rev.Commit = digestOf("repacked", rev.Commit, version, u.Chart.ValuesFiles, u.Chart.IgnoreMissing)
	return rev, nil
}

// digestOf names what is made of the parts.
func digestOf(parts ...any) string {
	text, _ := json.Marshal(parts) // of strings, numbers and times: cannot fail
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

func (u *Upstream) download(ctx context.Context, v helmrepo.Version) (Files, error) {
	archive, err := u.Repository.Download(ctx, v)
	if err != nil {
		return nil, err
	}
	return u.unpacked(archive, v.Version)
}

// unpacked unpacks an archive that must hold a chart.
func (u *Upstream) unpacked(archive []byte, version string) (Files, error) {
	files, err := Unpack(archive)
	if err == nil {
		_, err = files.metadata()
	}
	if err != nil {
		return nil, app.Fail(app.StageFetch, app.ReasonCorrupt, "%s %s: %w", u, version, err)
	}
	return files, nil
}

// read gives a file of the chart itself.
func (f Files) read(name string) ([]byte, error) {
	data, ok := f[path.Clean(name)]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return data, nil
}

// repack gives a chart other values and another version.
func (u *Upstream) repack(files Files, version string, read func(string) ([]byte, error)) error {
	if u.Chart.Packs() {
		if err := files.mergeValues(u.Chart.ValuesFiles, u.Chart.IgnoreMissing, read); err != nil {
			f := app.Fail(app.StageFetch, app.ReasonPathNotFound, "%w", err)
			return f.WithHint("correct spec.valuesFiles, or set spec.ignoreMissingValuesFiles")
		}
	}
	if err := files.setVersion(version); err != nil {
		return u.fail(app.ReasonBuild, err)
	}
	return nil
}
