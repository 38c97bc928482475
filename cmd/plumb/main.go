// Command plumb keeps Kubernetes clusters true to Git.
package main

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"golang.org/x/term"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/cli"
	"plumb.dev/plumb/internal/sandbox/controlplane"
)

// Set by the linker: -X main.version=v1.2.3. What is left empty is taken from
// what the Go command has recorded.
var version, commit, date string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process as if nobody had listened.
	context.AfterFunc(ctx, stop)
	b, env := build(), environment()
	env.Program = func() string { return program(b, env.Executable) }
	root := cli.Root(b, env)
	root.AddCommand(controlplane.Command())
	os.Exit(cli.Run(ctx, root, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// build says which build this is.
func build() cli.BuildInfo {
	b := cli.BuildInfo{Version: version, Commit: commit, Date: date}
	info, ok := debug.ReadBuildInfo()
	if ok {
		modified := ""
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && b.Commit == "":
				b.Commit = s.Value
			case s.Key == "vcs.time" && b.Date == "":
				b.Date = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = "+dirty"
			}
		}
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		if b.Version == "" {
			b.Version = "dev" + modified
		}
	}
	return b
}

// clusterCache is where an installed Plumb keeps what can be fetched again.
const clusterCache = "/var/cache/plumb"

// environment reads what of the process and the machine matters: nothing
// below reads any of it.
func environment() cli.Environment {
	env := cli.Environment{
		Kubeconfig:    os.Getenv("KUBECONFIG"),
		NoColor:       os.Getenv("NO_COLOR") != "",
		Terminal:      term.IsTerminal(int(os.Stdout.Fd())),
		ErrorTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		InputTerminal: term.IsTerminal(int(os.Stdin.Fd())),
		Proxy:         http.ProxyFromEnvironment,
	}
	// What cannot be found out stays empty: the commands that need it say so.
	env.Home, _ = os.UserHomeDir()
	env.Hostname, _ = os.Hostname()
	env.Executable, _ = os.Executable()
	if found, err := exec.LookPath("plumb"); err == nil {
		env.OnPath = sameFile(found, env.Executable)
	}
	if info, err := os.Stat(clusterCache); err == nil && info.IsDir() {
		env.CacheDir = clusterCache
	} else if dir, err := os.UserCacheDir(); err == nil {
		env.CacheDir = filepath.Join(dir, "plumb")
	}
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		env.InCluster = rest.InClusterConfig
	}
	return env
}

func sameFile(a, b string) bool {
	one, err1 := os.Stat(a)
	other, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(one, other)
}
