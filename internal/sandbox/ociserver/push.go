package ociserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Media types, as the commands write them.
const (
	FluxConfig  = "application/vnd.cncf.flux.config.v1+json"
	FluxContent = "application/vnd.cncf.flux.content.v1.tar+gzip"
	HelmConfig  = "application/vnd.cncf.helm.config.v1+json"
	HelmContent = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// Artifact is what is pushed.
type Artifact struct {
	Config      string // media type; default FluxConfig
	ConfigData  []byte // default {}
	Layers      []Layer
	Annotations map[string]string
	Type        string // of the artifact; only with Subject
	Subject     string // digest of the artifact that this one refers to, instead of having a tag
}

// Layer is one layer of an artifact.
type Layer struct {
	Type        string // media type; default FluxContent
	Data        []byte
	Annotations map[string]string
}

// Client is how to talk to a registry; the zero value is anonymous.
type Client struct {
	Username, Password string
	Transport          http.RoundTripper // default http.DefaultTransport
}

func (c Client) options(ctx context.Context) []remote.Option {
	opts := []remote.Option{remote.WithContext(ctx)}
	if c.Username != "" {
		opts = append(opts, remote.WithAuth(&authn.Basic{Username: c.Username, Password: c.Password}))
	}
	if c.Transport != nil {
		opts = append(opts, remote.WithTransport(c.Transport))
	}
	return opts
}

// Push writes an artifact to host/path:tag and returns its digest, sha256:…
// Without a tag it can be had by the digest alone.
func (c Client) Push(ctx context.Context, reference string, a Artifact) (string, error) {
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return "", err
	}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: a.Annotations}
	blob := func(kind, otherwise string, data []byte) (v1.Descriptor, error) {
		if kind == "" {
			kind = otherwise
		}
		layer := static.NewLayer(data, types.MediaType(kind))
		hash, err := layer.Digest()
		if err != nil {
			return v1.Descriptor{}, err
		}
		return v1.Descriptor{MediaType: types.MediaType(kind), Digest: hash, Size: int64(len(data))},
			remote.WriteLayer(ref.Context(), layer, c.options(ctx)...)
	}
	if len(a.ConfigData) == 0 {
		a.ConfigData = []byte("{}")
	}
	if m.Config, err = blob(a.Config, FluxConfig, a.ConfigData); err != nil {
		return "", err
	}
	for _, l := range a.Layers {
		d, err := blob(l.Type, FluxContent, l.Data)
		if err != nil {
			return "", err
		}
		d.Annotations = l.Annotations
		m.Layers = append(m.Layers, d)
	}
	if a.Subject != "" {
		subject, err := remote.Head(ref.Context().Digest(a.Subject), c.options(ctx)...)
		if err != nil {
			return "", err
		}
		m.Subject, m.ArtifactType = subject, a.Type
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return "", err
	}
	hash, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	if a.Subject != "" {
		ref = ref.Context().Digest(hash.String())
	}
	return hash.String(), remote.Put(ref, manifest(raw), c.options(ctx)...)
}

// manifest is one as it is written.
type manifest []byte

func (m manifest) RawManifest() ([]byte, error)        { return m, nil }
func (m manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// Archive packs files as flux push artifact does.
func Archive(files fs.FS) ([]byte, error) {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", ""
		if d.Type()&fs.ModeSymlink != 0 {
			if h.Linkname, err = fs.ReadLink(files, name); err != nil {
				return err
			}
		}
		if err := archive.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
			return err
		}
		f, err := files.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(archive, f)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := zipped.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
