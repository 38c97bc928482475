package cluster

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"plumb.dev/plumb/internal/object"
)

// name is an object's place within its kind.
type name struct{ namespace, name string }

// store remembers the objects of one kind. A watch feeds it, and so does every
// write of this process with its answer; whichever knows the later
// resourceVersion wins, so that it never goes back in time.
type store struct {
	kind  schema.GroupKind
	keep  keeper
	event func(Event)          // may be nil
	seen  func(name string)    // told every name that changes; may be nil
	wake  func(ref object.Ref) // told of every change
	all   bool                 // remember every object of the kind

	mu      sync.Mutex
	listed  bool // a first list has been taken in
	records map[name]*record
	// others holds hashes of the names of objects that are not remembered, to
	// tell "not ours" from "not there".
	others map[uint64]struct{}
	seed   maphash.Seed
	// wanted are names to remember whoever owns them, should they appear.
	wanted wanted
	// horizon is the latest resourceVersion that the watch has come to: it has
	// told of every change up to there.
	horizon uint64
	// writing holds back the events of objects that are being written by this
	// process, until it is known which of them are echoes of the write.
	writing map[name]*held
	// gone is what went last of what was remembered.
	gone sighting
	// ended are the last records of objects that this process deleted and whose
	// end the watch has not told of yet: what it still tells of them, and of
	// what had their names before, is past.
	ended map[name]*record
}

type held struct {
	writes int
	last   Event // of which version the object is then stands in last.now
	any    bool
	upTo   uint64 // the version that the last finished write made
}

func newStore(kind schema.GroupKind, keep keeper) *store {
	return &store{kind: kind, keep: keep, seed: maphash.MakeSeed(),
		records: map[name]*record{}, others: map[uint64]struct{}{}, writing: map[name]*held{},
		ended: map[name]*record{}}
}

func (s *store) hash(n name) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	h.WriteString(n.namespace)
	h.WriteByte('/')
	h.WriteString(n.name)
	return h.Sum64()
}

func (s *store) ref(n name) object.Ref {
	return object.Ref{Group: s.kind.Group, Kind: s.kind.Kind, Namespace: n.namespace, Name: n.name}
}

func nameOf(m *metav1.PartialObjectMetadata) name { return name{m.Namespace, m.Name} }

func nameIn(ref object.Ref) name { return name{ref.Namespace, ref.Name} }

// get tells what is known of an object: its record, or that an object exists
// that is not remembered, or neither.
func (s *store) get(n name) (r *record, foreign bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.records[n]; r != nil {
		return r, false
	}
	_, foreign = s.others[s.hash(n)]
	return nil, foreign
}

// size is how many objects are remembered.
func (s *store) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.records)
}

// ask is get, and remembers the object by name from its next change on,
// whoever owns it.
func (s *store) ask(n name) (r *record, foreign bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.records[n]; r != nil {
		return r, false
	}
	s.wanted.add(n, len(s.records))
	_, foreign = s.others[s.hash(n)]
	return nil, foreign
}

// learn takes in metadata that was read because ask called it foreign, unless
// the watch has told something later since.
func (s *store) learn(m *metav1.PartialObjectMetadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := nameOf(m)
	if _, foreign := s.others[s.hash(n)]; foreign {
		s.wanted.add(n, len(s.records))
		s.take(m, nil)
	}
}

// forget ends want, and forgets the object unless a manager owns part of it.
func (s *store) forget(n name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted.remove(n)
	if r := s.records[n]; r != nil && !s.all && !r.ours() {
		delete(s.records, n)
		s.others[s.hash(n)] = struct{}{}
	}
}

func (r *record) ours() bool {
	for _, digest := range r.owned {
		if digest != 0 {
			return true
		}
	}
	return false
}

// take makes m the state of its object unless a later one is known, and
// returns the event to tell, if any. now is m's record if it is made already.
// s.mu is held.
func (s *store) take(m *metav1.PartialObjectMetadata, now *record) (Event, bool) {
	n := nameOf(m)
	before := s.records[n]
	if last := s.ended[n]; last != nil {
		if version := number(m.ResourceVersion); last.uid.text() == string(m.UID) || version != 0 && version <= last.version {
			return Event{}, false
		}
		delete(s.ended, n) // the name is another object's by now
	}
	if before == nil && now == nil && !s.wanted.has(n) && !s.all && !s.keep.owns(m) {
		s.others[s.hash(n)] = struct{}{}
		return Event{}, false
	}
	if now == nil {
		now = s.keep.record(m)
	}
	if before != nil && now.version != 0 && now.version <= before.version {
		return Event{}, false
	}
	if before == nil {
		n = name{unique.Make(n.namespace).Value(), strings.Clone(n.name)}
		delete(s.others, s.hash(n))
		s.wanted.remove(n)
	}
	s.records[n] = now
	return Event{Ref: s.ref(n), Meta: m, managers: s.keep.managers, before: before, now: now}, true
}

// drop takes an object out; meta may be nil. s.mu is held.
func (s *store) drop(n name, m *metav1.PartialObjectMetadata) (Event, bool) {
	delete(s.others, s.hash(n))
	before := s.records[n]
	if before == nil {
		return Event{}, false
	}
	delete(s.records, n)
	s.gone = sighting{ref: s.ref(n), uid: before.uid.text(), at: time.Now()}
	s.wanted.add(n, len(s.records)) // it was asked for, or ours: its return is of interest
	return Event{Ref: s.ref(n), Deleted: true, Meta: m, managers: s.keep.managers, before: before}, true
}

// change runs f under the lock and passes on the events it returns, but for
// those of objects that are being written: they are held back.
func (s *store) change(f func() []Event) {
	s.mu.Lock()
	events := f()
	s.mu.Unlock()
	for _, e := range events {
		s.wake(e.Ref)
		s.mu.Lock()
		h := s.writing[nameIn(e.Ref)]
		if h != nil {
			if h.any {
				e.before = h.last.before
			}
			h.last, h.any = e, true
		}
		s.mu.Unlock()
		if h == nil && s.event != nil {
			s.event(e)
		}
	}
}

// beginWrite holds back the object's events until endWrite.
func (s *store) beginWrite(n name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.writing[n]
	if h == nil {
		h = &held{}
		s.writing[n] = h
	}
	h.writes++
}

// endWrite takes in what the API server answered to a write (nil if it failed)
// and passes on what was held back, unless the write made or overwrote it.
func (s *store) endWrite(n name, answer *metav1.PartialObjectMetadata) {
	s.mu.Lock()
	h := s.writing[n]
	if answer != nil {
		version := number(answer.ResourceVersion)
		h.upTo = max(h.upTo, version)
		// A watch that has come past the answer has told of it already, and of
		// what happened since: a deletion, perhaps.
		if version == 0 || version > s.horizon {
			s.take(answer, nil)
		}
	}
	h.writes--
	if h.writes > 0 {
		s.mu.Unlock()
		return
	}
	delete(s.writing, n)
	// Deletions and later versions are news.
	news := h.any && (h.last.now == nil || h.last.now.version > h.upTo)
	s.mu.Unlock()
	s.wake(s.ref(n))
	if news && s.event != nil {
		s.event(h.last)
	}
}

// endDelete ends a write that deleted, if done; what was held back is its echo
// then. answer is the object if it still exists, on its way out, and nil if it
// is gone.
func (s *store) endDelete(n name, answer *metav1.PartialObjectMetadata, done bool, uid types.UID) {
	s.mu.Lock()
	if done {
		s.writing[n].any = false
	}
	if r := s.records[n]; done && answer == nil && r != nil && (uid == "" || r.uid.text() == string(uid)) {
		s.drop(n, nil)
		s.wanted.remove(n) // deleted by us: nobody waits for its return
		s.ended[n] = r
	}
	s.mu.Unlock()
	s.endWrite(n, answer)
}

// reset forgets everything but the names that are wanted.
func (s *store) reset() {
	s.change(func() []Event {
		var events []Event
		for n := range s.records {
			if e, ok := s.drop(n, nil); ok {
				events = append(events, e)
			}
		}
		s.others, s.horizon = map[uint64]struct{}{}, 0
		clear(s.ended)
		return events
	})
}

// The methods below are cache.ReflectorStore and its optional companions.

// Add takes in an object that the watch tells of.
func (s *store) Add(obj any) error { return s.Update(obj) }

// Update takes in an object that the watch tells of.
func (s *store) Update(obj any) error {
	m := obj.(*metav1.PartialObjectMetadata)
	s.change(func() []Event {
		s.horizon = max(s.horizon, number(m.ResourceVersion))
		if e, ok := s.take(m, nil); ok {
			return []Event{e}
		}
		return nil
	})
	s.notice(m.Name)
	return nil
}

// Delete takes in the end of an object that the watch tells of. An object of
// that name that was made since, by a write whose answer was faster, stays.
func (s *store) Delete(obj any) error {
	m := obj.(*metav1.PartialObjectMetadata)
	s.change(func() []Event {
		version := number(m.ResourceVersion)
		s.horizon = max(s.horizon, version)
		if last := s.ended[nameOf(m)]; last != nil && last.uid.text() == string(m.UID) {
			delete(s.ended, nameOf(m))
		}
		if r := s.records[nameOf(m)]; r != nil && version != 0 && r.version > version {
			return nil
		}
		if e, ok := s.drop(nameOf(m), m); ok {
			return []Event{e}
		}
		return nil
	})
	s.notice(m.Name)
	return nil
}

// Replace takes in a list. What it lacks is gone, unless it was made after the
// list. A list older than what was seen before means that the API server's
// data were restored: then the list alone counts.
func (s *store) Replace(list []any, version string) error {
	first := false
	s.change(func() []Event {
		at := number(version)
		if at < s.horizon {
			for n, r := range s.records {
				older := *r
				older.version = 0
				s.records[n] = &older
			}
			clear(s.ended)
		}
		s.horizon = at
		clear(s.others)
		there := make(map[name]struct{}, len(list))
		var events []Event
		for _, obj := range list {
			if e, ok := s.enlist(obj, there); ok {
				events = append(events, e)
			}
		}
		for n, r := range s.records {
			if _, ok := there[n]; ok || at != 0 && r.version > at {
				continue
			}
			if e, ok := s.drop(n, nil); ok {
				events = append(events, e)
			}
		}
		for n := range s.ended {
			if _, ok := there[n]; !ok {
				delete(s.ended, n)
			}
		}
		first = !s.listed
		s.listed = true
		if first && !s.all {
			return nil // that is how things are, not a change
		}
		return events
	})
	if !first {
		s.notice("")
	}
	return nil
}

// Bookmark takes in that the watch has come to version.
func (s *store) Bookmark(version string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.horizon = max(s.horizon, number(version))
	return nil
}

// Resync does nothing: nothing is derived from the records.
func (s *store) Resync() error { return nil }

// listed is an object of a list that comes as a stream, reduced while it does:
// all of a list is in memory at once.
type listed struct {
	metav1.PartialObjectMetadata         // who it is, and its version
	record                       *record // nil if it is not to be remembered
}

// Transformer makes what comes as a stream into listed.
func (s *store) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		m, ok := obj.(*metav1.PartialObjectMetadata)
		if !ok {
			return obj, nil
		}
		s.mu.Lock()
		wanted := s.wanted.has(nameOf(m)) || s.records[nameOf(m)] != nil
		s.mu.Unlock()
		out := &listed{PartialObjectMetadata: metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Namespace: unique.Make(m.Namespace).Value(), Name: m.Name, ResourceVersion: m.ResourceVersion}}}
		if s.all || wanted || s.keep.owns(m) {
			out.record = s.keep.record(m)
			out.Labels, out.Annotations = asMap(unpackPairs(out.record.labels)), asMap(out.record.annotations)
			out.UID = m.UID
		}
		return out, nil
	}
}

// enlist takes in one object of a list. s.mu is held.
func (s *store) enlist(obj any, there map[name]struct{}) (Event, bool) {
	m, ok := obj.(*metav1.PartialObjectMetadata)
	if ok {
		there[nameOf(m)] = struct{}{}
		return s.take(m, nil)
	}
	l := obj.(*listed)
	n := nameOf(&l.PartialObjectMetadata)
	there[n] = struct{}{}
	if l.record != nil {
		return s.take(&l.PartialObjectMetadata, l.record)
	}
	if r := s.records[n]; r != nil && number(l.ResourceVersion) <= r.version {
		return Event{}, false
	}
	// Of no interest when the list brought it. If somebody asked since, the
	// next who does reads it.
	delete(s.records, n)
	s.others[s.hash(n)] = struct{}{}
	return Event{}, false
}

func (s *store) notice(name string) {
	if s.seen != nil {
		s.seen(name)
	}
}
