package source

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

// FuzzExclude reads exclusions that anyone may have written, in the repository
// and in the resource: whatever they say, the answers must agree with each
// other, show nothing that is not there, and leave out what Flux does.
func FuzzExclude(f *testing.F) {
	f.Add("*.md\n!README.md\n", "docs/\n", true)
	f.Add("/**/x\n\\#a\n[a-z\n**/\n", "!", false)
	f.Add(strings.Repeat("*a", 40)+"b\n", strings.Repeat("**/", 30)+"x", true)
	f.Fuzz(func(t *testing.T, file, rules string, own bool) {
		if len(file)+len(rules) > 4096 {
			return
		}
		tree := fstest.MapFS{
			".sourceignore":                       {Data: []byte(file)},
			"apps/.sourceignore":                  {Data: []byte(rules)},
			"apps/web/deployment.yaml":            {Data: []byte("a")},
			"apps/web/README.md":                  {Data: []byte("b")},
			"docs/" + strings.Repeat("a", 40):     {Data: []byte("c")},
			"docs/[a-z/!x/#y/" + "deep/file.yaml": {Data: []byte("d")},
		}
		var ignore *string
		if own {
			ignore = &rules
		}
		sameAsFlux(t, tree, ignore)
		shown := Exclude(tree, ignore)
		err := fs.WalkDir(shown, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if _, err := fs.Stat(tree, name); err != nil {
				t.Errorf("%q is shown and not there", name)
			}
			if _, err := fs.Stat(shown, name); err != nil {
				t.Errorf("%q is listed and cannot be looked at: %v", name, err)
			}
			if !d.IsDir() {
				if _, err := fs.ReadFile(shown, name); err != nil {
					t.Errorf("%q is listed and cannot be read: %v", name, err)
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
}
