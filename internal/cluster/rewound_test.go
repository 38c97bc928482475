package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// TestRewound restores the data of an API server from copies that were made
// earlier, and asks with what was remembered before.
func TestRewound(t *testing.T) {
	dir := sandboxtest.Dir(t)
	data, copies := filepath.Join(dir, "etcd"), t.TempDir()
	options := sandbox.Options{Dir: dir}
	sb := sandboxtest.Start(t, options)
	p := placeIn(t, sb, "default")
	stop := func() {
		t.Helper()
		sb.Kill()
		<-sb.Done()
	}
	start := func() {
		t.Helper()
		sb = sandboxtest.Start(t, options)
	}
	keep := func(name string) {
		t.Helper()
		stop()
		if err := os.CopyFS(filepath.Join(copies, name), os.DirFS(data)); err != nil {
			t.Fatal(err)
		}
		start()
	}
	restore := func(name string) {
		t.Helper()
		stop()
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		if name != "" {
			if err := os.CopyFS(data, os.DirFS(filepath.Join(copies, name))); err != nil {
				t.Fatal(err)
			}
		}
		start()
	}
	is := func(want bool, what string, was State) {
		t.Helper()
		fresh := placeIn(t, sb, "default") // whose breaker is closed
		if got, err := fresh.Rewound(t.Context(), was); err != nil || got != want {
			t.Errorf("%s: %t, %v; it was %+v", what, got, err, was)
		}
	}
	write := func(name, value string) { p.apply(configMap(name, fmt.Sprintf("a: %q", value))) }
	// seen waits until the watch has told of all there is.
	seen := func() State {
		t.Helper()
		p.eventually("the watch has come so far", func() bool {
			for _, name := range []string{"a", "b", "c"} {
				meta, found, err := p.Self().GetMeta(t.Context(), p.ref("ConfigMap", name))
				live, known := p.Live(p.ref("ConfigMap", name), manager)
				if err != nil || !known || found != live.Exists || found && meta.ResourceVersion != live.ResourceVersion {
					return false
				}
			}
			return p.State().uid != "" // the first list of namespaces may be later
		})
		return p.State()
	}
	// moveOn has others write until the cluster has come further than it had.
	moveOn := func(was State) {
		t.Helper()
		other := placeIn(t, sb, "default")
		for i := 0; ; i++ {
			other.apply(configMap("other", fmt.Sprintf("a: %q", fmt.Sprint(i))))
			if meta, _, err := other.Self().GetMeta(t.Context(), p.ref("ConfigMap", "other")); err != nil {
				t.Fatal(err)
			} else if v := number(meta.ResourceVersion); v > was.version && v > was.latest[0].version {
				return
			}
		}
	}

	connect := func() {
		t.Helper()
		p = placeIn(t, sb, "default")
		p.observe(p.query(0, configMap("a"), configMap("b"), configMap("c")))
	}

	blank := p.State()
	connect()
	write("a", "1")
	write("c", "1")
	first := seen()
	keep("early")
	is(false, "the same", first)
	is(false, "nothing was remembered", blank)
	is(true, "nothing was known of Namespaces", State{version: 1})

	connect()
	for i := range 50 {
		write("b", fmt.Sprint(i))
	}
	is(false, "the same, changed since", first)
	if _, err := p.Self().Delete(t.Context(), p.ref("ConfigMap", "c"), "v1", "", ""); err != nil {
		t.Fatal(err)
	}
	second := seen()
	is(false, "the same", second)
	keep("late")
	is(false, "restarted", second)
	restore("early")
	is(true, "an earlier state", second)
	moveOn(second)
	is(true, "an earlier state that has come further", second)
	is(false, "of which all is there that was known then", first)

	restore("late")
	connect()
	write("b", "another")
	third := seen()
	restore("late")
	moveOn(third)
	is(true, "only the last write is lost", third)

	restore("")
	is(true, "made anew", third)
	moveOn(third)
	is(true, "made anew, and further", third)
}

// What went last is back although nothing else has changed: the deletion was
// lost, and nothing that is remembered has a later version.
func TestRewoundDeletion(t *testing.T) {
	p := newPlace(t)
	p.observe(p.query(0, configMap("a", `x: "1"`)))
	p.apply(configMap("a", `x: "1"`))
	ref := p.ref("ConfigMap", "a")
	p.eventually("it is seen", func() bool { live, known := p.Live(ref, manager); return known && live.Exists })
	var was State
	p.eventually("the namespaces are known", func() bool { was = p.State(); return was.uid != "" })
	meta, _, err := p.Self().GetMeta(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	was.gone = sighting{ref: ref, uid: string(meta.UID)}
	was.latest = []sighting{{ref: object.Ref{Kind: "Namespace", Name: "kube-system"}, uid: was.uid, version: kubeSystem(t, p)}}
	if got, err := p.Rewound(t.Context(), was); err != nil || !got {
		t.Errorf("what went is there again: %t, %v", got, err)
	}
	was.gone.uid = "another"
	if got, err := p.Rewound(t.Context(), was); err != nil || got {
		t.Errorf("another of its name is there: %t, %v", got, err)
	}
}

func kubeSystem(t *testing.T, p place) uint64 {
	meta, _, err := p.Self().GetMeta(t.Context(), object.Ref{Kind: "Namespace", Name: "kube-system"})
	if err != nil {
		t.Fatal(err)
	}
	return number(meta.ResourceVersion)
}
