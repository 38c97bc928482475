package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"plumb.dev/plumb/internal/app"
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
