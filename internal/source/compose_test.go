package source

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/giturl"
)

// sibling makes another repository on the server of o.
func (o *origin) sibling(name string) *origin {
	o.t.Helper()
	if err := o.git.Create(o.t.Context(), name); err != nil {
		o.t.Fatal(err)
	}
	other := &origin{t: o.t, git: o.git, http: o.http, bare: o.git.Dir(name), work: o.t.TempDir()}
	other.run("init", "--quiet", "--initial-branch=main", ".")
	other.run("remote", "add", "origin", other.bare)
	return other
}

// link notes a submodule as Git would: in .gitmodules, and its commit in the
// index.
func (o *origin) link(path, url, commit string) {
	o.t.Helper()
	o.run("config", "--file", ".gitmodules", "submodule."+path+".path", path)
	o.run("config", "--file", ".gitmodules", "submodule."+path+".url", url)
	o.run("add", ".gitmodules")
	o.run("update-index", "--add", "--cacheinfo", "160000,"+commit+","+path)
}

// commitLinked commits what link has put into the index, and files.
func (o *origin) commitLinked(message string, files map[string]string) string {
	o.t.Helper()
	o.write(files)
	for name := range files {
		o.run("add", name)
	}
	o.run("commit", "--quiet", "--message", message)
	return o.run("rev-parse", "HEAD")
}

func wantFile(t testing.TB, fsys fs.FS, name, want string) {
	t.Helper()
	if got, err := fs.ReadFile(fsys, name); err != nil || string(got) != want {
		t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
	}
}

func TestSubmodules(t *testing.T) {
	o := newOrigin(t)
	inner, lib := o.sibling("team/inner"), o.sibling("other/lib")
	innerAt := inner.commit("inner", map[string]string{"deep": "inner 1"})
	inner.push("main")
	lib.link("vendor/inner", "../../team/inner.git", innerAt)
	libAt := lib.commitLinked("lib", map[string]string{"lib.yaml": "lib 1"})
	lib.push("main")
	o.link("libs/one", "../../other/lib.git", libAt)
	o.link("gone", "https://git.plumb.invalid/x", libAt)
	o.run("rm", "--quiet", "--cached", "gone") // named in .gitmodules, and not there
	o.commitLinked("first", map[string]string{"app/a": "1"})
	o.push("main")

	s := newStore(t)
	plain := treeOf(t, s, o.source(app.GitRef{Branch: "main"}))
	if entries, err := fs.ReadDir(plain, "libs/one"); err != nil || len(entries) != 0 {
		t.Errorf("without submodules: %v, %v", entries, err)
	}
	src := o.source(app.GitRef{Branch: "main"})
	src.Submodules = true
	first, repo := resolve(t, s, src)
	tree, err := repo.Tree(first.ID())
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, tree, "app/a", "1")
	wantFile(t, tree, "libs/one/lib.yaml", "lib 1")
	wantFile(t, tree, "libs/one/vendor/inner/deep", "inner 1")
	if first.Content == "" || first.Commit != o.run("rev-parse", "HEAD") {
		t.Errorf("got %+v", first)
	}

	// A closure holds as long as what was read of the submodule does.
	app1, lib1 := Record(tree), Record(tree)
	wantFile(t, app1, "app/a", "1")
	wantFile(t, lib1, "libs/one/vendor/inner/deep", "inner 1")
	innerAt = inner.commit("inner 2", map[string]string{"deep": "inner 2"})
	inner.push("main")
	// That the submodule's branch moves is no news: the commit counts.
	if again, _ := resolve(t, s, src); again.ID() != first.ID() {
		t.Error("the branch of a submodule moved, and so did the source")
	}
	lib.link("vendor/inner", "../../team/inner.git", innerAt)
	libAt = lib.commitLinked("lib 2", nil)
	lib.push("main")
	o.link("libs/one", "../../other/lib.git", libAt)
	o.commitLinked("second", nil)
	o.push("main")
	second, repo := resolve(t, s, src)
	moved, err := repo.Tree(second.ID())
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, moved, "libs/one/vendor/inner/deep", "inner 2")
	if !app1.Closure().Holds(moved) || lib1.Closure().Holds(moved) {
		t.Error("closures: what was not touched must hold, what was must not")
	}
	changes, err := moved.Changes(tree)
	if err != nil || strings.Join(changes.entries, " ") != "libs/one/vendor/inner/deep" {
		t.Errorf("changes %+v, %v", changes, err)
	}

	// Another process finds it on the disk, by the commit alone.
	o.http.Config.Handler = http.NotFoundHandler()
	pinned := src
	pinned.Ref = app.GitRef{Commit: first.Commit}
	again, repo := resolve(t, Open(Options{Dir: s.opt.Dir}), pinned)
	if again.Content != first.Content {
		t.Errorf("content %s, was %s", again.Content, first.Content)
	}
	if tree, err = repo.Tree(again.ID()); err != nil {
		t.Fatal(err)
	}
	wantFile(t, tree, "libs/one/vendor/inner/deep", "inner 1")
	checkStore(t, s)
}

// What a Secret holds goes to the server of the repository, and to no other
// that .gitmodules names.
func TestSubmoduleCredentials(t *testing.T) {
	o := newOrigin(t)
	lib := o.sibling("other/lib")
	libAt := lib.commit("lib", map[string]string{"lib.yaml": "lib"})
	lib.push("main")
	var mu sync.Mutex
	seen := map[string][]string{} // authorizations by server
	guard := func(name string) *httptest.Server {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			seen[name] = append(seen[name], r.Header.Get("Authorization"))
			mu.Unlock()
			if name == "home" && r.Header.Get("Authorization") == "" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			o.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		return server
	}
	home, away := guard("home"), guard("away")
	s := newStore(t)
	src := app.Source{URL: home.URL + "/team/repo.git", Ref: app.GitRef{Branch: "main"}, Submodules: true,
		Auth: app.Credentials{Username: "ada", Password: "hunter2"}}
	o.link("relative", "../other/lib.git", libAt) // leads to team/other: not there
	o.commitLinked("wrong", nil)
	o.push("main")
	f := wantFailure(t, resolveError(t, s, src), app.ReasonRepoNotFound, "hunter2")
	if !strings.Contains(f.Error(), "submodule relative") {
		t.Error(f)
	}
	o.link("relative", "../../other/lib.git", libAt)
	o.link("absolute", home.URL+"/other/lib.git", libAt)
	o.link("away", away.URL+"/other/lib.git", libAt)
	o.commitLinked("all", nil)
	o.push("main")
	rev, repo := resolve(t, s, src)
	tree, err := repo.Tree(rev.ID())
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"relative", "absolute", "away"} {
		wantFile(t, tree, at+"/lib.yaml", "lib")
	}
	mu.Lock()
	defer mu.Unlock()
	for _, authorization := range seen["away"] {
		if authorization != "" {
			t.Error("the other server got the Secret's content")
		}
	}
	if len(seen["away"]) == 0 || len(seen["home"]) == 0 {
		t.Errorf("servers were not asked: %d, %d", len(seen["home"]), len(seen["away"]))
	}
}

func TestHostileSubmodules(t *testing.T) {
	o := newOrigin(t)
	lib := o.sibling("other/lib")
	libAt := lib.commit("lib", map[string]string{"lib.yaml": "lib"})
	lib.push("main")
	base := o.commit("base", map[string]string{"a": "1"})
	s := Open(Options{Dir: t.TempDir(), Local: true})
	for name, test := range map[string]struct {
		modules string
		path    string
		want    string
		reason  app.Reason
	}{
		"local directory":   {"[submodule \"x\"]\n path = x\n url = file://" + lib.bare + "\n", "x", "directory of the machine", app.ReasonSubmodule},
		"local path":        {"[submodule \"x\"]\n path = x\n url = " + lib.bare + "\n", "x", "directory of the machine", app.ReasonSubmodule},
		"above the server":  {"[submodule \"x\"]\n path = x\n url = ../../../x\n", "x", "above the server", app.ReasonSubmodule},
		"hidden dots":       {"[submodule \"x\"]\n path = x\n url = ./a/../../x\n", "x", "cannot be read", app.ReasonSubmodule},
		"option":            {"[submodule \"x\"]\n path = x\n url = --upload-pack=touch\n", "x", "not one of", app.ReasonSubmodule},
		"helper":            {"[submodule \"x\"]\n path = x\n url = ext::sh -c true\n", "x", "needs a key", app.ReasonAuthentication},
		"path leads out":    {"[submodule \"x\"]\n path = ../x\n url = ./x\n", "x", "leads elsewhere", app.ReasonSubmodule},
		"rooted path":       {"[submodule \"x\"]\n path = /etc\n url = ./x\n", "x", "leads elsewhere", app.ReasonSubmodule},
		"no URL":            {"[submodule \"x\"]\n path = x\n", "x", "without URL", app.ReasonSubmodule},
		"twice":             {"[submodule \"x\"]\n path = x\n url = ./x\n[submodule \"y\"]\n path = x\n url = ./y\n", "x", "same path", app.ReasonSubmodule},
		"nonsense":          {"[submodule \"x\"\n path", "x", "cannot be read", app.ReasonSubmodule},
		"password in words": {"[submodule \"x\"]\n path = x\n url = http://u:hunter2@127.0.0.1:1/x\n", "x", "submodule x", app.ReasonUnreachable},
		"no such commit":    {"[submodule \"x\"]\n path = x\n url = ../../other/lib.git\n", "", "submodule x", app.ReasonRefNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			o.run("reset", "--quiet", "--hard", base)
			o.write(map[string]string{".gitmodules": test.modules})
			o.run("add", ".gitmodules")
			commit := libAt
			if test.path == "" {
				commit = strings.Repeat("ab", 20)
			}
			o.run("update-index", "--add", "--cacheinfo", "160000,"+commit+",x")
			o.run("commit", "--quiet", "-m", name)
			o.push("main")
			src := o.source(app.GitRef{Branch: "main"})
			src.Submodules = true
			f := wantFailure(t, resolveError(t, s, src), test.reason, "hunter2")
			if !strings.Contains(f.Error(), test.want) {
				t.Errorf("got %q, want %q", f, test.want)
			}
		})
	}
}

// Git itself refuses to make such a tree; a server may have it all the same.
func TestModulesFileIsALink(t *testing.T) {
	o := newOrigin(t)
	base := o.commit("base", map[string]string{"a": "1"})
	text := plumbing.NewHash(o.object("blob", "a"))
	at := plumbing.NewHash(base)
	tree := o.object("tree", "120000 .gitmodules\x00"+string(text[:])+"160000 x\x00"+string(at[:]))
	o.push(o.run("commit-tree", "-m", "link", tree) + ":refs/heads/main")
	src := o.source(app.GitRef{Branch: "main"})
	src.Submodules = true
	f := wantFailure(t, resolveError(t, newStore(t), src), app.ReasonSubmodule)
	if !strings.Contains(f.Error(), "no regular file") {
		t.Error(f)
	}
}

// Submodules that lead deeper and deeper come to an end.
func TestSubmodulesAreBounded(t *testing.T) {
	o := newOrigin(t)
	lib := o.sibling("other/lib")
	at := lib.commit("leaf", map[string]string{"leaf": "1"})
	for range maxSubmoduleDepth + 1 {
		lib.link("down", "../../other/lib.git", at)
		at = lib.commitLinked("down", nil)
	}
	lib.push("main")
	o.link("lib", "../../other/lib.git", at)
	o.commitLinked("first", nil)
	o.push("main")
	src := o.source(app.GitRef{Branch: "main"})
	src.Submodules = true
	f := wantFailure(t, resolveError(t, newStore(t), src), app.ReasonSubmodule)
	if !strings.Contains(f.Error(), "nested deeper") {
		t.Error(f)
	}
}

func FuzzModules(f *testing.F) {
	f.Add([]byte("[submodule \"x\"]\n path = x\n url = ../x\n"), "../x")
	f.Add([]byte("[submodule \"x\"]\n path = x\n url = ssh://git@h/x\n"), "git@h:x")
	f.Fuzz(func(t *testing.T, text []byte, url string) {
		modules, err := parseModules(text)
		if err == nil {
			for _, m := range modules {
				if !fs.ValidPath(m.path) || m.path == "." {
					t.Errorf("path %q", m.path)
				}
			}
		}
		addr, _ := giturl.Parse("https://home.example/team/repo")
		super := location{addr, app.Credentials{Password: "hunter2"}}
		at, err := super.submodule(url)
		if err == nil && at.auth.Password != "" && (at.addr.Host != addr.Host || at.addr.Scheme != "https" || at.addr.Port != "") {
			t.Errorf("credentials go to %s", at.addr)
		}
		if err == nil && at.addr.Scheme == "file" {
			t.Error("a local directory")
		}
	})
}

func part(name, revision string, files fstest.MapFS) Part {
	id := app.SourceID{Kind: "GitRepository", Namespace: "team", Name: name}
	return Part{Source: app.Source{ID: id}, Revision: app.Revision{Commit: revision}, Files: files}
}

func TestInclude(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"app/a": "1", "taken/b": "2"})
	o.push("main")
	one := part("one", "11", fstest.MapFS{"deploy/x": {Data: []byte("x 1"), Mode: 0o755}, "deploy/deep/z": {Data: []byte("z")}, "other": {Data: []byte("o")}})
	two := part("two", "22", fstest.MapFS{"only": {Data: []byte("two")}})
	src := o.source(app.GitRef{Branch: "main"})
	src.Include = []app.Include{
		{Source: one.Source.ID, From: "deploy", To: "app/in"},
		{Source: two.Source.ID, From: ".", To: "two"},
		{Source: one.Source.ID, From: "other", To: "app/file"},
	}
	s := newStore(t)
	look := func(src app.Source, parts ...Part) (app.Revision, *Tree) {
		t.Helper()
		rev, repo, err := s.Resolve(t.Context(), src, time.Now(), parts...)
		if err != nil {
			t.Fatal(err)
		}
		tree, err := repo.Tree(rev.ID())
		if err != nil {
			t.Fatal(err)
		}
		return rev, tree
	}
	first, tree := look(src, one, two)
	wantFile(t, tree, "app/a", "1")
	wantFile(t, tree, "app/in/x", "x 1")
	wantFile(t, tree, "app/in/deep/z", "z")
	wantFile(t, tree, "app/file", "o")
	wantFile(t, tree, "two/only", "two")
	if info, err := tree.Stat("app/in/x"); err != nil || info.Mode() != 0o755 {
		t.Errorf("mode %v, %v", info, err)
	}
	if len(first.Parts) != 3 || first.Parts[1].Commit != "22" {
		t.Errorf("parts %+v", first.Parts)
	}
	read := Record(tree)
	wantFile(t, read, "app/a", "1")

	one.Revision.Commit, one.Files = "12", fstest.MapFS{"deploy/x": {Data: []byte("x 2"), Mode: 0o755}, "other": {Data: []byte("o")}}
	second, moved := look(src, one, two)
	wantFile(t, moved, "app/in/x", "x 2")
	if _, err := moved.Stat("app/in/deep"); err == nil {
		t.Error("what is gone from the include is still there")
	}
	if first.Commit != second.Commit || first.ID() == second.ID() || !read.Closure().Holds(moved) {
		t.Errorf("%+v, then %+v", first, second)
	}
	checkStore(t, s)

	for name, include := range map[string]app.Include{
		"in the way": {Source: two.Source.ID, From: ".", To: "taken"},
		"on a file":  {Source: two.Source.ID, From: ".", To: "app/a"},
		"no such":    {Source: two.Source.ID, From: "none", To: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			src.Include = []app.Include{include}
			_, _, err := s.Resolve(t.Context(), src, time.Now(), two)
			wantFailure(t, err, app.ReasonInclude)
		})
	}
}

func TestSparse(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"root": "r", "apps/a/x": "1", "apps/b/x": "2", "apps-more/x": "3", "infra/y": "4"})
	o.push("main")
	src := o.source(app.GitRef{Branch: "main"})
	src.Sparse = []string{"apps/a", "infra"}
	src.Include = []app.Include{{Source: app.SourceID{Name: "x"}, From: ".", To: "apps/in"}}
	shown := Shown(src, treeOf(t, newStore(t), o.source(src.Ref)))
	if err := fstest.TestFS(shown, "apps/a/x", "infra/y"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"root", "apps/b", "apps/b/x", "apps-more/x"} {
		if _, err := fs.Stat(shown, name); err == nil {
			t.Errorf("%s is shown", name)
		}
	}
	src.Include = nil
	s := newStore(t)
	resolve(t, s, src)
	src.Sparse = []string{"apps", "none"}
	f := wantFailure(t, resolveError(t, s, src), app.ReasonPathNotFound)
	if !strings.Contains(f.Error(), "sparse checkout dir 'none' does not exist") {
		t.Error(f)
	}
}
