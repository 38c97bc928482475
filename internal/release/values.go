package release

import "plumb.dev/plumb/internal/app"

// Fetched is what was found under one of a release's ReleaseValues.
type Fetched struct {
	From app.ReleaseValues
	Data []byte
	// Missing: the object, or the key, does not exist.
	Missing bool
}

// Compose merges values: from in its order, then inline over them, then those
// of from that have a target path. Nothing handed in is changed. The error is an
// app.Failure that names what is wrong, and no value.
func Compose(inline map[string]any, from []Fetched) (map[string]any, error) { return nil, errUnwritten }

// ConfigDigest identifies values, whatever the order of their keys, as Flux
// does: what it remembered compares.
func ConfigDigest(values map[string]any) string { return "" }
