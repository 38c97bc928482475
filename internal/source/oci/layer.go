package oci

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/objects"
)

// Limits bound what an artifact may bring.
type Limits struct {
	Layer    int64 // bytes as transferred; default 1 GiB
	Unpacked int64 // bytes of the archive, unpacked; default 4 GiB
	Entries  int   // of the archive, whatever they are; default 200 000
	File     int64 // bytes of one file, which is held in memory; default 64 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Layer <= 0 {
		l.Layer = 1 << 30
	}
	if l.Unpacked <= 0 {
		l.Unpacked = 4 << 30
	}
	if l.Entries <= 0 {
		l.Entries = 200_000
	}
	if l.File <= 0 {
		l.File = 64 << 20
	}
	return l
}

// manifest is what counts of a manifest.
type manifest struct {
	digest      string
	annotations map[string]string
	layers      []v1.Descriptor
}

// Bring writes the files of a revision; its ID is the digest of the manifest.
// Nothing of what was written counts if there is an error.
func (a *Artifact) Bring(ctx context.Context, rev app.Revision, into *objects.Build) error {
	digest, err := a.digest("sha256:" + rev.Commit)
	if err != nil {
		return err
	}
	m, err := a.manifest(ctx, digest)
	if err != nil {
		return err
	}
	if a.spec.Verify != nil {
		if _, err := a.verify(ctx, digest); err != nil {
			return err
		}
	}
	layer, err := a.layer(m)
	if err != nil {
		return err
	}
	wrong := layer.Digest.String()
	if known := a.conn.knownBad(wrong); known != nil {
		return known // it is what its digest says, and will not be another
	}
	err = a.bring(ctx, digest, layer, into)
	if f := app.AsFailure(err, app.StageFetch); f != nil && f.Reason == app.ReasonBadArtifact {
		a.conn.noteBad(wrong, f)
	}
	return err
}

// bring writes the files of a layer.
func (a *Artifact) bring(ctx context.Context, digest name.Digest, layer v1.Descriptor, into *objects.Build) error {
	blob, err := a.open(ctx, layer)
	if err != nil {
		return err
	}
	defer blob.Close()
	what := fmt.Sprintf("failed to extract the layer %s of '%s'", layer.Digest, a)
	if err = unpack(ctx, blob, a.client.opt.Limits, into); err == nil {
		// What follows the end of an archive is part of what the digest stands
		// for, which is compared where the content ends.
		_, err = io.Copy(io.Discard, blob)
	}
	switch {
	case err == nil:
		return nil
	case blob.err != nil:
		return a.failed(ctx, fmt.Sprintf("failed to pull artifact from '%s': layer %s", scheme+digest.Name(), layer.Digest), blob.err)
	}
	return a.broken(ctx, what, err)
}

// badArtifact is the failure of an artifact that is not what was asked for.
func badArtifact(format string, args ...any) *app.Failure {
	return app.Fail(app.StageFetch, app.ReasonBadArtifact, format, args...)
}

// layer chooses one.
func (a *Artifact) layer(m *manifest) (v1.Descriptor, error) {
	for _, l := range m.layers {
		if a.spec.MediaType == "" || string(l.MediaType) == a.spec.MediaType {
			if most := a.client.opt.Limits.Layer; l.Digest.Algorithm != "sha256" || l.Size > most {
				return l, badArtifact("'%s': layer %s has %d bytes, %d are allowed", a, l.Digest, l.Size, most)
			}
			return l, nil
		}
	}
	if a.spec.MediaType == "" {
		return v1.Descriptor{}, badArtifact("'%s': no layers found in artifact", a)
	}
	var types []string
	for _, l := range m.layers[:min(len(m.layers), 5)] {
		types = append(types, string(l.MediaType))
	}
	return v1.Descriptor{}, badArtifact("'%s': failed to find layer with media type '%s' in artifact", a, a.spec.MediaType).
		WithHint("Its layers have the types %q.", types)
}

// layerBody is the content of a layer as it comes, and whether it came well.
type layerBody struct {
	io.ReadCloser
	left int64
	err  error // of the transfer, the digest included
}

func (b *layerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		err = errTooLong
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// open begins to read a layer. Reading to the end fails unless size and digest
// are those of the manifest.
func (a *Artifact) open(ctx context.Context, layer v1.Descriptor) (*layerBody, error) {
	what := fmt.Sprintf("failed to pull layer %s of '%s'", layer.Digest, a)
	remoteLayer, err := a.conn.puller.Layer(ctx, a.repo.Digest(layer.Digest.String()))
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	rc, err := remoteLayer.Compressed()
	if err != nil {
		return nil, a.failed(ctx, what, err)
	}
	return &layerBody{ReadCloser: rc, left: layer.Size}, nil
}

// unpack writes the files of an archive, compressed by gzip or not at all.
func unpack(ctx context.Context, from io.Reader, limits Limits, into *objects.Build) error {
	r := bufio.NewReaderSize(from, 64<<10)
	head, err := r.Peek(4)
	if err != nil && len(head) == 0 && !errors.Is(err, io.EOF) {
		return err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		unzipped, err := gzip.NewReader(r)
		if err != nil {
			return err
		}
		return untar(ctx, unzipped, limits, into)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return errors.New("it is compressed by zstd, which is not supported; use gzip")
	}
	return untar(ctx, r, limits, into)
}

// Unpack writes the files of a .tar, or .tar.gz, file that comes from elsewhere
// into a build, within the limits of a layer.
func Unpack(ctx context.Context, from io.Reader, into *objects.Build) error {
	return unpack(ctx, from, Limits{}.withDefaults(), into)
}
