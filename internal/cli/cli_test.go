package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

// result is what a command did.
type result struct {
	code           int
	stdout, stderr string
}

// run runs a command in this process.
func run(ctx context.Context, env Environment, args ...string) result {
	var out, errs bytes.Buffer
	code := Run(ctx, Root(BuildInfo{Version: "v1.2.3", Commit: "4508cd1f0a3c6a2d", Date: "2026-05-01T10:00:00Z"}, env),
		args, strings.NewReader(""), &out, &errs)
	return result{code, out.String(), errs.String()}
}

// wants fails the test unless the command ended with the code, and its outputs
// hold the texts.
func (r result) wants(t *testing.T, code int, stdout, stderr []string) result {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	for _, text := range stdout {
		if !strings.Contains(r.stdout, text) {
			t.Errorf("stdout lacks %q", text)
		}
	}
	for _, text := range stderr {
		if !strings.Contains(r.stderr, text) {
			t.Errorf("stderr lacks %q", text)
		}
	}
	if t.Failed() {
		t.Fatalf("stdout:\n%s\nstderr:\n%s", r.stdout, r.stderr)
	}
	return r
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct {
		args   string
		stderr []string
	}{
		{"gte", []string{`plumb: there is no command "gte"`, `  hint: did you mean "get"?`}},
		{"frobnicate", []string{`there is no command "frobnicate"`, "plumb --help"}},
		{"get --frob", []string{"unknown flag: --frob", "plumb get --help"}},
		{"get -o xml", []string{"-o xml is not possible here", "wide, json or yaml"}},
		{"get -n x -A", []string{"-n and -A exclude each other"}},
		{"tree", []string{"plumb tree: an argument is missing", "plumb tree APP"}},
		{"tree a b", []string{`unexpected argument "b"`}},
		{"version -o wide", []string{"-o wide"}},
		{"suspend", []string{"which app?"}},
		{"adopt flux -A", []string{"-A makes no sense here"}},
		{"adopt flx", []string{`there is no command "flx"`, `did you mean "flux"?`}},
		{"release flux -o wide", []string{"-o wide is not possible here"}},
		{"bootstrap git --url https://h/r", []string{"--url and --path are needed"}},
		{"suspend --all", []string{"--all of which namespace?", "-A"}},
		{"suspend --all x -A", []string{"exclude each other"}},
		{"events x --for pod/y", []string{"exclude each other"}},
		{"build . --mode helm", []string{"--mode helm: no such mode"}},
	} {
		t.Run(c.args, func(t *testing.T) {
			run(t.Context(), Environment{}, strings.Fields(c.args)...).wants(t, ExitUsage, nil, c.stderr)
		})
	}
}

func TestNamesOfApps(t *testing.T) {
	for arg, want := range map[string]string{
		"ks/shop":                 "Kustomization..shop",
		"Kustomization/infra/dns": "Kustomization.infra.dns",
		"app/shop":                "Application..shop",
		"gitrepo/fleet":           "GitRepository..fleet",
		"shop":                    "..shop",
		"pod/x":                   `there is no kind "pod"`,
		"ks/":                     "names nothing",
		"/":                       "names nothing",
		"ks/a/b/c":                "too many slashes",
	} {
		n, err := parseName(arg)
		got := n.kind.name + "." + n.namespace + "." + n.name
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", arg, got, want)
		}
	}
}

func TestNoCluster(t *testing.T) {
	run(t.Context(), Environment{}, "get").
		wants(t, ExitUnreachable, nil, []string{"plumb: no kubeconfig was found", "  hint: give --kubeconfig"})
	run(t.Context(), Environment{}, "get", "--kubeconfig", "/nowhere/config").
		wants(t, ExitUnreachable, nil, []string{"/nowhere/config"})
	r := run(t.Context(), Environment{Kubeconfig: writeFile(t, `
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c}}]
`)}, "get")
	r.wants(t, ExitUnreachable, nil, []string{"cannot reach the cluster at http://127.0.0.1:1: ", "connection refused", "hint: is the cluster running?"})
	if strings.Count(r.stderr, "\n") != 2 {
		t.Errorf("more than an error and a hint:\n%s", r.stderr)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	env := Environment{Kubeconfig: writeFile(t, `
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c}}]
`)}
	run(ctx, env, "get").wants(t, ExitInterrupted, nil, []string{"plumb: interrupted"})
}

func TestVersion(t *testing.T) {
	run(t.Context(), Environment{}, "version").wants(t, ExitOK, []string{"plumb v1.2.3, commit 4508cd1f0a3c, built 2026-05-01T10:00:00Z, go1."}, nil)
	run(t.Context(), Environment{}, "version", "-o", "json").wants(t, ExitOK, []string{`"version": "v1.2.3"`, `"platform": `}, nil)
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := run(t.Context(), Environment{}, "completion", shell).wants(t, ExitOK, []string{"plumb"}, nil)
		if len(r.stdout) < 1000 {
			t.Errorf("%s: a script of %d bytes", shell, len(r.stdout))
		}
	}
}

func TestAges(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for since, want := range map[time.Time]string{
		now.Add(-90 * time.Second): "90s",
		now.Add(-72 * time.Hour):   "3d",
		{}:                         "-",
	} {
		if got := ageText(now, since); got != want {
			t.Errorf("%s: got %s, want %s", since, got, want)
		}
	}
}

func TestControlCharactersDoNotReachATerminal(t *testing.T) {
	if got := oneLine("a\x1b[2Jb\tc\nmore"); got != "a [2Jb c …" {
		t.Errorf("got %q", got)
	}
}
