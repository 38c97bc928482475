package worker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/secret/sops"
)

// TestEncryptedTree: a child reads what is encrypted through the tree that it
// is shown, and so is given no keys. The tree learns from the kustomizations
// that are read which other files to open.
func TestEncryptedTree(t *testing.T) {
	from := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("../../secret/sops/testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	keys, err := sops.ParseKeys(map[string][]byte{"one.agekey": from("keys/one.agekey")})
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{
		"app/kustomization.yaml":      {Data: []byte("resources: [db.yaml, base]\n")},
		"app/db.yaml":                 {Data: from("files/regex.yaml")},
		"app/base/a.env":              {Data: from("files/vars.env")}, // before the kustomization by name
		"app/base/kustomization.yaml": {Data: []byte("secretGenerator:\n- name: made\n  envs: [a.env]\n  files: [blob=z.bin]\n  options: {disableNameSuffixHash: true}\n")},
		"app/base/z.bin":              {Data: from("files/blob.bin")},
	}
	spec := app.Render{Path: "app", Mode: app.RenderGenerated, Decrypt: app.Decrypt{On: true}}
	pool := newPool(t, Options{})
	opened := keys.Open(tree, spec.Decrypt)
	result, err := pool.Render(t.Context(), opened, spec)
	if err != nil || opened.Failure() != nil {
		t.Fatal(err, opened.Failure())
	}
	text, err := object.EncodeYAML(result.Objects, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"user: admin", "PASSWORD: VE9QU0VDUkVUPXggeQ==", "blob: cmF3ASBUT1BTRUNSRVQKYmluYXJ5"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in:\n%s", want, text)
		}
	}

	closed := (*sops.Keys)(nil).Open(tree, spec.Decrypt)
	_, err = pool.Render(t.Context(), closed, spec)
	if err == nil || closed.Failure() == nil || !strings.Contains(fmt.Sprint(closed.Failure()), "app/db.yaml: cannot be decrypted: it is encrypted for age") {
		t.Error(err, closed.Failure())
	}
}
