package engine

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/rendercache"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/source"
)

var (
	propertySeed    = flag.Uint64("seed", 0, "seed of the random histories; 0 takes one of the time")
	propertyCommits = flag.Int("commits", 300, "commits of a random history")
)

// TestStoredRenderingIsTheRendering makes a random history of a repository and
// of one that it builds on. At every commit, whatever the closures of earlier
// renderings, in memory or on disk, give for an app is what rendering it anew
// gives.
func TestStoredRenderingIsTheRendering(t *testing.T) {
	seed := *propertySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("go test ./internal/engine -run %s -seed %d -commits %d", t.Name(), seed, *propertyCommits)
	rnd := rand.New(rand.NewPCG(seed, 0))
	git := sandboxtest.Git(t)
	for _, name := range []string{"app", "base"} {
		if err := git.Create(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	app1 := &history{rnd: rnd, files: map[string]blob{}, remote: git.RepoURL("base")}
	commits := app1.commits(t, git.Dir("app"), *propertyCommits)
	other := &history{rnd: rnd, files: map[string]blob{}}
	bases := other.commits(t, git.Dir("base"), 40)
	live := func(commit string) {
		gitIn(t, git.Dir("base"), nil, "update-ref", "refs/heads/live", commit)
	}
	live(bases[0])

	store := source.Open(source.Options{Dir: t.TempDir()})
	_, repo, err := store.Resolve(t.Context(), app.Source{URL: git.RepoURL("app"), Ref: app.GitRef{Branch: "main"}}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	open := func() *rendercache.Cache {
		return rendercache.Open(rendercache.Options{Dir: dir, Program: "test", MaxBytes: 2 << 20})
	}
	e := New(Options{Sources: store, Bases: store, Rendered: open()})
	defer func() { e.opts.Rendered.Close() }()

	type outcome struct {
		read   inputs
		result string // encoded, or the error
	}
	memory := map[int]outcome{}
	var previous *source.Tree
	var compared, held, heldFailed, fromDisk, rendered, failed, changed int
	failures := map[int]int{}
	looked := time.Now()
	for n, commit := range commits {
		switch rnd.IntN(40) {
		case 0, 1, 2, 3: // the base moves, and is looked at
			live(bases[rnd.IntN(len(bases))])
			looked = time.Now()
		case 4: // another process
			e.opts.Rendered.Close()
			e.opts.Rendered = open()
		case 5: // someone tidies up
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		case 6: // the disk is not what it was
			segments, err := filepath.Glob(filepath.Join(dir, "*", "*.seg"))
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range segments {
				info, err := os.Stat(s)
				if err == nil {
					err = os.Truncate(s, rnd.Int64N(info.Size()))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		tree, err := repo.Tree(commit)
		if err != nil {
			t.Fatal(err)
		}
		if previous != nil {
			// Who is found by what differs, without a look at closures.
			var index source.Index[int]
			for i, before := range memory {
				if before.read.closure.Holds(previous) {
					index.Put(i, before.read.closure)
				}
			}
			if changes, err := tree.Changes(previous); err == nil {
				touched := index.Touched(changes)
				for i, before := range memory {
					_, found := touched[i]
					if !found && before.read.closure.Holds(previous) && !before.read.closure.Holds(tree) {
						t.Fatalf("commit %d (%s): app %d has read of what differs, and is not found by it", n, commit, i)
					}
					compared++
				}
			}
		}
		previous = tree
		for i, c := range propertyApps {
			src := sourceNow{of: app.Source{URL: git.RepoURL("app"), UseIgnore: c.exclude, Ignore: c.ignore}}
			key := renderKey(app.Spec{Render: c.Render}, src)
			spec := c.Render
			spec.Kustomize.AllowRemoteBases = true
			files := source.Record(tree)
			result, used, err := newBases(store, looked).render(t.Context(), render.Render, src.files(files), spec)
			now := outcome{read: inputs{key: key, closure: files.Closure(), bases: used}}
			if err != nil {
				now.result = "error: " + err.Error()
				failed++
				failures[i]++
			} else {
				block, err := render.Encode(result)
				if err != nil {
					t.Fatal(err)
				}
				now.result = string(block)
			}
			at := fmt.Sprintf("commit %d of %d (%s), app %d (%+v)", n, len(commits), commit, i, c)
			before, known := memory[i]
			if known && before.result != now.result {
				changed++
			}
			if known && before.read.same(key, tree) && newBases(store, looked).hold(t.Context(), before.read.bases) {
				held++
				if err != nil {
					heldFailed++
				}
				if before.result != now.result {
					t.Fatalf("%s: what was read holds, and rendering gives another result:\n%q\n%q", at, before.result, now.result)
				}
			}
			got, read, ok := e.stored(t.Context(), key, tree, newBases(store, looked))
			switch {
			case ok && err != nil:
				t.Fatalf("%s: a rendering is stored, and rendering fails: %v", at, err)
			case ok:
				fromDisk++
				block, err := render.Encode(render.Result{Objects: got.Objects, Warnings: got.Warnings, Mode: got.Mode})
				if err != nil {
					t.Fatal(err)
				}
				if string(block) != now.result {
					t.Fatalf("%s: what is stored is not what rendering gives:\n%q\n%q", at, block, now.result)
				}
				if !read.same(key, tree) {
					t.Fatalf("%s: what was stored of the inputs does not hold", at)
				}
			case err == nil:
				rendered++
				e.store(now.read, result)
			}
			if !ok || rnd.IntN(2) == 0 { // closures of all ages
				memory[i] = now
			}
		}
	}
	total := len(commits) * len(propertyApps)
	t.Logf("%d looks: %d failed, %d gave something new; %d held (%d of them failures); %d from disk, %d rendered; %d compared with what differs; failures by app: %v", total, failed, changed, held, heldFailed, fromDisk, rendered, compared, failures)
	if held < total/4 || fromDisk < total/8 || rendered < total/50 || failed > total*2/3 || changed < total/50 || heldFailed == 0 {
		t.Error("the histories are not what this test needs")
	}
}

type propertyApp struct {
	app.Render
	exclude bool
	ignore  *string
}

var ignoreText = "*.txt\n/base/\n!/base/a.yaml\n"

var propertyApps = []propertyApp{
	{Render: app.Render{Path: "apps/a"}},
	{Render: app.Render{Path: "apps/b", Mode: app.RenderKustomize}},
	{Render: app.Render{Path: "apps/a"}, exclude: true},
	{Render: app.Render{Path: "apps/remote", Mode: app.RenderKustomize}},
	{Render: app.Render{Path: "plain/x", Mode: app.RenderGenerated}},
	{Render: app.Render{Path: "plain", Mode: app.RenderGenerated}, exclude: true, ignore: &ignoreText},
	{Render: app.Render{Path: "plain", Mode: app.RenderDirectory}},
	{Render: app.Render{Path: "plain", Mode: app.RenderDirectory, Directory: app.Directory{Recurse: true, Include: "{a,b}*", Exclude: "*/b.yaml", Lenient: true}}},
	{Render: app.Render{Path: ".", Mode: app.RenderDirectory, Directory: app.Directory{Recurse: true, Exclude: "{apps/**,**/kustomization.yaml}", Lenient: true, SkipMarker: "skip me"}}},
	{Render: app.Render{Path: "links/dir"}},
	{Render: app.Render{Path: "base", Kustomize: app.Kustomize{NamePrefix: "p-", Components: []string{"../comp"}, Images: []app.Image{{Name: "nginx", NewTag: "2"}},
		Patches: []app.Patch{{Path: "patch.yaml"}}, CommonLabels: map[string]string{"a": "b"}}}},
}

// history makes random commits.
type history struct {
	rnd    *rand.Rand
	files  map[string]blob
	past   []map[string]blob
	remote string // what kustomizations build on; "" for nothing
}

type blob struct {
	mode, text string // a mode of Git
}

var (
	propertyDirs = []string{"base", "comp", "apps/a", "apps/b", "apps/b/in", "apps/c", "apps/remote", "plain", "plain/x", "plain/y", "links", "."}
	propertyBase = []string{"a.yaml", "b.yaml", "c.yml", "d.json", "notes.txt", "patch.yaml", "env.txt"}
)

func pick[T any](rnd *rand.Rand, from []T) T { return from[rnd.IntN(len(from))] }

func (h *history) dir() string  { return pick(h.rnd, propertyDirs) }
func (h *history) file() string { return path.Join(h.dir(), pick(h.rnd, propertyBase)) }

// commits writes a history to a bare repository, with main as its end.
func (h *history) commits(t *testing.T, dir string, n int) []string {
	h.begin()
	var in bytes.Buffer
	for i := range n {
		if i > 0 {
			for range 1 + h.rnd.IntN(2) {
				h.change()
			}
		}
		h.past = append(h.past, maps.Clone(h.files))
		fmt.Fprintf(&in, "commit refs/heads/main\nmark :%d\ncommitter A <a@example.org> %d +0000\ndata 1\nc\n", i+1, 1e9+i)
		if i > 0 {
			fmt.Fprintf(&in, "from :%d\n", i)
		}
		fmt.Fprintln(&in, "deleteall")
		for _, name := range slices.Sorted(maps.Keys(h.files)) {
			b := h.files[name]
			fmt.Fprintf(&in, "M %s inline %s\ndata %d\n%s\n", b.mode, name, len(b.text), b.text)
		}
	}
	marks := filepath.Join(t.TempDir(), "marks")
	gitIn(t, dir, &in, "fast-import", "--quiet", "--export-marks="+marks)
	commits := strings.Fields(gitIn(t, dir, nil, "rev-list", "--reverse", "main"))
	if len(commits) != n {
		t.Fatalf("%d commits", len(commits))
	}
	return commits
}

func gitIn(t *testing.T, dir string, in *bytes.Buffer, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), "git", args...)
	cmd.Dir, cmd.Env = dir, sandboxtest.GitEnvironment()
	if in != nil {
		cmd.Stdin = in
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// begin makes a repository in which everything can be rendered.
func (h *history) begin() {
	clear(h.files)
	for _, dir := range []string{"base", "plain", "plain/x", "plain/y", "apps/b/in"} {
		for _, name := range []string{"a.yaml", "b.yaml"} {
			h.put(path.Join(dir, name), h.manifest(path.Join(dir, name)))
		}
	}
	h.put("base/kustomization.yaml", "resources: [a.yaml, b.yaml]\n")
	h.put("base/patch.yaml", h.patch())
	h.put("comp/kustomization.yaml", "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nconfigMapGenerator: [{name: c, literals: [a=b]}]\n")
	h.put("apps/a/kustomization.yaml", "resources: [../../base]\ncomponents: [../../comp]\nconfigMapGenerator: [{name: g, files: [env.txt]}]\n")
	h.put("apps/a/env.txt", "A=1\n")
	h.put("apps/b/in/kustomization.yaml", "resources: [a.yaml, b.yaml]\n")
	h.put("apps/b/kustomization.yaml", "resources: [in, ../../base]\n")
	h.put("apps/remote/kustomization.yaml", "resources: [../../base]\n")
	if h.remote != "" {
		h.put("apps/remote/kustomization.yaml", fmt.Sprintf("nameSuffix: -r\nresources: ['%s//base?ref=live']\n", h.remote))
	}
	h.files["links/dir"] = blob{"120000", "../apps/a"}
}

// put writes a file; what is in its way goes.
func (h *history) put(name, text string) {
	h.clear(name)
	mode := "100644"
	if h.rnd.IntN(20) == 0 {
		mode = "100755"
	}
	h.files[name] = blob{mode, text}
}

// clear makes room for a file or directory of that name.
func (h *history) clear(name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		delete(h.files, dir)
	}
	delete(h.files, name)
	for other := range h.files {
		if strings.HasPrefix(other, name+"/") {
			delete(h.files, other)
		}
	}
}

func (h *history) change() {
	if len(h.files) == 0 || h.rnd.IntN(8) == 0 {
		h.begin() // well again
	}
	name := pick(h.rnd, slices.Sorted(maps.Keys(h.files)))
	switch h.rnd.IntN(24) {
	case 0, 1, 2, 3, 4:
		file := h.file()
		h.put(file, h.manifest(file))
	case 5, 6, 7: // what is there changes
		if b := h.files[name]; b.mode != "120000" && !strings.Contains(strings.ToLower(name), "kustomization") {
			h.put(name, h.manifest(name))
		}
	case 8:
		h.put(path.Join(h.dir(), "env.txt"), fmt.Sprintf("A=%d\n", h.rnd.IntN(9)))
	case 9, 10, 11:
		h.put(path.Join(h.dir(), "kustomization.yaml"), h.kustomization())
	case 12: // a second name for it, or the first
		h.put(path.Join(h.dir(), pick(h.rnd, []string{"kustomization.yml", "Kustomization"})), h.kustomization())
	case 13, 14:
		delete(h.files, name)
	case 15:
		delete(h.files, path.Join(h.dir(), "kustomization.yml"))
		delete(h.files, path.Join(h.dir(), "Kustomization"))
	case 16:
		from := path.Join(h.dir(), pick(h.rnd, []string{"dir", "a.yaml", "c.yml", "x"}))
		to := pick(h.rnd, []string{"../base", "../apps/a", "a.yaml", "../../base/b.yaml", "b.yaml", "nowhere", "../../..", "/etc", ".", "../plain/x", "../../plain"})
		h.clear(from)
		h.files[from] = blob{"120000", to}
	case 17: // a directory goes to another place
		from, to := h.dir(), h.dir()
		for name, b := range maps.Clone(h.files) {
			if rest, ok := strings.CutPrefix(name, from+"/"); ok && !strings.HasPrefix(to, from) && h.rnd.IntN(3) == 0 {
				delete(h.files, name)
				h.clear(path.Join(to, rest))
				h.files[path.Join(to, rest)] = b
			}
		}
	case 18:
		h.put(path.Join(h.dir(), ".sourceignore"), pick(h.rnd, []string{"*.txt\n", "/a.yaml\n", "# nothing\n", "x/\n!x/a.yaml\n", "/*\n!/apps\n"}))
	case 19:
		delete(h.files, path.Join(h.dir(), ".sourceignore"))
	case 20: // what nobody reads
		h.put(path.Join(h.dir(), "readme.md"), fmt.Sprint(h.rnd.IntN(9)))
	case 21: // back to a commit of before
		h.files = maps.Clone(pick(h.rnd, h.past))
	case 22: // a link turns to a directory that holds the same
		to := pick(h.rnd, []string{"apps/a", "apps/c"})
		if h.files["links/dir"] == (blob{"120000", "../" + to}) {
			break
		}
		from := map[string]string{"apps/a": "apps/c", "apps/c": "apps/a"}[to]
		h.clear(to)
		for name, b := range maps.Clone(h.files) {
			if rest, ok := strings.CutPrefix(name, from+"/"); ok {
				h.files[path.Join(to, rest)] = b
			}
		}
		h.clear("links/dir")
		h.files["links/dir"] = blob{"120000", "../" + to}
	case 23: // an empty commit
	}
}

func (h *history) manifest(file string) string {
	name := strings.NewReplacer("/", "-", ".", "-").Replace(strings.ToLower(file))
	n := h.rnd.IntN(5)
	switch h.rnd.IntN(12) {
	case 0:
		return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s}\nspec:\n  template:\n    spec: {containers: [{name: c, image: 'nginx:%d'}]}\n", name, n)
	case 1:
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData: {a: b%d}\n", name, n)
	case 2:
		return fmt.Sprintf("# skip me\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {v: '%d'}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s-2}\n", name, n, name)
	case 3:
		return pick(h.rnd, []string{"", "a: [", "just: data\n", "kind: List\napiVersion: v1\nitems: []\n", "\xff\xfe"})
	case 4:
		return h.patch()
	}
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {v: '%d', f: 1.5, n: 3}\n", name, n)
}

func (h *history) patch() string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base-a-yaml}\ndata: {patched: '%d'}\n", h.rnd.IntN(3))
}

// kustomization makes one of parts that mostly fit together.
func (h *history) kustomization() string {
	var out strings.Builder
	refs := []string{"a.yaml", "b.yaml", "c.yml", "../../base", "../base", "in", "x", "dir", "nowhere", "../../plain/x", "../x/a.yaml", "."}
	if h.remote != "" {
		refs = append(refs, h.remote+"//base?ref=live", h.remote+"//apps/a?ref=main", h.remote+"//nowhere")
	}
	if h.rnd.IntN(8) == 0 {
		fmt.Fprintln(&out, "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component")
	}
	fmt.Fprintln(&out, "resources:")
	for range 1 + h.rnd.IntN(2) {
		fmt.Fprintf(&out, "- '%s'\n", pick(h.rnd, refs))
	}
	switch h.rnd.IntN(8) {
	case 0:
		fmt.Fprintf(&out, "namePrefix: n%d-\n", h.rnd.IntN(3))
	case 1:
		fmt.Fprintf(&out, "components: ['%s']\n", pick(h.rnd, []string{"../../comp", "../comp", "comp"}))
	case 2:
		fmt.Fprintf(&out, "configMapGenerator: [{name: g, files: ['%s', k=notes.txt]}]\n", pick(h.rnd, propertyBase))
	case 3:
		fmt.Fprintf(&out, "secretGenerator: [{name: s, envs: [env.txt], literals: [n=%d]}]\n", h.rnd.IntN(3))
	case 4:
		fmt.Fprintf(&out, "patches: [{path: %s, target: {kind: ConfigMap}}]\n", pick(h.rnd, []string{"patch.yaml", "../patch.yaml", "nowhere.yaml"}))
	case 5:
		fmt.Fprintln(&out, "patches: [{target: {kind: ConfigMap}, patch: '[{op: add, path: /data/j, value: \"1\"}]'}]\nbuildMetadata: [originAnnotations]")
	case 6:
		fmt.Fprintln(&out, "openapi: {path: schema.json}")
	}
	return out.String()
}
