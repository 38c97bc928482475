package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source"
)

// origin is a Git repository and what reads it.
type origin struct {
	testing.TB
	dir   string
	store *source.Store
}

func newOrigin(t testing.TB) *origin {
	o := &origin{TB: t, dir: t.TempDir(), store: source.Open(source.Options{Dir: t.TempDir(), Local: true})}
	o.git("init", "--quiet", "--initial-branch=main", ".")
	return o
}

func (o *origin) git(args ...string) string {
	o.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = o.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + o.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		o.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (o *origin) write(name, text string) {
	o.Helper()
	name = filepath.Join(o.dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		o.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		o.Fatal(err)
	}
}

// commit commits all there is, and gives it as a source shows it.
func (o *origin) commit(ignore *string) Content {
	o.Helper()
	o.git("add", "-A")
	o.git("commit", "--quiet", "--allow-empty", "-m", "change")
	return o.now(ignore)
}

// now gives the branch as a source shows it.
func (o *origin) now(ignore *string) Content {
	o.Helper()
	rev, repo, err := o.store.Resolve(context.Background(), app.Source{URL: "file://" + o.dir, Ref: app.GitRef{Branch: "main"}}, time.Now())
	if err != nil {
		o.Fatal(err)
	}
	tree, err := repo.Tree(rev.ID())
	if err != nil {
		o.Fatal(err)
	}
	return Content{Revision: rev, Tree: tree, Filter: source.Exclude(tree, ignore).(source.Filter)}
}

var id = app.SourceID{Kind: "GitRepository", Namespace: "team", Name: "repo"}

func newStore(t testing.TB, dir string) *Store {
	if dir == "" {
		dir = t.TempDir()
	}
	return Open(Options{Dir: dir, Address: "http://plumb.example."})
}

func mustMake(t testing.TB, s *Store, c Content) app.Artifact {
	t.Helper()
	a, err := s.Make(t.Context(), id, c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func read(t testing.TB, s *Store, file string) []byte {
	t.Helper()
	f, a, ok := s.Get(id, file)
	if !ok {
		t.Fatalf("%s is not there", file)
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	sum := sha256.Sum256(data)
	if err != nil || a.Digest != digestOf(sum[:]) || a.Size != int64(len(data)) {
		t.Fatalf("%d bytes of %x, for %+v: %v", len(data), sum, a, err)
	}
	return data
}

// unpacked gives what stock tar makes of an archive: text and mode by path.
func unpacked(t testing.TB, archive []byte) map[string]string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("tar", "-xzpf", "-", "-C", dir)
	cmd.Stdin = bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return filesOf(t, dir)
}

func filesOf(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		files[rel] = fmt.Sprintf("%v %s", info.Mode(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// What stock tar takes out is what stock Git has, but for what is left out.
func TestUnpacksToWhatGitHas(t *testing.T) {
	o := newOrigin(t)
	long := strings.Repeat("long/", 30) + strings.Repeat("n", 120)
	for name, text := range map[string]string{
		"a.yaml": "a", "empty": "", "dir/b c.yaml": "b", "dir/ü.yaml": "u", "dir/run.sh": "#!", long: "far",
		"dir/logo.png": "an image", ".github/x": "x", "big/a": strings.Repeat("0123456789", 50_000), "big/b": "b", "big/deep/c": "c",
		"own/.sourceignore": "*.txt\n", "own/x.txt": "x", "own/keep": "k",
	} {
		o.write(name, text)
	}
	if err := os.Chmod(filepath.Join(o.dir, "dir/run.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../a.yaml", filepath.Join(o.dir, "dir/link")); err != nil {
		t.Fatal(err)
	}
	c := o.commit(nil)
	s := newStore(t, "")
	a := mustMake(t, s, c)
	if want := "http://plumb.example./gitrepository/team/repo/" + c.Revision.Commit + ".tar.gz"; a.URL != want {
		t.Errorf("URL %s", a.URL)
	}
	want := map[string]string{}
	all := exec.Command("git", "-C", o.dir, "-c", "tar.umask=0022", "archive", "HEAD")
	data, err := all.Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	untar := exec.Command("tar", "-xpf", "-", "-C", dir)
	untar.Stdin = bytes.NewReader(data)
	if out, err := untar.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, text := range filesOf(t, dir) {
		switch name {
		case "dir/logo.png", ".github/x", "own/x.txt", "dir/link":
		default:
			want[name] = text
		}
	}
	got := unpacked(t, read(t, s, LatestName))
	for name := range got {
		if got[name] != want[name] {
			t.Errorf("%s: got %.50q, want %.50q", name, got[name], want[name])
		}
	}
	if len(got) != len(want) || len(got) != 11 {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
	// No times, no owners.
	list := exec.Command("tar", "-tvzf", "-", "--utc", "--numeric-owner")
	list.Stdin = bytes.NewReader(read(t, s, LatestName))
	out, err := list.Output()
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, " 0/0 ") || !strings.Contains(line, " 1970-01-01 00:00 ") {
			t.Errorf("%s", line)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// However an archive came about, step by step or at once, its bytes are those
// of its content.
func TestBytesFollowFromContent(t *testing.T) {
	o := newOrigin(t)
	rnd := rand.New(rand.NewPCG(1, 1))
	name := func() string {
		return fmt.Sprintf("apps/a%d/%s/f%d.yaml", rnd.IntN(40), []string{"base", "prod"}[rnd.IntN(2)], rnd.IntN(20))
	}
	text := func() string { return strings.Repeat(fmt.Sprintf("line %d\n", rnd.Int()), 1+rnd.IntN(500)) }
	for range 400 {
		o.write(name(), text())
	}
	step := newStore(t, "")
	none, some := "", "f1*.yaml\n"
	for i := range 12 {
		var ignore *string
		switch i {
		case 0:
		case 5:
			o.write("apps/.sourceignore", "f3.yaml\n") // concerns files far below
		case 8:
			ignore = &some
		case 9:
			ignore = &none
		default:
			for range 1 + rnd.IntN(3) {
				o.write(name(), text())
			}
			os.RemoveAll(filepath.Join(o.dir, filepath.Dir(name())))
		}
		c := o.commit(ignore)
		a := mustMake(t, step, c)
		if b := mustMake(t, newStore(t, ""), c); a != b {
			t.Fatalf("step %d: %+v, at once %+v", i, a, b)
		}
		for file := range unpacked(t, read(t, step, LatestName)) {
			hidden, err := c.Filter.Hides(file, false)
			if hidden || err != nil {
				t.Errorf("step %d: %s is in it, %v", i, file, err)
			}
		}
	}
}

// Below a prefix it is another archive.
func TestPrefix(t *testing.T) {
	o := newOrigin(t)
	o.write("Chart.yaml", "name: web\n")
	o.write("templates/big.yaml", strings.Repeat("x\n", maxUnit))
	o.write("templates/small.yaml", "a: b\n")
	c := o.commit(nil)
	s := newStore(t, "")
	plain := mustMake(t, s, c)
	c.Prefix = "web"
	if a := mustMake(t, s, c); a.Digest == plain.Digest {
		t.Error("it is the same one")
	}
	files := unpacked(t, read(t, s, LatestName))
	if len(files) != 3 || files["web/Chart.yaml"] != "-rw-r--r-- name: web\n" || files["web/templates/small.yaml"] == "" {
		t.Errorf("%d files, Chart.yaml %q", len(files), files["web/Chart.yaml"])
	}
}

func TestPrefixIsAName(t *testing.T) {
	o := newOrigin(t)
	o.write("a", "a")
	c := o.commit(nil)
	for _, c.Prefix = range []string{"..", ".", "../x", "/x", "a/b", `a\b`} {
		if _, err := newStore(t, "").Make(t.Context(), id, c); err == nil {
			t.Errorf("%q is taken", c.Prefix)
		}
	}
}

// A change compresses a member or two of many.
func TestChangeCopiesTheRest(t *testing.T) {
	for layout, name := range map[string]func(i int) string{
		"flat":   func(i int) string { return fmt.Sprintf("f%04d.yaml", i) },
		"nested": func(i int) string { return fmt.Sprintf("apps/a%03d/prod/f%d.yaml", i/5, i%5) },
	} {
		t.Run(layout, func(t *testing.T) {
			o := newOrigin(t)
			for i := range 3000 {
				o.write(name(i), strings.Repeat(fmt.Sprintf("line %d\n", i), 200))
			}
			s := newStore(t, "")
			mustMake(t, s, o.commit(nil))
			before := s.shelf(id).newest()
			o.write(name(1234), strings.Repeat("other\n", 1000))
			mustMake(t, s, o.commit(nil))
			after := s.shelf(id).newest()
			old := map[key]bool{}
			for _, m := range before.members {
				old[m.key] = true
			}
			fresh := 0
			for _, m := range after.members {
				if !old[m.key] {
					fresh++
				}
			}
			if len(after.members) < 20 || fresh == 0 || fresh > 3 {
				t.Errorf("%d of %d members are new", fresh, len(after.members))
			}
		})
	}
}

func TestStore(t *testing.T) {
	o := newOrigin(t)
	dir := t.TempDir()
	s := newStore(t, dir)
	o.write("a", "1")
	first := o.commit(nil)
	if _, ok := s.Made(id, first); ok {
		t.Error("made before it was")
	}
	a1 := mustMake(t, s, first)
	if again, ok := s.Made(id, first); !ok || again != a1 {
		t.Errorf("%+v, not %+v", again, a1)
	}
	o.write("a", "2")
	second := o.commit(nil)
	mustMake(t, s, second)
	if unpacked(t, read(t, s, FileName(first.Revision)))["a"] != "-rw-r--r-- 1" || unpacked(t, read(t, s, LatestName))["a"] != "-rw-r--r-- 2" {
		t.Error("the archive before, or the current one, is another")
	}
	// The same files under another revision are the same file.
	same := o.commit(nil)
	if a := mustMake(t, s, same); a.Digest != mustMake(t, s, second).Digest || a.Path == a1.Path {
		t.Errorf("%+v", a)
	}
	o.write("a", "3")
	third := o.commit(nil)
	a3 := mustMake(t, s, third)
	if _, _, ok := s.Get(id, FileName(first.Revision)); ok {
		t.Error("the first is kept")
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*", "*")); len(files) != 4 {
		t.Errorf("on disk: %v", files)
	}
	for _, file := range []string{"", ".", "..", "../" + LatestName, "%2e%2e", strings.TrimSuffix(FileName(third.Revision), suffix)} {
		if _, _, ok := s.Get(id, file); ok {
			t.Errorf("%q is there", file)
		}
	}
	if _, _, ok := s.Get(app.SourceID{Kind: "GitRepository", Namespace: "..", Name: "repo"}, LatestName); ok {
		t.Error("a source that is none has one")
	}

	// Another process finds it, and does not pass on what is damaged.
	s = newStore(t, dir)
	if a, ok := s.Made(id, third); !ok || a != a3 {
		t.Fatalf("%+v, %v", a, ok)
	}
	read(t, s, LatestName)
	file := s.shelf(id).file(s.shelf(id).current.key)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s = newStore(t, dir)
	s.Made(id, third)
	if _, _, ok := s.Get(id, LatestName); ok {
		t.Error("a damaged archive is given")
	}
	if a := mustMake(t, s, third); a != a3 {
		t.Errorf("%+v, not %+v", a, a3)
	}
	read(t, s, LatestName)

	// The directory is a cache.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Made(id, third); ok {
		t.Error("made, but gone")
	}
	mustMake(t, s, third)
	read(t, s, LatestName)
	if err := s.Forget(map[app.SourceID]bool{id: true}); err != nil {
		t.Fatal(err)
	}
	read(t, s, LatestName)
	if err := s.Forget(nil); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
		t.Errorf("left: %v", files)
	}
}

// A tree of a few objects that stands for billions of files is refused.
func TestBomb(t *testing.T) {
	o := newOrigin(t)
	o.write("a", "a")
	o.git("add", "-A")
	tree := o.git("write-tree")
	for range 12 {
		var entries strings.Builder
		for i := range 10 {
			fmt.Fprintf(&entries, "040000 tree %s\td%d\n", tree, i)
		}
		cmd := exec.Command("git", "mktree")
		cmd.Dir, cmd.Stdin = o.dir, strings.NewReader(entries.String())
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		tree = strings.TrimSpace(string(out))
	}
	o.git("update-ref", "refs/heads/main", o.git("commit-tree", tree, "-m", "bomb")) // nothing is checked out
	_, err := newStore(t, "").Make(t.Context(), id, o.now(nil))
	if err == nil || !strings.Contains(err.Error(), "too much") {
		t.Errorf("got %v", err)
	}
}

func FuzzIndex(f *testing.F) {
	x := &index{digest: "sha256:00", size: 30, members: []member{{key{1}, 0, 10}, {key{2}, 10, 20}}, sizes: map[key]int64{{3}: 7}}
	file := filepath.Join(f.TempDir(), "index")
	if err := x.write(file); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	if got, err := parseIndex(data); err != nil || fmt.Sprint(got) != fmt.Sprint(x) {
		f.Fatalf("%+v, %v", got, err)
	}
	f.Add(data[len(magic) : len(data)-sha256.Size])
	f.Fuzz(func(t *testing.T, body []byte) {
		body = append([]byte(magic), body...)
		sum := sha256.Sum256(body)
		x, err := parseIndex(append(body, sum[:]...))
		if err != nil {
			return
		}
		for _, m := range x.members {
			if m.offset < 0 || m.length < 0 || m.offset+m.length > x.size {
				t.Errorf("member %+v of %d bytes", m, x.size)
			}
		}
	})
}
