package scenario

import (
	"os"
	"path/filepath"
	"testing"

	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/internal/server"
)

// TestStock runs scripts in which the stock commands of others take part.
func TestStock(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"sops", "age-keygen", "kustomize"} {
		link(t, sandboxtest.Tool(t, name), filepath.Join(bin, name))
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	scenarios(t, "testdata/stock", server.Options{})
}
