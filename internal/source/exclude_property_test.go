package source

import (
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
)

// excludedByFlux is what Exclude hides, by the library that Flux uses: all
// patterns that may count for a path are put together, and asked about all of
// the path.
func excludedByFlux(tree fstest.MapFS, ignore *string, name string, isDir bool) bool {
	if name == "." {
		return false
	}
	found, includes := false, false
	read := func(text string, domain []string) (out []gitignore.Pattern) {
		for line := range strings.Lines(text) {
			line = strings.TrimRight(line, "\r\n")
			if !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
				out = append(out, gitignore.ParsePattern(line, domain))
				includes = includes || strings.HasPrefix(line, "!")
			}
		}
		return out
	}
	base, standard := read(vcsPatterns, nil), read(defaultPatterns, nil)
	var own []gitignore.Pattern
	parts := strings.Split(name, "/")
	for i := range parts {
		if file := tree[path.Join(append(parts[:i:i], ignoreFile)...)]; file != nil {
			own = append(own, read(string(file.Data), parts[:i])...)
		}
	}
	if ignore != nil {
		own = append(own, read(*ignore, nil)...)
	}
	if found = len(own) > 0; !found {
		base = append(base, standard...)
	}
	hidden := gitignore.NewMatcher(append(base, own...)).Match(parts, isDir)
	return hidden && !(isDir && includes)
}

// sameAsFlux asks about all of a tree, what lies in directories that are hidden
// included, in an order that the map decides.
func sameAsFlux(t *testing.T, tree fstest.MapFS, ignore *string) {
	t.Helper()
	x := Exclude(tree, ignore).(Filter)
	asked := map[string]bool{}
	for file := range tree {
		for name, isDir := file, false; !asked[name]; name, isDir = path.Dir(name), true {
			asked[name] = true
			got, err := x.Hides(name, isDir)
			if want := excludedByFlux(tree, ignore, name, isDir); got != want || err != nil {
				t.Errorf("%s: got %v, %v; want %v", name, got, err, want)
			}
		}
	}
	if t.Failed() {
		for name, file := range tree {
			if path.Base(name) == ignoreFile {
				t.Logf("%s: %q", name, file.Data)
			}
		}
		if ignore != nil {
			t.Logf("ignore: %q", *ignore)
		}
	}
}

func TestExclusionsAreThoseOfFlux(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		pick := func(all ...string) string { return all[rnd.IntN(len(all))] }
		name := func() string {
			return pick("a", "b", "c", "ab", "a.yaml", "b.md", "x.jpg", ".git", ".github", ".sops.yaml", "[a", "a b", "!a", `\a`)
		}
		line := func() string {
			var l strings.Builder
			l.WriteString(pick("", "", "", "!", "!", "#", `\`))
			l.WriteString(pick("", "", "/"))
			for range 1 + rnd.IntN(3) {
				l.WriteString(pick(name(), name(), name(), "*", "*.yaml", "?", "[ab]", "[!a]", "[a", "**", "**", "a**", "", "a*", "* ", `\*`))
				l.WriteString(pick("", "", "/"))
			}
			l.WriteString(pick("", "", "/", " ", `\ `, "\r"))
			return l.String() + "\n"
		}
		text := func() string {
			var all strings.Builder
			for range rnd.IntN(5) {
				all.WriteString(line())
			}
			return all.String()
		}
		tree := fstest.MapFS{}
		var ignore *string
		if rnd.IntN(2) == 0 {
			s := text()
			ignore = &s
		}
		for range 20 {
			at := "."
			for range rnd.IntN(4) {
				at = path.Join(at, name())
				if rnd.IntN(6) == 0 {
					tree[path.Join(at, ignoreFile)] = &fstest.MapFile{Data: []byte(text())}
				}
			}
			tree[path.Join(at, name())] = &fstest.MapFile{}
		}
		if rnd.IntN(2) == 0 {
			tree[ignoreFile] = &fstest.MapFile{Data: []byte(text())}
		}
		sameAsFlux(t, tree, ignore)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestRulesNameWhatDecides: directories in which the same is left out may be
// told apart, those in which something else is must be.
func TestRulesNameWhatDecides(t *testing.T) {
	tree := fstest.MapFS{
		"a/.sourceignore": {Data: []byte("*.md\n")}, "a/x/f": {}, "b/.sourceignore": {Data: []byte("# nothing\n")}, "b/x/f": {}, "c/x/f": {},
	}
	rules := func(fsys fs.FS, dir string) string {
		t.Helper()
		r, err := fsys.(Filter).Rules(dir)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	text := "*.txt\n"
	plain, given := Exclude(tree, nil), Exclude(tree, &text)
	if rules(plain, "a") == rules(plain, ".") || rules(plain, "a/x") == rules(plain, "c/x") {
		t.Error("a .sourceignore makes no difference")
	}
	if rules(plain, "b/x") != rules(plain, ".") || rules(plain, "c/x") != rules(plain, ".") {
		t.Error("there is a difference where nothing makes one")
	}
	if rules(given, "c") == rules(plain, "c") || rules(Exclude(Sparse(tree, []string{"c"}), nil), "c") == rules(plain, "c") {
		t.Error("what a source leaves out makes no difference")
	}
}
