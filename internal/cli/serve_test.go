package cli

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

func TestServeRefuses(t *testing.T) {
	env := Environment{CacheDir: t.TempDir()}
	run(t.Context(), env, "serve").wants(t, ExitUnreachable, nil, []string{"no kubeconfig was found"})
	run(t.Context(), env, "serve", "--log-format", "xml").wants(t, ExitUsage, nil, []string{"--log-format xml", "json or text"})
	run(t.Context(), env, "serve", "--log-level", "loud").wants(t, ExitUsage, nil, []string{"--log-level loud", "debug, info, warn or error"})
	run(t.Context(), env, "up", "--render-workers", "-1").wants(t, ExitUsage, nil, []string{"--render-workers -1 is not possible", "1 to 64"})
	env.InCluster = func() (*rest.Config, error) { return nil, errors.New("no token") }
	run(t.Context(), env, "serve").wants(t, ExitUnreachable, nil, []string{"the cluster that this runs in: no token", "--kubeconfig"})
	env.InCluster = func() (*rest.Config, error) { return &rest.Config{Host: "http://127.0.0.1:1"}, nil }
	run(t.Context(), env, "serve", "--listen", "256.0.0.1:0").wants(t, ExitOther, nil, []string{"HTTP address 256.0.0.1:0 cannot be listened on"})
	file := filepath.Join(secretsDir(t, map[string]string{"x": ""}), "x")
	run(t.Context(), env, "serve", "--cache", file).wants(t, ExitOther, nil, []string{"cache directory: mkdir " + file, "--cache names another"})
}

// Two engines must not share a cache; who names none gets one of his own.
func TestServerCache(t *testing.T) {
	p := &program{env: Environment{CacheDir: t.TempDir()}}
	dir := t.TempDir()
	_, done, err := p.serverCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.serverCache(dir); err == nil || !strings.Contains(err.Error(), "another engine uses it") {
		t.Errorf("a cache in use: %v", err)
	}
	done()
	_, done, err = p.serverCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	done()
	one, done1, err1 := p.serverCache("")
	two, done2, err2 := p.serverCache("")
	if err := errors.Join(err1, err2); err != nil || one == two {
		t.Fatalf("%s and %s (%v)", one, two, err)
	}
	done1()
	done2()
}

// A parent that is gone ends the engine, and that is no failure.
func TestServeEndsWithItsParent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	env := Environment{CacheDir: t.TempDir(), InCluster: func() (*rest.Config, error) {
		return &rest.Config{Host: "http://127.0.0.1:1"}, nil
	}}
	// run gives an empty standard input: it is closed from the first.
	run(ctx, env, "serve", "--listen", "127.0.0.1:0", "--until-stdin-closes").wants(t, ExitOK, nil, nil)
}

func TestInstall(t *testing.T) {
	r := run(t.Context(), Environment{}, "install", "-n", "gitops", "--image", "registry.example.org/plumb:v1").
		wants(t, ExitOK, []string{"kind: Deployment", "image: registry.example.org/plumb:v1", "namespace: gitops", "kind: CustomResourceDefinition", "name: flux-system"}, nil)
	if strings.Contains(r.stdout, "plumb-system") {
		t.Error("the default namespace is in it")
	}
	r = run(t.Context(), Environment{}, "install", "--crds").wants(t, ExitOK, []string{"kind: CustomResourceDefinition"}, nil)
	if strings.Contains(r.stdout, "kind: Deployment") {
		t.Error("more than definitions")
	}
	run(t.Context(), Environment{}, "install", "--image", "a b").wants(t, ExitUsage, nil, []string{`image "a b"`})
	run(t.Context(), Environment{}, "install", "-o", "json").wants(t, ExitUsage, nil, []string{"-o json is not possible here"})
}
