package oci

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plumb.dev/plumb/internal/app"
)

// What those need who choose a version by rules of their own, and work on what
// it holds instead of delivering it as it is.

// Tags lists the tags of the repository.
func (a *Artifact) Tags(ctx context.Context) ([]string, error) {
	what := fmt.Sprintf("failed to list the tags of '%s'", a)
	lister, err := a.conn.puller.Lister(ctx, a.repo)
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	var tags []string
	for lister.HasNext() {
		page, err := lister.Next(ctx)
		if err != nil {
			return nil, a.failed(ctx, what, err)
		}
		if len(tags)+len(page.Tags) > maxTags {
			return nil, a.failed(ctx, what, app.Fail(app.StageFetch, app.ReasonRefNotFound, "'%s' has more than %d tags", a, maxTags).
				WithHint("Follow a tag instead of a range of versions, or publish to a repository of its own."))
		}
		if len(page.Tags) == 0 {
			break // an endless listing of nothing
		}
		tags = append(tags, page.Tags...)
	}
	return tags, nil
}

// Content is the digest, hexadecimal, of the layer of a revision that Find
// gave.
func (a *Artifact) Content(ctx context.Context, rev app.Revision) (string, error) {
	digest, err := a.digest("sha256:" + rev.Commit)
	if err != nil {
		return "", err
	}
	m, err := a.manifest(ctx, digest)
	if err != nil {
		return "", err
	}
	layer, err := a.layer(m)
	return layer.Digest.Hex, err
}

// Read gives the layer of a revision that Find gave, as it is, if its signature
// is as it is asked for. It may have limit bytes.
func (a *Artifact) Read(ctx context.Context, rev app.Revision, limit int64) ([]byte, error) {
	digest, err := a.digest("sha256:" + rev.Commit)
	if err != nil {
		return nil, err
	}
	m, err := a.manifest(ctx, digest)
	if err != nil {
		return nil, err
	}
	if a.spec.Verify != nil {
		if _, err := a.verify(ctx, digest); err != nil {
			return nil, err
		}
	}
	layer, err := a.layer(m)
	if err != nil {
		return nil, err
	}
	if layer.Size > limit {
		return nil, badArtifact("'%s': layer %s has %d bytes, %d are allowed", a, layer.Digest, layer.Size, limit)
	}
	return a.pull(ctx, layer)
}

// pull gives all of a layer, whose size the caller has looked at.
func (a *Artifact) pull(ctx context.Context, layer v1.Descriptor) ([]byte, error) {
	body, err := a.open(ctx, layer)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, a.failed(ctx, fmt.Sprintf("failed to pull layer %s of '%s'", layer.Digest, a), err)
	}
	return data, nil
}
