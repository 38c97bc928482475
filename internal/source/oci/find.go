package oci

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"plumb.dev/plumb/internal/app"
)

const (
	defaultTag = "latest"
	// maxTags bounds the tags that a range of versions is looked up in.
	maxTags = 100_000
	// maxMetadata bounds the annotations that are passed on, in bytes.
	maxMetadata = 32 << 10
)

// Annotations of a manifest that say where its content comes from.
const annotationCreated = "org.opencontainers.image.created"

// Find tells which digest is asked for now. A tag costs one request; a range of
// versions one for each page of tags more. A digest that was not the last one
// costs another, for the annotations of its manifest.
func (a *Artifact) Find(ctx context.Context) (app.Revision, error) {
	digest, tag, err := a.resolve(ctx)
	if err != nil {
		return app.Revision{}, err
	}
	m, err := a.manifest(ctx, digest)
	if err != nil {
		return app.Revision{}, err
	}
	_, hex, _ := strings.Cut(digest.DigestStr(), ":")
	rev := app.Revision{Commit: hex, Ref: tag, Metadata: metadata(m.annotations)}
	verified, err := a.verified(ctx, digest)
	if err != nil {
		return app.Revision{}, err
	}
	if verified {
		rev.Verified = "verified signature of revision " + written(rev)
	}
	if created, err := time.Parse(time.RFC3339, m.annotations[annotationCreated]); err == nil {
		rev.Time = created
	}
	return rev, nil
}

// written is a revision as people read it.
func written(rev app.Revision) string {
	if rev.Ref == "" {
		return "sha256:" + rev.Commit
	}
	return rev.Ref + "@sha256:" + rev.Commit
}

// metadata is as much of the annotations as is passed on.
func metadata(annotations map[string]string) map[string]string {
	keys := make([]string, 0, len(annotations))
	for key := range annotations {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	out, size := map[string]string{}, 0
	for _, key := range keys {
		if size += len(key) + len(annotations[key]); size > maxMetadata {
			break
		}
		out[key] = annotations[key]
	}
	return out
}

// resolve gives the digest, and the tag that stands for it.
func (a *Artifact) resolve(ctx context.Context) (name.Digest, string, error) {
	if a.spec.Digest != "" {
		digest, err := a.digest(a.spec.Digest)
		return digest, "", err
	}
	tag := a.spec.Tag
	if a.spec.SemVer != "" {
		var err error
		if tag, err = a.highest(ctx); err != nil {
			return name.Digest{}, "", err
		}
	}
	if tag == "" {
		tag = defaultTag
	}
	ref, err := name.NewTag(a.repo.Name()+":"+tag, name.StrictValidation)
	if err != nil {
		return name.Digest{}, "", invalid("ref.tag %q is no tag", tag)
	}
	ref.Repository = a.repo
	what := fmt.Sprintf("failed to determine artifact digest: '%s'", scheme+ref.Name())
	d, err := a.conn.puller.Head(ctx, ref)
	if err == nil {
		digest, err := a.digest(d.Digest.String())
		return digest, tag, err
	}
	var answer *transport.Error
	if ctx.Err() != nil || errors.As(err, &answer) && answer.StatusCode != http.StatusMethodNotAllowed {
		return name.Digest{}, "", a.failed(ctx, what, err)
	}
	// Some registries tell of a manifest only by sending it.
	got, err2 := a.conn.puller.Get(ctx, ref)
	if err2 != nil {
		return name.Digest{}, "", a.failed(ctx, what, err)
	}
	digest, err := a.digest(got.Digest.String())
	return digest, tag, err
}

func (a *Artifact) digest(text string) (name.Digest, error) {
	algorithm, hex, _ := strings.Cut(text, ":")
	if algorithm != "sha256" || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return name.Digest{}, invalid("%q is no digest such as sha256:… with 64 hexadecimal digits", text)
	}
	return a.repo.Digest(text), nil
}

// invalid is the failure of what nobody could find: the resource is wrong.
func invalid(format string, args ...any) error {
	f := app.Fail(app.StageSpec, app.ReasonInvalidSpec, format, args...)
	f.Retry.Never = true
	return f
}

// highest is the tag with the highest version in the range.
func (a *Artifact) highest(ctx context.Context) (string, error) {
	constraint, err := semver.NewConstraint(a.spec.SemVer)
	if err != nil {
		return "", invalid("ref.semver %q is not a version constraint: %w", a.spec.SemVer, err)
	}
	filter, err := regexp.Compile(a.spec.TagFilter)
	if err != nil {
		return "", invalid("ref.semverFilter: %w", err)
	}
	tags, err := a.Tags(ctx)
	if err != nil {
		return "", err
	}
	var best *semver.Version
	var tag string
	for _, t := range tags {
		v, err := semver.StrictNewVersion(strings.TrimPrefix(t, "v"))
		if err != nil || !filter.MatchString(t) || !constraint.Check(v) {
			continue
		}
		if best == nil || v.GreaterThan(best) || v.Equal(best) && t > tag {
			best, tag = v, t
		}
	}
	if best == nil {
		return "", app.Fail(app.StageFetch, app.ReasonRefNotFound, "failed to determine the artifact tag for '%s': no match found for semver: %s", a, a.spec.SemVer).
			WithHint("Versions are tags such as 1.2.3 or v1.2.3; of what comes before a version, such as 1.2.3-rc.1, a range has only what it names, as in >=1.2.3-0.")
	}
	return tag, nil
}

// readManifest asks for the manifest of a digest. Of an index it is that of
// linux/amd64, as in Flux.
func (a *Artifact) readManifest(ctx context.Context, digest name.Digest) (*manifest, error) {
	what := fmt.Sprintf("failed to pull artifact from '%s'", scheme+digest.Name())
	got, err := a.conn.puller.Get(ctx, digest)
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	image, err := got.Image()
	if err != nil {
		return nil, a.broken(ctx, what, err)
	}
	parsed, err := image.Manifest()
	if err != nil {
		return nil, a.broken(ctx, "failed to parse artifact manifest", err)
	}
	return &manifest{digest: digest.DigestStr(), annotations: parsed.Annotations, layers: parsed.Layers}, nil
}

// broken is failed, for what may as well be wrong with the artifact itself.
func (a *Artifact) broken(ctx context.Context, what string, err error) error {
	var answer *transport.Error
	var disk *fs.PathError
	switch {
	case errors.As(err, &answer), ctx.Err() != nil:
		return a.failed(ctx, what, err)
	case errors.As(err, &disk):
		return app.Fail(app.StageFetch, app.ReasonInternal, "%s: cache: %w", what, err).
			WithHint("Check that the cache directory can be written and has space.")
	}
	return badArtifact("%s: %w", what, clipped(err))
}
