package plumb

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "plumb.dev/plumb/"

// layers lists the packages from the bottom up. A package imports its own
// layer and those below it, as far as the rules of TestLayers do not narrow
// that further. A package that is not listed fails the test.
var layers = [][]string{
	pure,
	{"internal/render", "internal/rendercache", "internal/secret", "internal/source", "internal/cluster", "internal/apply", "internal/release", "internal/replica", "internal/resident", "internal/pace"},
	{"internal/engine"},
	{"internal/controller", "internal/sandbox", "internal/install", "api", "examples"},
	{"internal/server", "internal/up", "internal/adopt", "internal/bootstrap"},
	{"internal/cli"},
	{"cmd", "bench"},
}

// pure packages have no I/O: same input, same output.
var pure = []string{
	"internal/object", "internal/ownership", "internal/app", "internal/plan", "internal/diff",
	"internal/expr", "internal/health", "internal/report", "internal/dialect", "internal/shard",
}

// isolated packages do I/O and never import each other.
var isolated = []string{"internal/source", "internal/cluster", "internal/apply", "internal/release", "internal/rendercache", "internal/replica"}

// hermetic packages work on what they are handed, and on nothing else.
var hermetic = []string{"internal/render", "internal/render/envsubst", "internal/secret/sops", "internal/source/signature"}

// impure is what pure packages and rendering must not import.
var impure = []string{
	"net", "net/http", "os", "os/exec", "syscall", "k8s.io/client-go", "k8s.io/apiserver", "k8s.io/kubernetes",
	"github.com/go-git", "github.com/spf13", "log",
}

// TestLayers reads the imports of every file and holds the direction of
// ARCHITECTURE.md: command → edges → engine → rendering and I/O → pure.
func TestLayers(t *testing.T) {
	for pkg, imports := range importsOf(t) {
		at := layerOf(pkg)
		if at < 0 {
			t.Errorf("%s has no place in the layers of arch_test.go", pkg)
			continue
		}
		for _, imp := range imports {
			inner, ours := strings.CutPrefix(imp, module)
			switch {
			case ours && layerOf(inner) > at:
				t.Errorf("%s imports %s, which is above it", pkg, inner)
			case ours && within(pkg, isolated) && within(inner, isolated) && owner(pkg, isolated) != owner(inner, isolated):
				t.Errorf("%s imports %s: packages that do I/O do not import each other", pkg, inner)
			case ours && strings.HasPrefix(inner, "internal/dialect") && at <= layerOf("internal/engine") && !strings.HasPrefix(pkg, "internal/dialect"):
				t.Errorf("%s imports %s: nothing below the controller knows a dialect", pkg, inner)
			case ours && pkg == "internal/dialect/flux" && inner == "internal/dialect/argo",
				ours && pkg == "internal/dialect/argo" && inner == "internal/dialect/flux":
				t.Errorf("%s imports %s: the dialects do not know each other", pkg, inner)
			case !ours && within(pkg, pure) && under(imp, impure):
				t.Errorf("%s imports %s: it is pure", pkg, imp)
			case !ours && slices.Contains(hermetic, pkg) && under(imp, impure):
				t.Errorf("%s imports %s: rendering is hermetic", pkg, imp)
			case !ours && imp == "k8s.io/kubernetes" || strings.HasPrefix(imp, "k8s.io/kubernetes/"):
				if !strings.HasPrefix(pkg, "internal/sandbox/controlplane") {
					t.Errorf("%s imports %s: only the embedded control plane does", pkg, imp)
				}
			}
		}
	}
}

func layerOf(pkg string) int {
	for i := len(layers) - 1; i >= 0; i-- {
		if within(pkg, layers[i]) {
			return i
		}
	}
	return -1
}

func within(pkg string, set []string) bool { return owner(pkg, set) != "" }

// owner is the entry of set that pkg is or is below.
func owner(pkg string, set []string) string {
	for _, s := range set {
		if pkg == s || strings.HasPrefix(pkg, s+"/") {
			return s
		}
	}
	return ""
}

// under is like within, for import paths of other modules; entries of the
// standard library match exactly.
func under(imp string, set []string) bool {
	return slices.ContainsFunc(set, func(s string) bool {
		return imp == s || strings.Contains(s, ".") && strings.HasPrefix(imp, s+"/")
	})
}

// importsOf parses the imports of all files but tests, by package directory.
func importsOf(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (name != "." && strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || name == "test") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(path.Dir(filepath.ToSlash(name)), "test") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		pkg := path.Dir(filepath.ToSlash(name))
		for _, i := range f.Imports {
			imp, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			out[pkg] = append(out[pkg], imp)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 10 {
		t.Fatalf("only %d packages found", len(out))
	}
	return out
}

// What is logged about an app or a source is told by kind, namespace and name
// (internal/cli/log.go), which a string hides.
func TestLogsNameResources(t *testing.T) {
	hidden := regexp.MustCompile(`"(app|source)", [^,()]*\.String\(\)`)
	for _, dir := range []string{"internal/engine", "internal/controller", "internal/server"} {
		names, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no files: %v", dir, err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if found := hidden.FindString(string(data)); found != "" {
				t.Errorf("%s: pass the id itself, not %s", name, found)
			}
		}
	}
}
