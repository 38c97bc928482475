package sops

import (
	"encoding/base64"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

const skipKey = "example.com/decrypt"

func TestOpen(t *testing.T) {
	file := func(name string) *fstest.MapFile { return &fstest.MapFile{Data: read(t, "testdata/files/"+name)} }
	regex := string(file("regex.yaml").Data)
	plain := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p}\n"
	annotated := strings.Replace(regex, "    name: db # inline", "    name: db\n    annotations: {example.com/decrypt: Disabled}", 1)
	tree := fstest.MapFS{
		"app/kustomization.yaml": {Data: []byte("secretGenerator:\n- envs: [v/vars.env]\n  files: [../blob, x.yaml=v/named, v/app.ini, app.cfg.ini=v/cfg]\npatches:\n- path: p.json\n")},
		"app/v/vars.env":         file("vars.env"),
		"app/v/app.ini":          file("settings.ini"),
		"app/v/cfg":              file("rule.ini"),
		"app/v/left.ini":         file("rule.ini"), // no source
		"blob":                   file("blob.bin"),
		"app/v/named":            file("regex.yaml"),
		"app/v/values.yaml":      file("values.yaml"), // no manifest, and no source
		"app/secret.yaml":        file("regex.yaml"),
		"app/p.json":             file("obj.json"),
		"app/other.json":         file("obj.json"),
		"app/kept.yaml":          {Data: []byte(annotated)},
		"app/mixed.yaml":         {Data: []byte(plain + "---\n" + regex + "---\n" + annotated + "---\n" + regex)},
		"app/link":               {Data: []byte("secret.yaml"), Mode: fs.ModeSymlink | 0o777},
	}
	files := readKeys(t).Open(tree, app.Decrypt{SkipKey: skipKey})
	for _, name := range []string{"app/kustomization.yaml", "app/v/vars.env", "app/v/app.ini", "app/v/cfg", "app/v/left.ini", "blob", "app/v/named", "app/v/values.yaml",
		"app/secret.yaml", "app/p.json", "app/other.json", "app/kept.yaml", "app/mixed.yaml"} {
		data, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(name, err)
		}
		want := map[string]string{"app/v/vars.env": "vars.env", "blob": "blob.bin", "app/v/app.ini": "settings.ini", "app/v/cfg": "rule.ini", "app/v/named": "regex.yaml",
			"app/secret.yaml": "regex.yaml", "app/p.json": "obj.json"}[name]
		switch {
		case name == "app/mixed.yaml":
			if strings.Count(string(data), "user: admin") != 2 || strings.Count(string(data), "mac: ENC") != 1 {
				t.Errorf("%s:\n%s", name, data)
			}
			// each document stands where it stood
			before, after := strings.Split(string(tree[name].Data), "\n"), strings.Split(string(data), "\n")
			for i, line := range before {
				if line == "---" && after[i] != line {
					t.Errorf("%s:%d: a document moved", name, i+1)
				}
			}
		case want == "" && string(data) != string(tree[name].Data):
			t.Errorf("%s was changed:\n%s", name, data)
		case want != "" && string(data) != string(read(t, "testdata/files/"+want+".want")):
			t.Errorf("%s:\n%s", name, data)
		}
		opened, err := files.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := opened.Stat(); err != nil || info.Size() != int64(len(data)) {
			t.Errorf("%s: size %d of %d, %v", name, info.Size(), len(data), err)
		}
	}
	if to, err := files.ReadLink("app/link"); to != "secret.yaml" || err != nil {
		t.Error(to, err)
	}
	if entries, err := files.ReadDir("app"); len(entries) != 8 || err != nil {
		t.Error(len(entries), err)
	}
	if files.Failure() != nil {
		t.Error(files.Failure())
	}

	closed := (*Keys)(nil).Open(tree, app.Decrypt{})
	_, err := fs.ReadFile(closed, "app/secret.yaml")
	var failure *app.Failure
	if !errors.As(err, &failure) || failure != closed.Failure() || !strings.HasPrefix(failure.Error(), "app/secret.yaml: cannot be decrypted: it is encrypted for age age1") {
		t.Error(err, closed.Failure())
	}
}

func TestObject(t *testing.T) {
	keys := readKeys(t)
	decode := func(text string) object.Object {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(text), &content); err != nil {
			t.Fatal(err)
		}
		return object.New(content, object.Origin{Path: "a.yaml", Line: 3})
	}
	regex := string(read(t, "testdata/files/regex.yaml"))
	built := strings.Replace(regex, "name: db", "name: my-db", 1) // as Kustomize would
	o, err := keys.Object(decode(built), app.Decrypt{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := object.EncodeYAML([]object.Object{o}, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"name: my-db", "user: admin", "TOPSECRET: 1 ''quoted''", "number: \"42\""} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "sops") || o.Origin.Line != 3 {
		t.Errorf("%s:\n%s", o.Origin, text)
	}
	left := decode(strings.Replace(built, "name: my-db", "name: my-db\n    annotations: {example.com/decrypt: Disabled}", 1))
	if got, err := keys.Object(left, app.Decrypt{SkipKey: skipKey}); err != nil || got.Digest() != left.Digest() {
		t.Errorf("one that is to be left alone: %v", err)
	}
	if _, err := (*Keys)(nil).Object(decode(built), app.Decrypt{}); err == nil || !strings.HasPrefix(err.Error(), "Secret/shop/my-db (a.yaml:3) cannot be decrypted: it is encrypted for age") {
		t.Error(err)
	}
	if _, err := keys.Object(decode(strings.Split(string(read(t, "testdata/files/comment-enc.yaml")), "\n---\n")[0]), app.Decrypt{}); err == nil || !strings.Contains(err.Error(), "what was built has none") {
		t.Errorf("one whose comments are gone: %v", err)
	}

	secret := map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "s"}, "data": map[string]any{"plain": "eA==", "odd": "?"}}
	wants := map[string]string{"c.yaml": "regex.yaml", "no-ending": "regex.yaml", "c.json": "obj.json", "c.env": "vars.env", "vars": "vars.env", "blob": "blob.bin",
		"app.ini": "settings.ini", "ini": "rule.ini"}
	for key, name := range wants {
		secret["data"].(map[string]any)[key] = base64.StdEncoding.EncodeToString(read(t, "testdata/files/"+name))
	}
	before := object.New(secret, object.Origin{})
	digest := before.Digest()
	o, err = keys.Object(before, app.Decrypt{})
	if err != nil {
		t.Fatal(err)
	}
	data := o.Unstructured().Object["data"].(map[string]any)
	for key, name := range wants {
		if got, want := data[key], base64.StdEncoding.EncodeToString(read(t, "testdata/files/"+name+".want")); got != want {
			t.Errorf("%s: %s", key, got)
		}
	}
	if data["plain"] != "eA==" || data["odd"] != "?" || before.Digest() != digest {
		t.Error("what is not encrypted is changed, or the object before")
	}
}
