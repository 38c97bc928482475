package cluster

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/ownership"
	"plumb.dev/plumb/internal/plan"
)

// record is what is remembered of one object: about 300 bytes with its name
// (BenchmarkRemember), whatever the size of the object.
type record struct {
	uid     packedUID
	version uint64 // resourceVersion; 0 if the server's is not a number
	// owned holds the digest for each of Options.Managers, 0 for none.
	owned []uint64
	// writers names who wrote through the main resource, see writersOf.
	writers     unique.Handle[string]
	labels      unique.Handle[string] // the same on all objects of an app, see packPairs
	annotations []pair
	deleting    bool
}

// packedUID is a uid in 16 bytes if it is a UUID, as the API server's are, and
// otherwise as it is, after a "=".
type packedUID string

func packUID(uid types.UID) packedUID {
	digits := strings.ReplaceAll(string(uid), "-", "")
	raw, err := hex.DecodeString(digits)
	if p := packedUID(raw); err == nil && len(raw) == 16 && p.text() == string(uid) {
		return p
	}
	return packedUID("=" + string(uid))
}

func (p packedUID) text() string {
	if len(p) != 16 || p[0] == '=' {
		return strings.TrimPrefix(string(p), "=")
	}
	h := hex.EncodeToString([]byte(p))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

type pair struct {
	key   unique.Handle[string]
	value string
}

// keeper selects what goes into a record.
type keeper struct {
	managers []string
	keys     []string
	strip    []string
}

// keeps reports whether a label or annotation is remembered with its value.
func (k keeper) keeps(key string) bool {
	return strings.HasPrefix(key, "kustomize.toolkit.fluxcd.io/") ||
		strings.HasPrefix(key, "argocd.argoproj.io/") ||
		strings.HasPrefix(key, "plumb.dev/") ||
		key == "helm.sh/resource-policy" ||
		slices.Contains(k.keys, key)
}

// owns reports whether one of the managers owns part of the object.
func (k keeper) owns(m *metav1.PartialObjectMetadata) bool {
	return slices.ContainsFunc(m.ManagedFields, func(e metav1.ManagedFieldsEntry) bool {
		return e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == "" && slices.Contains(k.managers, e.Manager)
	})
}

func (k keeper) record(m *metav1.PartialObjectMetadata) *record {
	r := &record{
		uid:         packUID(m.UID),
		version:     number(m.ResourceVersion),
		owned:       make([]uint64, len(k.managers)),
		writers:     writersOf(m.ManagedFields),
		labels:      packPairs(k.pairs(m.Labels)),
		annotations: k.pairs(m.Annotations),
		deleting:    m.DeletionTimestamp != nil,
	}
	for i, manager := range k.managers {
		r.owned[i], _ = strconv.ParseUint(ownership.Digest(m.ManagedFields, manager), 16, 64) // "" is 0
	}
	return r
}

func (k keeper) pairs(from map[string]string) []pair {
	var out []pair
	for key, value := range from {
		switch {
		case k.keeps(key):
			if len(value) <= 63 { // as long as a label: likely on many objects
				value = unique.Make(value).Value()
			}
			out = append(out, pair{unique.Make(key), value})
		case slices.Contains(k.strip, key):
			out = append(out, pair{key: unique.Make(key)})
		}
	}
	slices.SortFunc(out, func(a, b pair) int { return strings.Compare(a.key.Value(), b.key.Value()) })
	return slices.Clip(out)
}

// packPairs writes pairs as one string, each part after its length.
func packPairs(pairs []pair) unique.Handle[string] {
	var b []byte
	for _, p := range pairs {
		for _, part := range []string{p.key.Value(), p.value} {
			b = append(binary.AppendUvarint(b, uint64(len(part))), part...)
		}
	}
	return unique.Make(string(b))
}

func unpackPairs(packed unique.Handle[string]) []pair {
	rest := packed.Value()
	part := func() string {
		n, width := binary.Uvarint([]byte(rest[:min(len(rest), binary.MaxVarintLen64)]))
		out := rest[width : width+int(n)]
		rest = rest[width+int(n):]
		return out
	}
	var out []pair
	for rest != "" {
		out = append(out, pair{key: unique.Make(part()), value: part()})
	}
	return out
}

// digest gives the ownership digest for the i-th manager, "" for none.
func (r *record) digest(i int) string {
	if r == nil || i < 0 || r.owned[i] == 0 {
		return ""
	}
	text := strconv.FormatUint(r.owned[i], 16)
	return strings.Repeat("0", 16-len(text)) + text
}

func (r *record) has(key string) bool {
	named := func(p pair) bool { return p.key.Value() == key }
	return slices.ContainsFunc(unpackPairs(r.labels), named) || slices.ContainsFunc(r.annotations, named)
}

// live is the record as a plan sees it; Marked is left to the caller.
func (r *record) live(i int) plan.Live {
	return plan.Live{
		Exists: true, UID: r.uid.text(), ResourceVersion: strconv.FormatUint(r.version, 10), Owned: r.digest(i),
		Labels: asMap(unpackPairs(r.labels)), Annotations: asMap(r.annotations), Deleting: r.deleting,
	}
}

func asMap(pairs []pair) map[string]string {
	if len(pairs) == 0 {
		return nil
	}
	out := make(map[string]string, len(pairs))
	for _, p := range pairs {
		out[p.key.Value()] = p.value
	}
	return out
}

// others are the managers that own part of the object, besides number i.
func (r *record) others(managers []string, i int) []string {
	var out []string
	for at, digest := range r.owned {
		if at != i && digest != 0 {
			out = append(out, managers[at])
		}
	}
	return out
}

// writersOf lists who wrote through the main resource, in a form that most
// objects of a kind share.
func writersOf(fields []metav1.ManagedFieldsEntry) unique.Handle[string] {
	var names []string
	for _, e := range fields {
		if e.Subresource == "" {
			names = append(names, string(e.Operation)+" "+e.Manager)
		}
	}
	slices.Sort(names)
	return unique.Make(strings.Join(slices.Compact(names), "\n"))
}

// adoptable reports whether taking the object over would change something.
func (r *record) adoptable(opts plan.WriteOptions) bool {
	if slices.ContainsFunc(opts.Strip, r.has) {
		return true
	}
	var entries []metav1.ManagedFieldsEntry
	for name := range strings.SplitSeq(r.writers.Value(), "\n") {
		op, manager, _ := strings.Cut(name, " ")
		entries = append(entries, metav1.ManagedFieldsEntry{Operation: metav1.ManagedFieldsOperationType(op), Manager: manager})
	}
	return ownership.Adoptable(entries, opts.AdoptFrom, opts.Manager)
}

// number parses a resourceVersion; one that is not a number is 0.
func number(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Event tells that a remembered object changed in the cluster.
type Event struct {
	Ref object.Ref
	// Deleted: it exists no more.
	Deleted bool
	// Meta is the object's metadata after the change; of a deleted object,
	// the last there was, or nil if its end was not watched. What a list
	// brought has the labels and annotations that are remembered, and no more.
	// It is shared and must not be modified.
	Meta *metav1.PartialObjectMetadata

	managers    []string
	before, now *record
}

// Owned is manager's ownership digest after the change, "" if it owns nothing.
func (e Event) Owned(manager string) string {
	return e.now.digest(slices.Index(e.managers, manager))
}

// OwnedBefore is manager's ownership digest before the change.
func (e Event) OwnedBefore(manager string) string {
	return e.before.digest(slices.Index(e.managers, manager))
}

// TakenFrom reports whether an apply under another of the managers that are
// watched took something of the object from manager's: that one wrote last, and
// nobody else in the same second, which is as well as the API server tells it.
// Who edits what both own takes it from both, and is no such manager.
func (e Event) TakenFrom(manager string) bool {
	if e.before == nil || e.now == nil || e.Meta == nil || e.Owned(manager) == e.OwnedBefore(manager) {
		return false
	}
	var last time.Time
	by := ""
	for _, f := range e.Meta.ManagedFields {
		if f.Manager == manager || f.Subresource != "" || f.Time == nil || f.Time.Time.Before(last) {
			continue
		}
		who := ""
		if f.Operation == metav1.ManagedFieldsOperationApply && slices.Contains(e.managers, f.Manager) {
			who = f.Manager
		}
		switch {
		case f.Time.Time.After(last):
			last, by = f.Time.Time, who
		case who != by:
			by = ""
		}
	}
	return by != "" && e.Owned(by) != e.OwnedBefore(by)
}

// Appeared reports whether the object was not there, or not remembered, before.
func (e Event) Appeared() bool { return e.before == nil }

// Deleting reports whether the object is being deleted, now and before.
func (e Event) Deleting() (before, now bool) {
	return e.before != nil && e.before.deleting, e.now != nil && e.now.deleting
}
