package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/external"
	"plumb.dev/plumb/internal/source/remote"
)

// upstreamKind is one kind of source that is no Git repository.
type upstreamKind struct {
	// of is the part of a source that makes it one of this kind, nil if it is
	// none. All that decides the content, but for URL and credentials, is in
	// what it encodes to as JSON: what is imported once is used again where that
	// is equal.
	of func(app.Source) any
	// open says where the content comes from. It makes no request.
	open func(s *Store, src app.Source, parts []Part) (Upstream, error)
}

// upstreamKinds lists them.
func upstreamKinds() []upstreamKind {
	return []upstreamKind{
		{func(src app.Source) any { return some(src.OCI) }, (*Store).ociUpstream},
		{func(src app.Source) any { return some(src.HelmRepository) }, (*Store).helmIndex},
		{func(src app.Source) any { return some(src.HelmChart) }, (*Store).helmChart},
		{func(src app.Source) any { return some(src.Bucket) }, (*Store).bucketUpstream},
		{func(src app.Source) any { return externalID(src) }, (*Store).externalUpstream},
	}
}

// some is what p points to, and nil if it points to nothing.
func some[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// upstream is where src comes from; nil if that is a Git repository.
func (s *Store) upstream(src app.Source, parts []Part) (Upstream, error) {
	for _, k := range upstreamKinds() {
		if k.of(src) != nil {
			return k.open(s, src, parts)
		}
	}
	return nil, nil
}

// importName names the directory of what is imported for src; "" if src is a
// Git repository as it is. All that decides the content is part of it.
func importName(src app.Source) string {
	type part struct {
		Kind     int
		URL      string
		What     any
		Identity [sha256.Size]byte
		Uses     []app.SourceID
		Any      string
	}
	for i, k := range upstreamKinds() {
		what := k.of(src)
		if what == nil {
			continue
		}
		text, err := json.Marshal(part{i, src.URL, what, remote.Identity(src.Auth), src.Uses, src.Ref.Any})
		if err != nil {
			return ""
		}
		sum := sha256.Sum256(text)
		return "import-" + hex.EncodeToString(sum[:16]) + ".git"
	}
	return ""
}

func (s *Store) ociUpstream(src app.Source, _ []Part) (Upstream, error) { return s.oci.Open(src) }

func (s *Store) bucketUpstream(src app.Source, _ []Part) (Upstream, error) {
	return s.buckets.Open(src)
}

// externalID: the digest names the content, so that nothing but who tells of
// it decides where it is kept.
func externalID(src app.Source) any {
	if src.External == nil {
		return nil
	}
	return src.External.ID
}

func (s *Store) externalUpstream(src app.Source, _ []Part) (Upstream, error) {
	transport, err := s.dialer.Transport(app.Credentials{})
	if err != nil {
		return nil, err
	}
	return external.Open(src, transport, s.opt.Dir)
}

// excludedObjects tells which objects of a bucket a source leaves out, given
// its .sourceignore files.
func excludedObjects(src app.Source, files map[string][]byte) func(key string) (bool, error) {
	if !src.UseIgnore {
		return func(string) (bool, error) { return false, nil }
	}
	content := readable{}
	for name, data := range files {
		content[name] = data
	}
	x := newExclusions(content, src.Ignore)
	return func(key string) (bool, error) { return x.Hides(key, false) }
}

// readable is a file system of a few files that can only be read whole.
type readable map[string][]byte

func (m readable) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// ReadFile implements fs.ReadFileFS.
func (m readable) ReadFile(name string) ([]byte, error) {
	data, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return data, nil
}
