package flux

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
)

var update = flag.Bool("update", false, "rewrite the expected results in testdata")

func parse(t testing.TB, data []byte) *unstructured.Unstructured {
	t.Helper()
	data, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u
}

// describe decodes one resource and prints all that came of it.
func describe(t testing.TB, u *unstructured.Unstructured) string {
	var out strings.Builder
	var warnings []app.Warning
	var failure *app.Failure
	switch u.GetKind() {
	case KindGitRepository:
		var source app.Source
		source, warnings, failure = DecodeGitRepository(u)
		print(&out, "", reflect.ValueOf(source))
		for _, use := range gitRepositorySecrets(u) {
			fmt.Fprintf(&out, "secret: %s\n", use.Name)
		}
	case KindOCIRepository:
		var source app.Source
		source, warnings, failure = DecodeOCIRepository(u)
		print(&out, "", reflect.ValueOf(source))
		for _, use := range ociRepositorySecrets(u) {
			fmt.Fprintf(&out, "secret: %s\n", use.Name)
		}
	case KindBucket:
		var source app.Source
		source, warnings, failure = DecodeBucket(u)
		print(&out, "", reflect.ValueOf(source))
		for _, use := range bucketSecrets(u) {
			fmt.Fprintf(&out, "secret: %s\n", use.Name)
		}
	case KindExternalArtifact:
		var source app.Source
		source, warnings, failure = DecodeExternalArtifact(u)
		print(&out, "", reflect.ValueOf(source))
	case KindHelmRepository, KindHelmChart:
		var source app.Source
		k := kindOf(t, u.GetKind())
		source, warnings, failure = k.Decode(u)
		print(&out, "", reflect.ValueOf(source))
		for _, use := range k.Secrets(u) {
			fmt.Fprintf(&out, "secret: %s\n", use.Name)
		}
	case KindKustomization:
		spec := DecodeKustomization(u)
		warnings, failure = spec.Warnings, spec.Invalid
		spec.Warnings, spec.Invalid = nil, nil
		// What is the same for all is tested elsewhere.
		spec.AdoptFrom, spec.Strip, spec.Policy.Switches, spec.Policy.Order = nil, nil, nil, app.Order{}
		print(&out, "", reflect.ValueOf(spec))
	case KindHelmRelease:
		spec := DecodeHelmRelease(u)
		warnings, failure = spec.Warnings, spec.Invalid
		spec.Warnings, spec.Invalid, spec.Policy.Switches, spec.Policy.Order = nil, nil, nil, app.Order{}
		print(&out, "", reflect.ValueOf(spec))
		if chart := HelmChartOf(u); chart != nil {
			data, err := yaml.Marshal(chart.Object)
			if err != nil {
				t.Fatal(err)
			}
			out.WriteString("HelmChart:\n" + string(data))
		}
	default:
		t.Fatalf("kind %s", u.GetKind())
	}
	if failure != nil {
		fmt.Fprintf(&out, "failure: %s/%s %s\n", failure.Stage, failure.Reason, failureMessage(failure))
	}
	for _, w := range warnings {
		fmt.Fprintf(&out, "warning: %s\n", warningLine(w))
	}
	return out.String()
}

// print writes what is not zero in v, a line for each value.
func print(out *strings.Builder, path string, v reflect.Value) {
	if v.IsZero() {
		return
	}
	switch x := v.Interface().(type) {
	case time.Duration, time.Time, string:
		fmt.Fprintf(out, "%s: %s\n", path, strings.ReplaceAll(fmt.Sprint(x), "\n", `\n`))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		print(out, path, v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			print(out, strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."), v.Field(i))
		}
	case reflect.Slice:
		for i := range v.Len() {
			print(out, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	default:
		fmt.Fprintf(out, "%s: %v\n", path, v.Interface())
	}
}

func TestDecode(t *testing.T) {
	files, err := filepath.Glob("testdata/decode/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := describe(t, parse(t, archive.Files[0].Data))
			checkGolden(t, name, archive, "want", got)
		})
	}
}

// checkGolden compares got with a file of the archive, or puts it there.
func checkGolden(t *testing.T, name string, archive *txtar.Archive, file, got string) {
	t.Helper()
	at := -1
	for i, f := range archive.Files {
		if f.Name == file {
			at = i
		}
	}
	if *update {
		if at < 0 {
			archive.Files = append(archive.Files, txtar.File{Name: file})
			at = len(archive.Files) - 1
		}
		archive.Files[at].Data = []byte(got)
		if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if at < 0 {
		t.Fatalf("%s has no file %s; run with -update", name, file)
	}
	if want := string(archive.Files[at].Data); got != want {
		t.Errorf("%s, %s:\n--- got\n%s--- want\n%s", name, file, got, want)
	}
}

func guide(t testing.TB) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile("testdata/flux-classic.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		out = append(out, parse(t, doc))
	}
	return out
}

// The manifests of a guide run as they are written there.
func TestClassicGuide(t *testing.T) {
	var got strings.Builder
	for _, u := range guide(t) {
		fmt.Fprintf(&got, "# %s %s %s\n%s", u.GetAPIVersion(), u.GetKind(), u.GetName(), describe(t, u))
	}
	name := "testdata/flux-classic.txtar"
	archive, err := txtar.ParseFile(name)
	if err != nil && !*update {
		t.Fatal(err)
	}
	checkGolden(t, name, cmp.Or(archive, &txtar.Archive{}), "want", got.String())
}

func TestSameForAll(t *testing.T) {
	spec := DecodeKustomization(parse(t, []byte(`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a, namespace: b}}`)))
	if len(spec.AdoptFrom) == 0 || len(spec.Strip) == 0 {
		t.Error("nothing is adopted or stripped")
	}
	if spec.Invalid == nil {
		t.Error("a Kustomization without a source is valid")
	}
	effects := map[string]app.Effect{}
	full := DecodeKustomization(parse(t, []byte(`{apiVersion: kustomize.toolkit.fluxcd.io/v1, kind: Kustomization, metadata: {name: a, namespace: b},
		spec: {prune: true, interval: 1m, sourceRef: {kind: GitRepository, name: r}}}`)))
	for _, s := range full.Policy.Switches {
		if !s.Label {
			t.Errorf("%s: a label must do as well", s.Key)
		}
		effects[s.Key+"="+s.Value] = s.Effect
	}
	const prefix = "kustomize.toolkit.fluxcd.io/"
	for key, want := range map[string]app.Effect{
		"prune=disabled": app.EffectKeep, "reconcile=disabled": app.EffectIgnore, "force=enabled": app.EffectForce,
		"ssa=Merge": app.EffectMerge, "ssa=IfNotPresent": app.EffectCreateOnly, "ssa=Ignore": app.EffectIgnore,
	} {
		if effects[prefix+key] != want {
			t.Errorf("%s: %q, want %q", key, effects[prefix+key], want)
		}
	}
	if o := full.Policy.Order; o.First[0] != "CustomResourceDefinition" || o.Last[1] != "ValidatingWebhookConfiguration" || len(o.Stages) != 2 {
		t.Errorf("order %v", o)
	}
	if full.Policy.Timeout != 30*time.Second || full.Policy.RetryInterval != time.Minute {
		t.Errorf("timeout %s, retry %s", full.Policy.Timeout, full.Policy.RetryInterval)
	}
}

func TestCredentials(t *testing.T) {
	const https, ssh = "https://h/r", "ssh://h/r"
	tests := []struct {
		name, url string
		secret    map[string]string
		want      app.Credentials
		err       string
	}{
		{"basic", https, map[string]string{"username": "u", "password": "p\n"}, app.Credentials{Username: "u", Password: "p"}, ""},
		{"bearer", https, map[string]string{"bearerToken": "t"}, app.Credentials{BearerToken: "t"}, ""},
		{"both", https, map[string]string{"bearerToken": "t", "username": "u"}, app.Credentials{}, "bearerToken and username"},
		{"no username", https, map[string]string{"password": "hunter2"}, app.Credentials{}, "without username"},
		{"own CA", https, map[string]string{"ca.crt": "A", "caFile": "B"}, app.Credentials{CA: []byte("A")}, ""},
		{"old own CA", https, map[string]string{"caFile": "B"}, app.Credentials{CA: []byte("B")}, ""},
		{"client certificate", https, map[string]string{"tls.crt": "C", "tls.key": "K"}, app.Credentials{ClientCert: []byte("C"), ClientKey: []byte("K")}, ""},
		{"half a client certificate", https, map[string]string{"tls.crt": "C"}, app.Credentials{}, "together"},
		{"ssh", ssh, map[string]string{"identity": "I", "known_hosts": "H", "password": "p"},
			app.Credentials{Username: "git", SSHKey: []byte("I"), KnownHosts: []byte("H"), SSHKeyPassword: "p"}, ""},
		{"ssh user", "ssh://me@h/r", map[string]string{"identity": "I", "known_hosts": "H"},
			app.Credentials{Username: "me", SSHKey: []byte("I"), KnownHosts: []byte("H")}, ""},
		{"ssh without hosts", ssh, map[string]string{"identity": "I"}, app.Credentials{}, "lacks known_hosts"},
		{"ssh without key", ssh, map[string]string{"username": "u"}, app.Credentials{}, "lacks identity"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			secret := map[string][]byte{}
			for k, v := range test.secret {
				secret[k] = []byte(v)
			}
			got := Credentials(secret, test.url)
			if test.err != "" {
				if got.Err == nil || !strings.Contains(got.Err.Error(), test.err) {
					t.Fatalf("error %v, want one about %q", got.Err, test.err)
				}
				for _, v := range test.secret {
					if len(v) > 1 && strings.Contains(got.Err.Error(), v) {
						t.Errorf("the error shows a value")
					}
				}
				return
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Error("other credentials than expected") // never printed
			}
		})
	}
}

func TestRevision(t *testing.T) {
	const sha1, sha256 = "1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222222222222222222222222222"
	for text, want := range map[string]app.Revision{
		"main@sha1:" + sha1:            {Ref: "main", Commit: sha1},
		"refs/heads/main@sha1:" + sha1: {Ref: "refs/heads/main", Commit: sha1},
		"v1@2@sha1:" + sha1:            {Ref: "v1@2", Commit: sha1},
		"main@sha256:" + sha256:        {Ref: "main", Commit: sha256},
		"sha1:" + sha1:                 {Commit: sha1},
		"":                             {},
	} {
		if got := ParseRevision(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %+v, want %+v", text, got, want)
		}
		if got := FormatRevision(want); got != text {
			t.Errorf("%+v is %q, want %q", want, got, text)
		}
	}
	if got := ParseRevision("feature/a/" + sha1); !reflect.DeepEqual(got, app.Revision{Ref: "feature/a", Commit: sha1}) {
		t.Errorf("old form: %+v", got)
	}
	for _, bad := range []string{"main", "main@sha1", "main@sha1:xyz", "main/xyz", "/" + sha1} {
		if got := ParseRevision(bad); !got.IsZero() {
			t.Errorf("%q is %+v", bad, got)
		}
	}
}
