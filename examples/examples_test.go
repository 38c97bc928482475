package examples

import (
	"io/fs"
	"path"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/object"
)

// Every file reads as what it is, and names the address it is served at.
func TestSample(t *testing.T) {
	const address = "http://127.0.0.1:1234/sample.git"
	sample, err := Sample(address)
	if err != nil {
		t.Fatal(err)
	}
	objects, named := 0, 0
	err = fs.WalkDir(sample, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(sample, name)
		if err != nil {
			return err
		}
		if strings.Contains(string(data), "git.example.com") {
			t.Errorf("%s still names the placeholder", name)
		}
		named += strings.Count(string(data), address)
		if path.Ext(name) != ".yaml" || path.Base(name) == "kustomization.yaml" {
			return nil
		}
		found, err := object.Decode(name, data)
		objects += len(found)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if objects < 12 || named < 2 {
		t.Errorf("%d objects, the address %d times", objects, named)
	}
}
