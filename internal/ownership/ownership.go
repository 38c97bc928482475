// Package ownership reads and edits metadata.managedFields, the API server's
// own record of who set which field: it tells when a field manager's share of
// an object changed, what was taken from it and by whom, and hands the fields
// of one manager to another. It must not know about clients, apps or plans.
package ownership

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Digest identifies what manager owns by server-side apply: 16 hex digits over
// the fields and the time of its Apply entry, "" if it has none. The time is
// part of it because somebody may write under manager's name, which moves the
// time (in whole seconds) and may leave the set of fields as it was.
func Digest(fields []metav1.ManagedFieldsEntry, manager string) string {
	entry := applied(fields, manager)
	if entry == nil {
		return ""
	}
	hash := sha256.New()
	hash.Write(canonical(entry.FieldsV1.GetRawBytes()))
	var seconds [8]byte
	binary.BigEndian.PutUint64(seconds[:], uint64(unix(entry)))
	hash.Write(seconds[:])
	var sum [sha256.Size]byte
	return hex.EncodeToString(hash.Sum(sum[:0])[:8])
}

// canonical gives the same bytes for a field set however it was transported:
// JSON responses escape the characters that matter in HTML, protobuf does not.
// The order of keys is the API server's own and always sorted.
func canonical(raw []byte) []byte {
	if !bytes.Contains(raw, []byte(`\u`)) {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' || i+1 == len(raw) {
			out = append(out, raw[i])
			continue
		}
		if i+6 <= len(raw) {
			if plain := unescaped(raw[i : i+6]); plain != "" {
				out = append(out, plain...)
				i += 5
				continue
			}
		}
		out = append(out, raw[i], raw[i+1])
		i++
	}
	return out
}

// unescaped undoes what encoding/json escapes without need, "" for the rest.
func unescaped(sequence []byte) string {
	switch string(sequence) {
	case `\u003c`:
		return "<"
	case `\u003e`:
		return ">"
	case `\u0026`:
		return "&"
	case `\u2028`:
		return "\u2028"
	case `\u2029`:
		return "\u2029"
	}
	return ""
}

// applied returns manager's Apply entry for the main resource.
func applied(fields []metav1.ManagedFieldsEntry, manager string) *metav1.ManagedFieldsEntry {
	for i := range fields {
		e := &fields[i]
		if e.Manager == manager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" {
			return e
		}
	}
	return nil
}

func unix(e *metav1.ManagedFieldsEntry) int64 {
	if e.Time == nil {
		return 0
	}
	return e.Time.Unix()
}

// Match reports whether manager is one that patterns name; a trailing * stands
// for any ending.
func Match(patterns []string, manager string) bool {
	for _, p := range patterns {
		if head, any := strings.CutSuffix(p, "*"); p == manager || any && strings.HasPrefix(manager, head) {
			return true
		}
	}
	return false
}
