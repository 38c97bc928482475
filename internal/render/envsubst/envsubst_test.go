package envsubst

import (
	"errors"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// TestGrammar replaces in one text. Rows of the form `error: …` must fail so.
func TestGrammar(t *testing.T) {
	values := map[string]string{"v": "path/to/file.txt", "name": "Ada", "empty": "", "two": "a b", "n": "8080", "lines": "a\nb\n"}
	for in, want := range map[string]string{
		"plain":                  "plain",
		"${v}":                   "path/to/file.txt",
		"${#v}":                  "16",
		"${name^}":               "Ada",
		"${name^^}":              "ADA",
		"${name,}":               "ada",
		"${name,,}":              "ada",
		"${v:5}":                 "to/file.txt",
		"${v:5:2}":               "to",
		"${v:(-4)}":              "path/to/file.txt", // no arithmetic: an offset that is none leaves all
		"${v#*/}":                "to/file.txt",
		"${v##*/}":               "file.txt",
		"${v%.*}":                "path/to/file",
		"${v%%/*}":               "path",
		"${missing:-none}":       "none",
		"${missing:=none}":       "none",
		"${missing=none}":        "none",
		"${empty:-none}":         "none",
		"${missing:=${name}}":    "Ada",
		"${missing:=a ${name}!}": "a Ada!",
		"${v/path/way}":          "way/to/file.txt",
		"${v//t/T}":              "paTh/To/file.TxT",
		"${v/#path/way}":         "way/to/file.txt",
		"${v/%txt/md}":           "path/to/file.md",
		`${v//\//-}`:             "path-to-file.txt",
		"${v/path/}":             "/to/file.txt",
		"$v $name":               "$v $name",
		"$${v}":                  "${v}",
		"$(v) {{ $v }}":          "$(v) {{ $v }}",
		"a$$b":                   "a$b", // the library takes every $$ for an escape
		"${lines}":               "ab",
		"${empty}":               "",

		"${missing}":                  `error: variable "missing" is not set`,
		"${name} ${missing^^}":        `error: variable "missing" is not set`,
		"${missing:=${other}}":        `error: variable "other" is not set`,
		"${v":                         "error: a ${…} that makes no sense: missing closing brace",
		"${}":                         "error: a ${…} that makes no sense: unable to parse variable name",
		"${v.w}":                      "error: a ${…} that makes no sense: missing closing brace",
		"${v-none}":                   "error: a ${…} that makes no sense: missing closing brace", // only := :- and = are known
		"${v:1:9223372036854775807}":  "error: a ${…} with an offset or length that makes no sense",
		strings.Repeat("${n}", 50001): "error: it has more than the 50000 variables allowed",
	} {
		got, wrong := replacer{values: clean(values)}.text(in)
		if wrong != nil {
			got = "error: " + wrong.what
		}
		if got != want {
			t.Errorf("%.40s gives %q, want %q", in, got, want)
		}
	}
	if got, wrong := (replacer{lenient: true}).text("a${missing}b${missing^^}"); got != "ab" || wrong != nil {
		t.Errorf("lenient: %q %v", got, wrong)
	}
}

func clean(values map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range values {
		out[k] = strings.ReplaceAll(v, "\n", "")
	}
	return out
}

// TestCost: what would take too much is refused before it is begun.
func TestCost(t *testing.T) {
	values := map[string]string{"long": strings.Repeat("a", 1<<20), "dots": strings.Repeat("a.", 20<<10)}
	for _, in := range []string{
		strings.Repeat("${long}", 17), "${long//a/${long}}", "${long##*b}", "${dots%%*b*b*b}", "${none:=${long//a/aaaaaaaaaaaaaaaaa}}",
	} {
		if got, wrong := (replacer{values: values, lenient: true}).text(in); wrong == nil || !strings.Contains(wrong.what, "too much") {
			t.Errorf("%.30s gives %d bytes, %v", in, len(got), wrong)
		}
	}
	if got, wrong := (replacer{values: values}).text(strings.Repeat("${long}", 8)); wrong != nil || len(got) != 8<<20 {
		t.Errorf("%d bytes, %v", len(got), wrong)
	}
}

func TestReplace(t *testing.T) {
	const before = `
apiVersion: v1
kind: ConfigMap
metadata:
  name: ${name}
data:
  port: "${port}"
  text: |
    ${name}
    $${name}
  list: ${list}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: left
  annotations: {example.com/substitute: Disabled}
data: {a: "${unknown}"}
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: also-left
  labels: {example.com/substitute: disabled}
data: {a: "${unknown}"}
`
	const want = `apiVersion: v1
data:
  list:
  - 1
  - two
  port: 8080
  text: |
    web
    ${name}
kind: ConfigMap
metadata:
  name: web
---
apiVersion: v1
data:
  a: ${unknown}
kind: ConfigMap
metadata:
  annotations:
    example.com/substitute: Disabled
  name: left
---
apiVersion: v1
data:
  a: ${unknown}
kind: ConfigMap
metadata:
  labels:
    example.com/substitute: disabled
  name: also-left
`
	objects, err := object.Decode("dir/a.yaml", []byte(before))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{"name": "web\n", "port": "8080", "list": "[1, two]"}
	out, err := Replace(objects, values, Options{SkipKey: "example.com/substitute"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := object.EncodeYAML(out, false)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != want {
		t.Errorf("got:\n%s\nwant:\n%s", text, want)
	}
	if out[0].Origin != objects[0].Origin || out[0].Origin.Line == 0 {
		t.Errorf("origin %v, want %v", out[0].Origin, objects[0].Origin)
	}
}

func TestFailures(t *testing.T) {
	const secret = "TOPSECRET: {"
	decode := func(value string) []object.Object {
		objects, err := object.Decode("app/cm.yaml", []byte("\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: shop}\ndata: {a: ok, url: '"+value+"'}\n"))
		if err != nil {
			t.Fatal(err)
		}
		return objects
	}
	for _, c := range []struct {
		value string
		vars  map[string]string
		want  string
	}{
		{"${host}", map[string]string{"other": secret}, `ConfigMap/shop/web (app/cm.yaml:2): .data.url: variable "host" is not set`},
		{"${host", nil, `ConfigMap/shop/web (app/cm.yaml:2): .data.url: a ${…} that makes no sense: missing closing brace`},
		{"${host}", map[string]string{"host": secret}, `ConfigMap/shop/web (app/cm.yaml:2): with its variables replaced it is no manifest any more`},
		{"x", map[string]string{"host.name": secret}, `"host.name" cannot be the name of a variable: only letters, digits and _ are allowed, and no digit first`},
		{"x", map[string]string{"": secret}, `"" cannot be the name of a variable: only letters, digits and _ are allowed, and no digit first`},
		{"x", map[string]string{"1a": secret}, `"1a" cannot be the name of a variable: only letters, digits and _ are allowed, and no digit first`},
	} {
		_, err := Replace(decode(c.value), c.vars, Options{})
		var failure *app.Failure
		if !errors.As(err, &failure) || failure.Error() != c.want || failure.Hint == "" || failure.Reason != app.ReasonBuild {
			t.Errorf("%s: %v, want %s", c.value, err, c.want)
		}
		if failure != nil && strings.Contains(failure.Error()+failure.Hint, "TOPSECRET") {
			t.Errorf("%s: a value is told: %v", c.value, err)
		}
	}
}

// FuzzReplace: no text and no value makes it panic, hang, tell a value, or
// give something else than one object for each.
func FuzzReplace(f *testing.F) {
	for _, seed := range []string{"${a}", "$${a}", "${a:=${b}}", "${a//x/${b}}", "${a:1:2}", "${a##*/}", "${", "${a%%[}", "{${a}", "${a,,}"} {
		f.Add(seed, "some/value", "x\ny: &a [*a]")
	}
	f.Fuzz(func(t *testing.T, text, a, b string) {
		o := object.New(map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{"name": "x"}, "data": map[string]any{"text": text, "other": "$a"}}, object.Origin{Path: "x.yaml", Line: 1})
		mark := "7f3a9c" // does not come up by itself
		out, err := Replace([]object.Object{o}, map[string]string{"a": a, "b": b, "c": mark}, Options{})
		if err == nil && len(out) != 1 {
			t.Fatalf("%d objects", len(out))
		}
		if failure := new(app.Failure); err != nil && (!errors.As(err, &failure) || !strings.Contains(text, mark) && strings.Contains(failure.Error(), mark)) {
			t.Fatalf("%v", err)
		}
	})
}
