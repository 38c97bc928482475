package cluster

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/object"
)

// The store is tested by itself here, with what a watch and writes would tell
// it, in orders that a test with a cluster cannot bring about.

// meta is the metadata of an object at a version, owned by who ("" for nobody).
func meta(name string, version int, who string) *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name),
		ResourceVersion: fmt.Sprint(version)}}
	if who != "" {
		m.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: who, Operation: metav1.ManagedFieldsOperationApply,
			APIVersion: "v1", FieldsV1: metav1.NewFieldsV1(fmt.Sprintf(`{"f:data":{"f:v%d":{}}}`, version))}}
	}
	return m
}

// again is m of another object with its name.
func again(m *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	m.UID += "-again"
	return m
}

// script drives a store; told is what it told.
type script struct {
	*store
	told []string
}

func newScript() *script {
	s := &script{store: newStore(schema.GroupKind{Kind: "ConfigMap"}, keeper{managers: managers})}
	s.wake = func(object.Ref) {}
	s.event = func(e Event) {
		what := "deleted"
		if !e.Deleted {
			what = e.Meta.ResourceVersion
		}
		s.told = append(s.told, e.Ref.Name+":"+what)
	}
	return s
}

func (s *script) list(version int, items ...*metav1.PartialObjectMetadata) {
	var list []any
	for _, m := range items {
		list = append(list, m)
	}
	s.Replace(list, fmt.Sprint(version))
}

// state shows what is remembered: its version, + for foreign, - for nothing.
func (s *script) state(names ...string) string {
	var out []string
	for _, n := range names {
		r, foreign := s.get(name{"ns", n})
		switch {
		case r != nil:
			out = append(out, fmt.Sprintf("%s=%d", n, r.version))
		case foreign:
			out = append(out, n+"=+")
		default:
			out = append(out, n+"=-")
		}
	}
	return strings.Join(out, " ")
}

func TestStore(t *testing.T) {
	a, ns := name{"ns", "a"}, func(n string) name { return name{"ns", n} }
	for _, tc := range []struct {
		name  string
		do    func(s *script)
		state string // of a and b
		told  string
	}{
		{"a first list is no event", func(s *script) {
			s.list(5, meta("a", 1, manager), meta("b", 2, ""))
		}, "a=1 b=+", ""},
		{"but where all objects are of interest: something may have failed for want of one before", func(s *script) {
			s.all = true
			s.list(5, meta("a", 1, manager), meta("b", 2, ""))
		}, "a=1 b=2", "a:1 b:2"},
		{"an update, and one that is late", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.Update(meta("a", 7, manager))
			s.Update(meta("a", 6, manager))
		}, "a=7 b=-", "a:7"},
		{"once remembered, remembered without an owner", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.Update(meta("a", 7, ""))
		}, "a=7 b=-", "a:7"},
		{"a deletion and a return under someone else", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.Delete(meta("a", 6, manager))
			s.Add(meta("a", 7, ""))
		}, "a=7 b=-", "a:deleted a:7"},
		{"what is foreign goes", func(s *script) {
			s.list(5, meta("b", 1, ""))
			s.Delete(meta("b", 6, ""))
		}, "a=- b=-", ""},
		{"asked for, then made", func(s *script) {
			s.list(5)
			s.ask(ns("b"))
			s.Add(meta("b", 6, ""))
		}, "a=- b=6", "b:6"},
		{"asked for, read, changed", func(s *script) {
			s.list(5, meta("b", 2, ""))
			if _, foreign := s.ask(ns("b")); !foreign {
				panic("not foreign")
			}
			s.learn(meta("b", 2, ""))
			s.Update(meta("b", 6, ""))
		}, "a=- b=6", "b:6"},
		{"asked for, deleted before it was read", func(s *script) {
			s.list(5, meta("b", 2, ""))
			s.ask(ns("b"))
			s.Delete(meta("b", 6, ""))
			s.learn(meta("b", 2, ""))
		}, "a=- b=-", ""},
		{"forgotten", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.ask(ns("b"))
			s.Add(meta("b", 6, ""))
			s.forget(ns("b"))
			s.forget(a) // is ours: stays
			s.Update(meta("b", 7, ""))
		}, "a=1 b=+", "b:6"},

		{"a write, and then its echo", func(s *script) {
			s.list(5)
			s.beginWrite(a)
			s.endWrite(a, meta("a", 6, manager))
			s.Add(meta("a", 6, manager))
		}, "a=6 b=-", ""},
		{"the echo before the answer", func(s *script) {
			s.list(5)
			s.beginWrite(a)
			s.Add(meta("a", 6, manager))
			s.endWrite(a, meta("a", 6, manager))
		}, "a=6 b=-", ""},
		{"someone else's write before ours", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.Update(meta("a", 6, manager))
			s.endWrite(a, meta("a", 7, manager))
			s.Update(meta("a", 7, manager))
		}, "a=7 b=-", ""},
		{"someone else's write after ours, before the answer", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.Update(meta("a", 6, manager))
			s.Update(meta("a", 7, manager))
			s.endWrite(a, meta("a", 6, manager))
		}, "a=7 b=-", "a:7"},
		{"a deletion after our write, before the answer", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.Update(meta("a", 6, manager))
			s.Delete(meta("a", 7, manager))
			s.endWrite(a, meta("a", 6, manager))
		}, "a=- b=-", "a:deleted"},
		{"a write that failed hides nothing", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.Update(meta("a", 6, manager))
			s.endWrite(a, nil)
		}, "a=6 b=-", "a:6"},
		{"two writes at a time", func(s *script) {
			s.list(5)
			s.beginWrite(a)
			s.beginWrite(a)
			s.Add(meta("a", 6, manager))
			s.endWrite(a, meta("a", 6, manager))
			s.Update(meta("a", 7, manager))
			s.endWrite(a, meta("a", 7, manager))
		}, "a=7 b=-", ""},
		{"another object meanwhile", func(s *script) {
			s.list(5, meta("b", 2, manager))
			s.beginWrite(a)
			s.Update(meta("b", 6, manager))
			s.endWrite(a, meta("a", 7, manager))
		}, "a=7 b=6", "b:6"},

		{"our deletion", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.endDelete(a, nil, true, "uid-a")
			s.Delete(meta("a", 6, manager))
		}, "a=- b=-", ""},
		{"the echo of our deletion before the answer", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.Delete(meta("a", 6, manager))
			s.endDelete(a, nil, true, "uid-a")
		}, "a=- b=-", ""},
		{"a deletion that failed hides nothing", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.Update(meta("a", 6, manager))
			s.endDelete(a, nil, false, "")
		}, "a=6 b=-", "a:6"},
		{"made anew by us before the watch told of the deletion", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.endDelete(a, nil, true, "uid-a")
			s.beginWrite(a)
			s.endWrite(a, again(meta("a", 7, manager)))
			s.Delete(meta("a", 6, manager))
			s.Add(again(meta("a", 7, manager)))
		}, "a=7 b=-", ""},
		{"what the watch still tells of an object that we deleted", func(s *script) {
			s.list(5)
			s.beginWrite(a)
			s.endWrite(a, meta("a", 6, manager))
			s.beginWrite(a)
			s.endDelete(a, nil, true, "")
			s.Add(meta("a", 6, manager))
			s.Update(meta("a", 7, manager))
			if got := s.state("a"); got != "a=-" {
				panic(got)
			}
			s.Delete(meta("a", 8, manager))
		}, "a=- b=-", ""},
		{"what it still tells of two", func(s *script) {
			s.list(5)
			for _, m := range []*metav1.PartialObjectMetadata{meta("a", 6, manager), again(meta("a", 8, manager))} {
				s.beginWrite(a)
				s.endWrite(a, m)
				s.beginWrite(a)
				s.endDelete(a, nil, true, "")
			}
			s.Add(meta("a", 6, manager))
			s.Delete(meta("a", 7, manager))
			s.Add(again(meta("a", 8, manager)))
			s.list(8, again(meta("a", 8, manager)))
			s.Delete(again(meta("a", 9, manager)))
		}, "a=- b=-", ""},
		{"someone else's object under the name of one that we deleted", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.endDelete(a, nil, true, "")
			s.Delete(meta("a", 6, manager))
			s.Add(again(meta("a", 7, manager)))
		}, "a=7 b=-", "a:7"},
		{"what we deleted is back with the server's data of before", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.endDelete(a, nil, true, "")
			s.list(4, meta("a", 1, manager))
		}, "a=1 b=-", "a:1"},

		{"a later list: what changed, came and went", func(s *script) {
			s.list(5, meta("a", 1, manager), meta("c", 1, manager))
			s.list(9, meta("b", 8, manager), meta("c", 1, manager))
		}, "a=- b=8", "b:8 a:deleted"},
		{"a list from before our write", func(s *script) {
			s.list(5)
			s.beginWrite(a)
			s.endWrite(a, meta("a", 7, manager))
			s.list(6)
		}, "a=7 b=-", ""},
		{"a list with an older state of an object", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.beginWrite(a)
			s.endWrite(a, meta("a", 7, manager))
			s.list(6, meta("a", 1, manager))
		}, "a=7 b=-", ""},
		{"the server's data were restored", func(s *script) {
			s.list(50, meta("a", 40, manager), meta("b", 45, manager))
			s.list(20, meta("a", 10, manager))
			s.Update(meta("a", 21, manager))
		}, "a=21 b=-", "a:10 b:deleted a:21"},
		{"the kind went and came back", func(s *script) {
			s.list(5, meta("a", 1, manager))
			s.reset()
			s.list(9, meta("a", 8, ""))
		}, "a=8 b=-", "a:deleted a:8"},
		{"an answer that a bookmark has overtaken", func(s *script) {
			s.list(5)
			s.beginWrite(a)
			s.Add(meta("a", 6, manager))
			s.Delete(meta("a", 7, manager))
			s.Bookmark("9")
			s.endWrite(a, meta("a", 6, manager))
		}, "a=- b=-", "a:deleted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScript()
			tc.do(s)
			if got := s.state("a", "b"); got != tc.state {
				t.Errorf("state %s, want %s", got, tc.state)
			}
			if got := strings.Join(s.told, " "); got != tc.told {
				t.Errorf("told %q, want %q", got, tc.told)
			}
			if len(s.writing) > 0 {
				t.Error("a write was never ended")
			}
			if len(s.ended) > 0 {
				t.Error("an end was never forgotten")
			}
		})
	}
}

func TestTransform(t *testing.T) {
	s := newScript()
	s.keep.keys = []string{"x"}
	s.ask(name{"ns", "b"})
	transform := s.Transformer()
	var list []any
	for _, n := range []string{"a", "b", "c"} {
		who := ""
		if n == "a" {
			who = manager
		}
		m := meta(n, 3, who)
		m.Labels = map[string]string{"x": "y", "z": "y"}
		out, err := transform(m)
		if err != nil {
			t.Fatal(err)
		}
		got := out.(*listed)
		if (got.record != nil) != (n != "c") || got.Name != n || got.Namespace != "ns" || got.ResourceVersion != "3" || got.ManagedFields != nil || len(got.Labels) > 1 {
			t.Errorf("%s: %+v", n, got)
		}
		list = append(list, out)
	}
	s.Replace(list, "5")
	if got := s.state("a", "b", "c"); got != "a=3 b=3 c=+" {
		t.Error(got)
	}
	if r, _ := s.get(name{"ns", "a"}); r.digest(0) == "" || len(unpackPairs(r.labels)) != 1 || r.uid.text() != "uid-a" {
		t.Errorf("%+v", r)
	}
	// Asked for, and changed, after the list brought it as foreign.
	s.Update(meta("c", 6, ""))
	out, err := transform(meta("c", 9, ""))
	if err != nil {
		t.Fatal(err)
	}
	s.ask(name{"ns", "c"})
	s.learn(meta("c", 7, ""))
	s.Replace(append(list[:2:2], out), "9")
	if got := s.state("a", "b", "c"); got != "a=3 b=3 c=+" {
		t.Error(got)
	}
}

// TestVanishedNames: names of what is gone are not kept for ever, and that does
// no harm.
func TestVanishedNames(t *testing.T) {
	s := newScript()
	s.list(1)
	version := 1
	next := func() int { version++; return version }
	const many = 5 * wantedLeast
	for i := range many {
		n := fmt.Sprint("x", i)
		s.Add(meta(n, next(), manager))
		s.Delete(meta(n, next(), manager))
	}
	if kept := len(s.wanted.young) + len(s.wanted.old); kept > 2*wantedLeast {
		t.Errorf("%d names are kept", kept)
	}
	s.told = nil
	s.Add(meta("x0", next(), "")) // long forgotten: foreign
	s.Add(meta(fmt.Sprint("x", many-1), next(), ""))
	if got := s.state("x0", fmt.Sprint("x", many-1), "y"); got != fmt.Sprintf("x0=+ x%d=%d y=-", many-1, version) {
		t.Error(got)
	}
	if len(s.told) != 1 {
		t.Errorf("told %v", s.told)
	}
}

func TestPacked(t *testing.T) {
	for uid, packed := range map[types.UID]bool{"0c9f4c5e-8d0e-4a57-9bb2-6a1f2f3c4d5e": true, "0C9F4C5E-8d0e-4a57-9bb2-6a1f2f3c4d5e": false,
		"3d9f4c5e-8d0e-4a57-9bb2-6a1f2f3c4d5e": false, "0c9f4c5e8d0e4a579bb26a1f2f3c4d5e": false, "uid-a": false, "": false,
		"0123456789abcde": false, "0123456789abcdef": false, "=": false} {
		if p := packUID(uid); p.text() != string(uid) || packed && len(p) != 16 {
			t.Errorf("%q is %q in %d bytes", uid, p.text(), len(p))
		}
	}
	keep := keeper{keys: []string{"a", "b", "long"}}
	in := map[string]string{"a": "", "b": "x\x00\xffy", "long": strings.Repeat("z", 300)}
	if out := asMap(unpackPairs(packPairs(keep.pairs(in)))); !maps.Equal(in, out) {
		t.Errorf("got %q", out)
	}
	if out := unpackPairs(packPairs(nil)); out != nil {
		t.Errorf("got %v", out)
	}
}
