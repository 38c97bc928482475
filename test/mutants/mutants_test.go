// Package mutants shows that the tests which harm a running engine can fail: it
// builds Plumb with a promise broken on purpose, and lets the test that guards
// the promise find that out. The source itself is not touched.
//
// It takes long, and so is only run when asked to:
//
//	go test ./test/mutants -mutants -timeout 60m
package mutants

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var asked = flag.Bool("mutants", false, "build them, and let the tests find them")

// mutant is a promise that is broken, and the test that has to notice.
type mutant struct {
	name     string
	file     string // from the root of the repository
	from, to string // a piece of it that is there once, and what it becomes
	test     string // package, below test
	run      string // tests of it
	says     string // a regular expression for what the failure says
}

var mutants = []mutant{
	{
		name: "no-fence", file: "internal/replica/fence.go",
		from: "return !f.shut && f.now() < f.until", to: "return true",
		test: "replicas", run: "TestReplicas$", says: `had no Lease from|while a write of .* is under way|and back to`,
	},
	{
		name: "takes-over-without-acknowledgement", file: "internal/shard/handover.go",
		from: "acknowledged != view {", to: "acknowledged != view && false {",
		test: "replicas", run: "TestReplicas$", says: `while a write of .* is under way|and back to`,
	},
	{
		name: "ready-before-applied", file: "internal/engine/run.go",
		from: "		in.Outcome = apply.Run(",
		to: `		soon := in
		soon.Plan.Groups, soon.Executed, soon.Now = nil, true, time.Now()
		early := report.Compose(soon)
		early.Records = spec.Recorded
		_ = r.e.opts.Publish(ctx, early)
		in.Outcome = apply.Run(`,
		test: "faults", run: "TestFaults$/^api$/^(late|some-writes-fail)$", says: `the status of .* said .* while the cluster held`,
	},
	{
		name: "an-error-is-an-empty-rendering", file: "internal/engine/run.go",
		from: `	in.SpecHash = r.hash
	if failure != nil {`,
		to: `	in.SpecHash = r.hash
	if failure != nil && false {`,
		test: "faults", run: "TestFaults$/^history$/^(path-gone|manifest-broken)$", says: `path not found.*it says Ready=True|was deleted`,
	},
	{
		name: "what-was-never-confirmed-is-forgotten", file: "internal/cluster/observe.go",
		from: "	return c.lookOneByOne(ctx, lost, facts.Live, manager)\n}\n\nfunc compareKinds", to: "	return nil\n}\n\nfunc compareKinds",
		test: "faults", run: "TestLostCreate$", says: `objects were deleted|is in the cluster and not in Git`,
	},
	{
		name: "a-restored-cluster-is-the-same", file: "internal/cluster/rewound.go",
		from: "	if was.blank {", to: "	if true {",
		test: "faults", run: "TestRestored$", says: `still after .*: delivered: not yet`,
	},
}

func TestMutants(t *testing.T) {
	if !*asked {
		t.Skip("takes long: go test ./test/mutants -mutants")
	}
	for _, m := range mutants {
		t.Run(m.name, m.found)
	}
}

// TestMutantsFit finds what is to be broken, also where nobody asks for the
// mutants: they must not fall behind the source.
func TestMutantsFit(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) { m.broken(t) })
	}
}

// broken gives the path of the file, and its text once the promise is broken.
func (m mutant) broken(t *testing.T) (path, text string) {
	path, err := filepath.Abs(filepath.Join("../..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.from); n != 1 {
		t.Fatalf("%s has %d times what is to be broken:\n%s", m.file, n, m.from)
	}
	return path, strings.Replace(string(source), m.from, m.to, 1)
}

// found builds a mutant and fails the test if its own test passes with it.
func (m mutant) found(t *testing.T) {
	dir := t.TempDir()
	path, text := m.broken(t)
	broken, overlay, binary := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "plumb")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: broken}})
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string][]byte{broken: []byte(text), overlay: list} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-overlay", overlay, "-o", binary, "plumb.dev/plumb/cmd/plumb")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), "go", "test", "plumb.dev/plumb/test/"+m.test, "-run", m.run, "-count=1", "-timeout", "20m")
	run.Env = append(os.Environ(), "PLUMB_TEST_BINARY="+binary)
	out, err := run.CombinedOutput()
	switch {
	case err == nil:
		t.Errorf("%s %s does not notice", m.test, m.run)
	case !regexp.MustCompile(m.says).Match(out):
		t.Errorf("%s %s fails for another reason:\n%s", m.test, m.run, out)
	default:
		t.Logf("%s", regexp.MustCompile(`.*(`+m.says+`).*`).Find(out))
	}
}
