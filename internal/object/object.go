// Package object is what Plumb knows about a Kubernetes object as such: its
// identity, where in a repository it was written, its canonical bytes, and how
// its secrets are hidden. It must not know about clusters, apps or Git.
package object

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Origin is the place in a source tree that an object was read from.
type Origin struct {
	Path string // slash separated, relative to the root of the tree
	Line int    // of the first line of the document, from 1; 0 if unknown
}

// String is path:line, or just the path where no line is known.
func (o Origin) String() string {
	if o.Line == 0 {
		return o.Path
	}
	return fmt.Sprintf("%s:%d", o.Path, o.Line)
}

// Object is one desired Kubernetes object. Whoever formats, logs or marshals
// an Object sees secrets as fingerprints only; the true content leaves through
// Unstructured and Payload, which are for rendering and applying.
type Object struct {
	Origin  Origin
	content map[string]any
	key     []byte // of Digest; nil for content that is not confidential
}

// New wraps content, which must hold JSON types only (as the decoders of this
// package and of apimachinery produce). The object owns content from here on.
func New(content map[string]any, origin Origin) Object {
	return Object{Origin: origin, content: content}
}

// Unstructured gives the true content, shared, not copied.
func (o Object) Unstructured() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: o.content}
}

// IsZero reports whether o holds no object.
func (o Object) IsZero() bool { return o.content == nil }

// Copy returns an object that shares nothing with o.
func (o Object) Copy() Object {
	return Object{Origin: o.Origin, content: runtime.DeepCopyJSON(o.content), key: o.key}
}

// GVK returns the object's type with version.
func (o Object) GVK() schema.GroupVersionKind { return o.Unstructured().GroupVersionKind() }

// Ref returns the object's identity.
func (o Object) Ref() Ref {
	u := o.Unstructured()
	gvk := u.GroupVersionKind()
	return Ref{Group: gvk.Group, Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}
}

// Annotation returns the value of one annotation, "" if absent.
func (o Object) Annotation(key string) string { return o.Unstructured().GetAnnotations()[key] }

// Payload is the canonical JSON of the true content: keys sorted, no spaces.
func (o Object) Payload() ([]byte, error) { return json.Marshal(o.content) }

// Keyed returns o with a key for its digest, if it is a Secret. Whoever may read
// a digest, but not the Secret, could try values until one fits.
func (o Object) Keyed(key []byte) Object {
	if gvk := o.GVK(); gvk.Group == "" && gvk.Kind == "Secret" {
		o.key = key
	}
	return o
}

// Digest identifies the desired content: 16 hex digits of a SHA-256 over
// Payload, of an HMAC where there is a key. An object that cannot be marshalled
// has the empty digest, which never equals a recorded one.
func (o Object) Digest() string {
	data, err := o.Payload()
	if err != nil {
		return ""
	}
	if o.key != nil {
		mac := hmac.New(sha256.New, o.key)
		mac.Write(data)
		return hex.EncodeToString(mac.Sum(nil)[:8])
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// String names the object; it never shows content.
func (o Object) String() string { return o.Ref().String() }

// Format keeps %v, %+v and %#v from printing content.
func (o Object) Format(s fmt.State, _ rune) { fmt.Fprint(s, o.String()) }

// LogValue keeps slog from printing content.
func (o Object) LogValue() slog.Value { return slog.StringValue(o.String()) }

// MarshalJSON gives the redacted content.
func (o Object) MarshalJSON() ([]byte, error) { return json.Marshal(Redact(o.content)) }
