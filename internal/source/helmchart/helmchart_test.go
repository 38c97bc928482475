package helmchart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/chartserver"
	"plumb.dev/plumb/internal/source/helmrepo"
	"plumb.dev/plumb/internal/source/remote"
)

// entry is one of an archive.
type entry struct {
	name string
	data string
	kind byte // 0 is a file
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	w := tar.NewWriter(zipped)
	for _, e := range entries {
		head := &tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.data)), Typeflag: tar.TypeReg}
		if e.kind != 0 {
			head.Typeflag, head.Linkname = e.kind, "/etc/passwd"
		}
		if err := w.WriteHeader(head); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpack(t *testing.T) {
	good, err := Unpack(archive(t,
		entry{name: "web/", kind: tar.TypeDir}, entry{name: "web/Chart.yaml", data: "a"}, entry{name: "web/templates/../b", data: "b"},
		entry{name: `web\win\c`, data: "c"}))
	if err != nil || len(good) != 3 || string(good["Chart.yaml"]) != "a" || string(good["b"]) != "b" || string(good["win/c"]) != "c" {
		t.Errorf("%q, %v", good, err)
	}
	big := strings.Repeat("x", maxFile)
	var bomb, many []entry
	for i := range maxTotal/maxFile + 1 {
		bomb = append(bomb, entry{name: fmt.Sprintf("web/%d", i), data: big})
	}
	for i := range maxFiles + 1 {
		many = append(many, entry{name: fmt.Sprintf("web/%d", i)})
	}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"no archive", []byte("<html>"), "no chart archive"},
		{"cut off", archive(t, entry{name: "web/a", data: big})[:4000], "no chart archive"},
		{"empty", archive(t), "empty"},
		{"not in a directory", archive(t, entry{name: "Chart.yaml"}), "not in the directory"},
		{"upwards", archive(t, entry{name: "web/../../a"}), "no name of a file"},
		{"upwards at once", archive(t, entry{name: "../web/a"}), "no name of a file"},
		{"absolute", archive(t, entry{name: "/web/a"}), "no name of a file"},
		{"a drive", archive(t, entry{name: `web\c:\a`}), "no name of a file"},
		{"the directory itself", archive(t, entry{name: "web/."}), "no name of a file"},
		{"deep", archive(t, entry{name: "web/" + strings.Repeat("a/", maxDepth+1) + "b"}), "no name of a file"},
		{"a link", archive(t, entry{name: "web/a", kind: tar.TypeSymlink}), "neither a file"},
		{"a hard link", archive(t, entry{name: "web/a", kind: tar.TypeLink}), "neither a file"},
		{"a device", archive(t, entry{name: "web/a", kind: tar.TypeChar}), "neither a file"},
		{"a large file", archive(t, entry{name: "web/a", data: big + "x"}), "more than 5 MiB"},
		{"a bomb", archive(t, bomb...), "more than 100 MiB"},
		{"many files", archive(t, many...), "20000 files"},
	}
	for _, test := range tests {
		if _, err := Unpack(test.data); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// Whatever an archive holds, nothing gets a name outside of the chart.
func FuzzUnpack(f *testing.F) {
	f.Add("web/Chart.yaml", "x", byte(tar.TypeReg))
	f.Add("web/../../x", "x", byte(tar.TypeReg))
	f.Add(`a\..\..\b`, "", byte(tar.TypeSymlink))
	f.Fuzz(func(t *testing.T, name, data string, kind byte) {
		var out bytes.Buffer
		zipped := gzip.NewWriter(&out)
		w := tar.NewWriter(zipped)
		if w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Typeflag: kind, Linkname: "x"}) != nil {
			return
		}
		_, _ = w.Write([]byte(data))
		_ = w.Close()
		_ = zipped.Close()
		for _, packed := range [][]byte{out.Bytes(), []byte(data)} {
			files, err := Unpack(packed)
			if err != nil {
				continue
			}
			for name := range files {
				if !fs.ValidPath(name) || name == "." {
					t.Errorf("%q", name)
				}
			}
			_, _ = files.metadata()
			_, _ = files.dependencies()
			files.contained()
		}
	})
}

// mapped makes a source of files.
func mapped(files map[string]string) fstest.MapFS {
	out := fstest.MapFS{}
	for name, data := range files {
		out[name] = &fstest.MapFile{Data: []byte(data)}
	}
	return out
}

func fromFiles(files fs.FS, chart app.HelmChart) *Upstream {
	dialer := remote.NewDialer(remote.Options{})
	return &Upstream{Chart: chart, From: app.Source{ID: app.SourceID{Kind: "GitRepository", Namespace: "a", Name: "g"}},
		Revision: app.Revision{Ref: "main", Commit: "0123456789abcdef0123456789abcdef01234567"}, Files: files,
		Repositories: helmrepo.NewClient(dialer, os.TempDir())}
}

// made is what Bring would write.
func made(t *testing.T, u *Upstream) (app.Revision, Files) {
	t.Helper()
	rev, err := u.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files, err := u.make(t.Context(), rev)
	if err != nil {
		t.Fatal(err)
	}
	return rev, files
}

func source(more map[string]string) map[string]string {
	out := map[string]string{
		"charts/web/Chart.yaml":        "apiVersion: v2\nname: web\nversion: 1.2.3\n",
		"charts/web/values.yaml":       "who: world\nports: {http: 80}\n",
		"charts/web/templates/cm.yaml": "kind: ConfigMap\n",
		"charts/web/.helmignore":       "*.md\n/secret\n",
		"charts/web/README.md":         "ignored",
		"charts/web/secret/key":        "ignored",
		"values/prod.yaml":             "who: customers\nports: {https: 443}\n",
		"values/none.yaml":             "",
	}
	for name, data := range more {
		out[name] = data
	}
	return out
}

func TestPack(t *testing.T) {
	u := fromFiles(mapped(source(nil)), app.HelmChart{Chart: "./charts/web", Generation: 1})
	rev, files := made(t, u)
	if rev.Ref != "1.2.3" || rev.Chart.Name != "web" || !rev.Chart.Packed || rev.Chart.Source.Ref != "main" {
		t.Errorf("found %+v", rev)
	}
	if len(files) != 4 || files["README.md"] != nil || files["secret/key"] != nil || string(files["values.yaml"]) == "" {
		t.Errorf("files %q", files)
	}

	// The same version is the same chart, unless each revision counts.
	changed := fromFiles(mapped(source(map[string]string{"charts/web/templates/cm.yaml": "kind: Secret\n"})), u.Chart)
	changed.Revision.Commit = strings.Repeat("9", 40)
	if again, _ := made(t, changed); again.Commit != rev.Commit {
		t.Errorf("%s is not %s", again.Commit, rev.Commit)
	}
	changed.Chart.ByRevision = true
	if again, files := made(t, changed); again.Commit == rev.Commit || again.Ref != "1.2.3+999999999999" ||
		!strings.Contains(string(files["Chart.yaml"]), "version: 1.2.3+999999999999") {
		t.Errorf("found %+v, %q", again, files["Chart.yaml"])
	}
	if next := fromFiles(u.Files, app.HelmChart{Chart: "./charts/web", Generation: 2}); true {
		if again, _ := made(t, next); again.Commit == rev.Commit {
			t.Error("another generation is the same chart")
		}
	}

	// Values files are of the source.
	u.Chart.ValuesFiles, u.Chart.ByRevision = []string{"charts/web/values.yaml", "values/prod.yaml", "values/none.yaml"}, true
	rev, files = made(t, u)
	if got := string(files["values.yaml"]); got != "ports:\n  http: 80\n  https: 443\nwho: customers\n" || rev.Ref != "1.2.3+0123456789ab.1" {
		t.Errorf("%s: %s", rev.Ref, got)
	}
	u.Chart.ValuesFiles, u.Chart.IgnoreMissing = []string{"nowhere.yaml", "values/prod.yaml"}, true
	if _, files = made(t, u); string(files["values.yaml"]) != "ports:\n  https: 443\nwho: customers\n" {
		t.Errorf("got %s", files["values.yaml"])
	}
}

// What Helm makes of the packed directory is what it makes of an archive.
func TestPackedArchive(t *testing.T) {
	dir := t.TempDir()
	for name, data := range source(nil) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	chart, err := loader.LoadDir(filepath.Join(dir, "charts/web"))
	if err != nil {
		t.Fatal(err)
	}
	name, err := chartutil.Save(chart, dir)
	if err != nil {
		t.Fatal(err)
	}
	rev, packed := made(t, fromFiles(os.DirFS(dir), app.HelmChart{Chart: filepath.Base(name), Generation: 1}))
	if rev.Chart.Packed || rev.Ref != "1.2.3" {
		t.Errorf("found %+v", rev)
	}
	_, fromDir := made(t, fromFiles(os.DirFS(dir), app.HelmChart{Chart: "charts/web", Generation: 1}))
	for _, name := range []string{"values.yaml", "templates/cm.yaml"} {
		if len(packed[name]) == 0 || !bytes.Equal(packed[name], fromDir[name]) {
			t.Errorf("%s: %q and %q", name, packed[name], fromDir[name])
		}
	}
	if len(packed) != 4 || len(fromDir) != 4 {
		t.Errorf("%d and %d files", len(packed), len(fromDir))
	}
}

func TestDependencies(t *testing.T) {
	server, err := chartserver.New(chartserver.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	sub := t.TempDir()
	if err := os.WriteFile(filepath.Join(sub, "Chart.yaml"), []byte("apiVersion: v2\nname: redis\nversion: 7.0.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"7.0.0", "7.1.0", "8.0.0"} {
		if _, err := server.Publish(sub, version); err != nil {
			t.Fatal(err)
		}
	}
	chart := func(dependencies string, more map[string]string) *Upstream {
		files := source(more)
		files["charts/web/Chart.yaml"] += dependencies
		return fromFiles(mapped(files), app.HelmChart{Chart: "charts/web"})
	}
	redis := "dependencies:\n- {name: redis, version: 7.x, repository: " + server.URL + "}\n"
	_, files := made(t, chart(redis, nil))
	if got := string(files["charts/redis/Chart.yaml"]); !strings.Contains(got, "version: 7.1.0") {
		t.Errorf("got %q", got)
	}
	_, files = made(t, chart(redis, map[string]string{"charts/web/Chart.lock": "dependencies:\n- {name: redis, version: 7.0.0, repository: " + server.URL + "}\n"}))
	if got := string(files["charts/redis/Chart.yaml"]); !strings.Contains(got, "version: 7.0.0") {
		t.Errorf("got %q", got)
	}
	_, files = made(t, chart("dependencies:\n- {name: lib, version: 1.x, repository: 'file://../lib'}\n", map[string]string{
		"charts/lib/Chart.yaml": "apiVersion: v2\nname: lib\nversion: 1.0.0\n", "charts/lib/templates/_a.tpl": "a"}))
	if string(files["charts/lib/templates/_a.tpl"]) != "a" {
		t.Errorf("files %q", files)
	}
	asked, _ := server.Requests("/index.yaml")
	_, files = made(t, chart(redis, map[string]string{"charts/web/charts/redis/Chart.yaml": "apiVersion: v2\nname: redis\nversion: 7.7.7\n"}))
	if again, _ := server.Requests("/index.yaml"); again != asked || !strings.Contains(string(files["charts/redis/Chart.yaml"]), "7.7.7") {
		t.Errorf("what is there was fetched: %q", files)
	}
	_, files = made(t, chart("", map[string]string{
		"charts/web/Chart.yaml":        "apiVersion: v1\nname: web\nversion: 1.0.0\n",
		"charts/web/requirements.yaml": redis,
	}))
	if files["charts/redis/Chart.yaml"] == nil {
		t.Errorf("requirements.yaml is not heeded: %q", files)
	}

	for dependencies, want := range map[string]string{
		"{name: redis, version: 9.x, repository: " + server.URL + "}":   "no such version",
		"{name: nothing, version: 1.x, repository: " + server.URL + "}": "no such version",
		"{name: a, version: 1.x, repository: 'file://../../../etc'}":    "leads out of the source",
		"{name: a, version: 1.x, repository: 'file://../none'}":         "not exist",
		"{name: web, version: 9.x, repository: 'file://.'}":             "has version 1.2.3",
		"{name: a, version: 1.x, repository: '@stable'}":                "alias",
		"{name: a, version: 1.x, repository: 's3://bucket'}":            "not supported",
		"{name: a, version: 1.x}":                                       "not in charts/",
		"{name: ../a, version: 1.x, repository: 'file://.'}":            "no name of a dependency",
	} {
		u := chart("dependencies:\n- "+dependencies+"\n", nil)
		rev, err := u.Find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, err = u.make(t.Context(), rev)
		if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonDependency || !strings.Contains(f.Error(), want) {
			t.Errorf("%s: %v, want %q", dependencies, err, want)
		}
	}
}

func TestNotFound(t *testing.T) {
	files := mapped(source(map[string]string{
		"bad/version/Chart.yaml": "name: a\nversion: one\n", "bad/name/Chart.yaml": "name: ../a\nversion: 1.0.0\n",
		"bad/yaml/Chart.yaml": "{", "bad.tgz": "x", "values/bad.yaml": "- a\n",
	}))
	for _, test := range []struct {
		chart  app.HelmChart
		reason app.Reason
		want   string
	}{
		{app.HelmChart{Chart: "none"}, app.ReasonRefNotFound, "not exist"},
		{app.HelmChart{Chart: "../charts/web"}, app.ReasonRefNotFound, "no path"},
		{app.HelmChart{Chart: "values"}, app.ReasonRefNotFound, "not exist"},
		{app.HelmChart{Chart: "bad/version"}, app.ReasonRefNotFound, "version"},
		{app.HelmChart{Chart: "bad/name"}, app.ReasonRefNotFound, "no name of a chart"},
		{app.HelmChart{Chart: "bad/yaml"}, app.ReasonRefNotFound, "Chart.yaml"},
		{app.HelmChart{Chart: "bad.tgz"}, app.ReasonRefNotFound, "no chart archive"},
		{app.HelmChart{Chart: "charts/web", ValuesFiles: []string{"none.yaml"}}, app.ReasonPathNotFound, "no values file found at path 'none.yaml'"},
		{app.HelmChart{Chart: "charts/web", ValuesFiles: []string{"values"}}, app.ReasonPathNotFound, "no file"},
		{app.HelmChart{Chart: "charts/web", ValuesFiles: []string{"../x"}}, app.ReasonPathNotFound, "outside"},
		{app.HelmChart{Chart: "charts/web", ValuesFiles: []string{"values/bad.yaml"}}, app.ReasonPathNotFound, "values/bad.yaml"},
	} {
		u := fromFiles(files, test.chart)
		rev, err := u.Find(t.Context())
		if err == nil {
			_, err = u.make(t.Context(), rev)
		}
		if f := app.AsFailure(err, ""); f == nil || f.Reason != test.reason || !strings.Contains(f.Error(), test.want) {
			t.Errorf("%+v: %v, want %s %q", test.chart, err, test.reason, test.want)
		}
	}
}

// A link back to where it is does not keep anyone busy for ever.
func TestEndlessDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(".", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadDir(context.Background(), os.DirFS(dir), "."); err == nil || !strings.Contains(err.Error(), "deeper") {
		t.Errorf("got %v", err)
	}
}
