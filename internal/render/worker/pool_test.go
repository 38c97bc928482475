package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/render/rendertest"
)

// noting notes what is asked of a tree.
type noting struct {
	fstest.MapFS
	mu    *sync.Mutex
	asked map[string]bool
}

func newNoting(tree fstest.MapFS) noting { return noting{tree, &sync.Mutex{}, map[string]bool{}} }

func (n noting) note(kind, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked[kind+" "+name] = true
}

func (n noting) Open(name string) (fs.File, error) { n.note("look", name); return n.MapFS.Open(name) }
func (n noting) ReadFile(name string) ([]byte, error) {
	n.note("look", name)
	return n.MapFS.ReadFile(name)
}
func (n noting) ReadDir(name string) ([]fs.DirEntry, error) {
	n.note("list", name)
	return n.MapFS.ReadDir(name)
}
func (n noting) Stat(name string) (fs.FileInfo, error) {
	n.note("look", name)
	return n.MapFS.Stat(name)
}
func (n noting) Lstat(name string) (fs.FileInfo, error) {
	n.note("look", name)
	return n.MapFS.Lstat(name)
}
func (n noting) ReadLink(name string) (string, error) {
	n.note("look", name)
	return n.MapFS.ReadLink(name)
}

// TestSameAsHere renders the trees of the goldens of package render in a
// worker and in this process: result or failure must be the same, and all that
// was asked of the tree here must have been asked of it there, or a commit that
// changes it would go unnoticed.
func TestSameAsHere(t *testing.T) {
	pool := newPool(t, Options{})
	archives, err := filepath.Glob("../testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no goldens", err)
	}
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tree, spec, own := fstest.MapFS{}, app.Render{}, render.Options{}
		for _, f := range archive.Files {
			switch f.Name {
			case "spec":
				err = yaml.UnmarshalStrict(f.Data, &spec)
			case "options":
				err = yaml.UnmarshalStrict(f.Data, &own)
			case "want":
			case "links":
				for _, line := range strings.Split(strings.TrimSpace(string(f.Data)), "\n") {
					from, to, _ := strings.Cut(line, " -> ")
					tree[from] = &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
				}
			default:
				if remote := strings.Fields(f.Name); len(remote) == 4 { // see TestGolden of package render
					f.Name = path.Join(render.Remote{URL: remote[1], Ref: strings.Trim(remote[2], "-")}.Mount(), remote[3])
				}
				tree[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if own != (render.Options{}) {
			continue // bounds are the pool's
		}
		here, there := newNoting(tree), newNoting(tree)
		want, wantErr := render.Render(t.Context(), here, spec)
		got, gotErr := pool.Render(t.Context(), there, spec)
		if len(want.Objects) == 0 {
			want.Objects = nil
		}
		if a, b := describe(wantErr), describe(gotErr); a != b {
			t.Errorf("%s: %s\nhere: %s", name, b, a)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: rendered otherwise", name)
		}
		for asked := range here.asked {
			if !there.asked[asked] {
				t.Errorf("%s: here was asked: %s", name, asked)
			}
		}
		for asked := range there.asked {
			// What exists and is not needed must not be depended upon, by
			// what was delivered of it.
			kind, file, _ := strings.Cut(asked, " ")
			if entry := tree[file]; wantErr == nil && !here.asked[asked] && (kind == "list" || entry != nil && !entry.Mode.IsDir()) {
				t.Errorf("%s: only the worker asked: %s", name, asked)
			}
		}
	}
}

// TestRoundTrips holds that a small overlay is rendered with few requests: each
// costs two changes of process.
func TestRoundTrips(t *testing.T) {
	opts := Options{Args: []string{asWorker}}.withDefaults()
	w, err := startProcess(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { w.dismiss(); <-w.gone }()
	files := &served{tree: rendertest.Overlay(), bytes: 1 << 20}
	j := job{Bounds: opts.Bounds, Spec: app.Render{Path: "overlay"}}
	j.known = files.known(j.Spec)
	out := w.do(j, files, opts)
	if out.err != nil || len(out.result.Objects) != 6 {
		t.Fatal(out.err)
	}
	if n := files.requests - 1; n > 4 { // known is no request
		t.Errorf("%d requests", n)
	} else {
		t.Logf("%d requests, %d questions", n, files.questions)
	}
}

func describe(err error) string {
	f := app.AsFailure(err, app.StageRender)
	if f == nil {
		return "no error"
	}
	return fmt.Sprintf("%s %s %+v: %s (%s)", f.Stage, f.Reason, f.Retry, f, f.Hint)
}

// busy waits until the pool renders for an owner, and gives the process.
func (p *Pool) busy(t *testing.T, owner string) (w *process) {
	eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		i := slices.IndexFunc(p.running, func(r *rendering) bool { return r.owner == owner })
		if i >= 0 {
			w = p.running[i].process
		}
		return i >= 0
	})
	return w
}

// TestCrash kills a process at work and one at rest: the first costs one
// attempt, the second none.
func TestCrash(t *testing.T) {
	pool := newPool(t, Options{Workers: 2, CPU: time.Hour, Time: time.Hour})
	good := func() {
		t.Helper()
		if result, err := pool.Render(t.Context(), rendertest.Overlay(), app.Render{Path: "overlay", Owner: "good"}); err != nil || len(result.Objects) != 6 {
			t.Fatal(err)
		}
	}
	failed := make(chan error, 1)
	// It asks for files first, so that the job has been begun.
	asked := newNoting(endlessTree())
	go func() {
		_, err := pool.Render(t.Context(), asked, endlessSpec)
		failed <- err
	}()
	victim := pool.busy(t, "endless")
	eventually(t, func() bool { asked.mu.Lock(); defer asked.mu.Unlock(); return asked.asked["look all.yaml"] })
	good()
	if err := victim.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f := app.AsFailure(<-failed, app.StageRender)
	if f == nil || f.Reason != app.ReasonBuild || !strings.Contains(f.Error(), "killed by the system") {
		t.Errorf("the victim: %v", f)
	}
	good()
	pool.mu.Lock()
	for _, w := range pool.idle {
		_ = w.cmd.Process.Kill()
	}
	pool.mu.Unlock()
	good()
}

// TestGivenUp ends the wait for what never ends, and goes on with another.
func TestGivenUp(t *testing.T) {
	pool := newPool(t, Options{Workers: 1, CPU: time.Hour, Time: time.Hour})
	superseded := app.Fail(app.StageRender, app.ReasonSuperseded, "a newer commit came")
	for range 2 {
		ctx, stop := context.WithCancelCause(t.Context())
		failed := make(chan error, 2)
		for range 2 { // one renders, one waits
			go func() {
				_, err := pool.Render(ctx, endlessTree(), endlessSpec)
				failed <- err
			}()
		}
		pool.busy(t, "endless")
		stop(superseded)
		for range 2 {
			if err := <-failed; !errors.Is(err, superseded) {
				t.Error(err)
			}
		}
		if _, err := pool.Render(t.Context(), rendertest.Overlay(), app.Render{Path: "overlay"}); err != nil {
			t.Error(err)
		}
	}
	ended, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	_, err := pool.Render(ended, rendertest.Overlay(), app.Render{Path: "overlay"})
	if f := app.AsFailure(err, app.StageRender); f == nil || f.Reason != app.ReasonTimeout {
		t.Error(err)
	}
}

// TestTimeout bounds what does not compute but takes long.
func TestTimeout(t *testing.T) {
	pool := newPool(t, Options{Workers: 1, CPU: time.Hour, Time: 300 * time.Millisecond})
	_, err := pool.Render(t.Context(), endlessTree(), endlessSpec)
	if f := app.AsFailure(err, app.StageRender); f == nil || f.Reason != app.ReasonTimeout || !strings.Contains(f.Error(), "longer than 300ms") {
		t.Error(err)
	}
}

// TestNoProcess fails each rendering when processes cannot be started, and
// says why.
func TestNoProcess(t *testing.T) {
	for name, opts := range map[string]Options{
		"no program":      {Executable: "/nowhere/plumb", Args: []string{asWorker}},
		"another program": {Executable: "/bin/true", Args: []string{asWorker}},
		"a stranger":      {Executable: "/bin/echo", Args: []string{strings.Repeat("x", 100)}},
	} {
		pool := New(opts)
		for range 2 {
			_, err := pool.Render(t.Context(), rendertest.Overlay(), app.Render{Path: "overlay"})
			if f := app.AsFailure(err, app.StageRender); f == nil || f.Reason != app.ReasonInternal || !strings.Contains(f.Error(), "no process can be started") {
				t.Errorf("%s: %v", name, err)
			}
		}
		pool.Close()
	}
}

// faultyTree has lost its cache.
type faultyTree struct{ fstest.MapFS }

func (f faultyTree) Lstat(name string) (fs.FileInfo, error) {
	if name == "base" {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: app.Fail(app.StageFetch, app.ReasonSourceNotReady, "the cache is gone")}
	}
	return f.MapFS.Lstat(name)
}

// TestFaultOfTheTree gives back a failure of the source as it is.
func TestFaultOfTheTree(t *testing.T) {
	pool := newPool(t, Options{})
	_, err := pool.Render(t.Context(), faultyTree{rendertest.Overlay()}, app.Render{Path: "overlay"})
	if f := app.AsFailure(err, app.StageRender); f == nil || f.Stage != app.StageFetch || f.Reason != app.ReasonSourceNotReady {
		t.Error(err)
	}
}

// TestClose ends what waits and what runs.
func TestClose(t *testing.T) {
	pool := New(Options{Args: []string{asWorker}, Workers: 1, CPU: time.Hour, Time: time.Hour})
	failed := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := pool.Render(t.Context(), endlessTree(), endlessSpec)
			failed <- err
		}()
	}
	w := pool.busy(t, "endless")
	pool.Close()
	if w.alive() {
		t.Error("a process is left")
	}
	for range 3 {
		if f := app.AsFailure(<-failed, app.StageRender); f == nil || f.Reason != app.ReasonTerminated {
			t.Error(f)
		}
	}
	if _, err := pool.Render(t.Context(), rendertest.Overlay(), app.Render{}); err == nil {
		t.Error("it renders after its end")
	}
}

func BenchmarkOverlay(b *testing.B) {
	tree := rendertest.Overlay()
	spec := app.Render{Path: "overlay", Mode: app.RenderKustomize}
	pool := newPool(b, Options{Workers: 2})
	for name, do := range map[string]func() (render.Result, error){
		"here":   func() (render.Result, error) { return render.Render(b.Context(), tree, spec) },
		"worker": func() (render.Result, error) { return pool.Render(b.Context(), tree, spec) },
	} {
		b.Run(name, func(b *testing.B) {
			for range 20 {
				if result, err := do(); err != nil || len(result.Objects) != 6 {
					b.Fatal(err, len(result.Objects))
				}
			}
			for b.Loop() {
				if _, err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStart is what the start of a process costs, until it is warm and
// confined.
func BenchmarkStart(b *testing.B) {
	opts := Options{Args: []string{asWorker}}.withDefaults()
	for b.Loop() {
		w, err := startProcess(b.Context(), opts)
		if err != nil {
			b.Fatal(err)
		}
		w.dismiss()
		<-w.gone
	}
}
