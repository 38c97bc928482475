package object

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

const cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"

func TestDecodeDocuments(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		lenient  bool
		want     []string // ref@line
	}{
		{name: "empty", in: "", want: nil},
		{name: "comments only", in: "# nothing\n---\n# here\n", want: nil},
		{name: "one", in: cm, want: []string{"ConfigMap/a@1"}},
		{name: "line of first content", in: "# c\n\n---\n# d\n\n" + cm + "---\n\n" + cm, want: []string{"ConfigMap/a@6", "ConfigMap/a@11"}},
		{name: "content on the separator line", in: "--- {apiVersion: v1, kind: Pod, metadata: {name: p}}\n", want: []string{"Pod/p@1"}},
		{name: "document end and directive", in: cm + "...\n%YAML 1.1\n---\n" + cm, want: []string{"ConfigMap/a@1", "ConfigMap/a@7"}},
		{name: "BOM and CRLF", in: "\xef\xbb\xbf" + strings.ReplaceAll(cm+"---\n"+cm, "\n", "\r\n"), want: []string{"ConfigMap/a@1", "ConfigMap/a@5"}},
		{name: "separator inside a block scalar", in: cm + "data:\n  x: |\n    ---\n    a: b\n", want: []string{"ConfigMap/a@1"}},
		{name: "JSON", in: "\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"\\ud83d\\ude00\\/\"}}", lenient: true, want: nil},
		{name: "JSON stream", in: `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}` + "\n" + `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b"}}`, want: []string{"Pod/a@1", "Pod/b@2"}},
		{name: "flow mapping", in: `{apiVersion: v1, kind: Pod, metadata: {name: a}}`, want: []string{"Pod/a@1"}},
		{name: "JSON documents in YAML", in: "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}}\n---\n" + cm, want: []string{"Pod/a@1", "ConfigMap/a@3"}},
		{name: "list", in: "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n- apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: b, namespace: ns}\n", want: []string{"Pod/a@4", "Deployment/ns/b@7"}},
		{name: "empty list", in: "apiVersion: v1\nkind: List\nitems: []\n", want: nil},
		{name: "typed list", in: "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: a}\n", want: []string{"ConfigMap/a@4"}},
		{name: "a kind that only sounds like a list", in: "apiVersion: x.io/v1\nkind: AllowList\nmetadata: {name: a}\nitems: [1, 2]\n", want: []string{"AllowList/a@1"}},
		{name: "generateName", in: "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", want: []string{"Pod/@1"}},
		{name: "lenient", in: "a: b\n---\n" + cm + "---\n- 1\n---\nkind: X\n", lenient: true, want: []string{"ConfigMap/a@3"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			objects, err := Decoder{Lenient: tc.lenient}.Decode("f.yaml", []byte(tc.in))
			if tc.name == "JSON" {
				if err == nil || !strings.Contains(err.Error(), "f.yaml:2: metadata.name may not contain /") {
					t.Fatalf("err = %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range objects {
				got = append(got, fmt.Sprintf("%s@%d", o.Ref(), o.Origin.Line))
				if o.Origin.Path != "f.yaml" {
					t.Errorf("origin %v", o.Origin)
				}
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDecodeErrors(t *testing.T) {
	bomb := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n" + `a0: &a0 "` + strings.Repeat("x", 500) + "\"\n"
	for i := 1; i < 10; i++ {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 9), ","))
	}
	for _, tc := range []struct{ name, in, want string }{
		{"mapping value", "a: b\nc: d: e\n", "f.yaml:2: mapping values are not allowed in this context"},
		{"first line", "a: b: c\n", "f.yaml:1: mapping values are not allowed in this context"},
		{"expected key", cm + "data:\n  a: \"x\" y\n", "f.yaml:5: did not find expected key"},
		{"tab", "a:\n\tb: c\n", "f.yaml:2: the line is indented by a tab: YAML takes spaces only"},
		{"tab below spaces", "a:\n  b:\n  \tc: d\n", "f.yaml:3: the line is indented by a tab: YAML takes spaces only"},
		{"no tab", "a: @b\n", "f.yaml:1: found character that cannot start any token"},
		{"second document", cm + "---\nkind: [\n", "f.yaml:6: did not find expected node content"},
		{"twice", cm + "data:\n  a: x\n  a: y\n", `f.yaml:6: key "a" is set twice in one mapping`},
		{"twice in JSON", "{\n\"a\": 1,\n\"a\": 2}", `f.yaml:3: key "a" is set twice in one mapping`},
		{"no kind", "\napiVersion: v1\nmetadata: {name: a}\n", "f.yaml:2: kind is missing: every Kubernetes object needs apiVersion, kind and metadata.name"},
		{"no name", "apiVersion: v1\nkind: Pod\nmetadata:\n  labels: {}\n", "f.yaml:3: metadata.name is missing: every Kubernetes object needs apiVersion, kind and metadata.name"},
		{"number as name", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: 1\n", "f.yaml:4: metadata.name must be a string, not a number: put it in quotes"},
		{"boolean label", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels:\n    a: b\n    x: yes\n", `f.yaml:7: metadata.labels["x"] must be a string, not a boolean: put it in quotes`},
		{"kind is a list", "apiVersion: v1\nkind: [a]\n", "f.yaml:2: kind must be a string, not a sequence"},
		{"text", "hello\n", "f.yaml:1: the document is a string, not a Kubernetes object"},
		{"list item", "apiVersion: v1\nkind: List\nitems:\n- a\n", "f.yaml:4: items[0] is a string, not a Kubernetes object"},
		{"list item's name", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: 2\n", "f.yaml:7: metadata.name must be a string, not a number: put it in quotes"},
		{"UTF-8", "a: b\nc: \xff\n", "f.yaml:2: the text is not valid UTF-8"},
		{"UTF-16", "\xff\xfea\x00", "f.yaml:1: the text is not valid UTF-8"},
		{"infinity", cm + "x: .inf\n", "f.yaml:4: JSON has no infinity and no not-a-number"},
		{"null key", cm + "x: {null: 1}\n", "f.yaml:4: a mapping key must be a string, not null"},
		{"anchor", "a: *b\n", "f.yaml:1: unknown anchor 'b' referenced"},
		{"bomb", bomb, "aliases expand to more than this file may hold"},
		{"itself", "a: &a [*a, *a]\n", "nested more than 512 deep"},
		{"deep", strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "nested more than 512 deep"},
		{"deep JSON", `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "nested more than 512 deep"},
		{"lists of lists", strings.Repeat(`{apiVersion: v1, kind: List, items: [`, 9) + strings.Repeat("]}", 9), "lists are nested more than 4 deep"},
		{"tag", cm + "x: !!int a\n", "f.yaml:4: the value is no !!int"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Decode("f.yaml", []byte(tc.in))
			var de *DecodeError
			if !errors.As(err, &de) {
				t.Fatalf("error is %T %v", err, err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %s\nwant %s", err, tc.want)
			}
		})
	}
}

func TestDecodeScalars(t *testing.T) {
	for _, text := range []string{
		"yes", "on", "Off", "y", "n", "true", "~", "null", "''", "'yes'", "\"on\"", "0755", "0o17", "0x1F", "0b11", "-0b11", "1_000",
		"1e3", "1.5e3", "1.0", "-0.0", "1.25", ".5", "5.", "1e21", "1e400", "9223372036854775807", "9223372036854775808",
		"18446744073709551616", "-9223372036854775809", "12:30", "2001-01-01", "2001-12-14t21:59:43.10-05:00", "1.2.3", "+1", "+", "-", ".", "..",
		"!!str 1", "!!str yes", "!!binary aGVsbG8=", "!!int '3'", "!!float 1", "!!timestamp 2001-01-01", "!own x", "=", "<<", "0x", "0_", "1__0", "._5", ".0x1",
		"|\n  a\n  b", ">\n  a\n  b", "{1: a, 1.5: b, yes: c, 0x10: d}", "[~, 1]", "a\u0085b", "\"\\u0000\"", "\"a\\ \\/\\x41\"",
	} {
		in := "x: " + text + "\n"
		js, err := yaml.YAMLToJSON([]byte(in))
		if err != nil {
			if _, err := Decode("f", []byte(cm+in)); err == nil {
				t.Errorf("%q: accepted, refused by sigs.k8s.io/yaml", text)
			}
			continue
		}
		var want map[string]any
		if err := utiljson.Unmarshal(js, &want); err != nil {
			t.Fatal(err)
		}
		objects, err := Decode("f", []byte(cm+in))
		if err != nil {
			if !strings.HasPrefix(text, "!own") {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if got := objects[0].Unstructured().Object["x"]; !reflect.DeepEqual(got, want["x"]) {
			t.Errorf("%q: got %#v, want %#v", text, got, want["x"])
		}
	}
}

func TestDecodeMerge(t *testing.T) {
	objects, err := Decode("f", []byte(cm+`
x: &base {a: 1, b: 2}
y: &more {b: 3, c: 4}
z: {<<: *base, b: 9}
w: {b: 9, <<: *base}
v: {<<: [*base, *more]}
`))
	if err != nil {
		t.Fatal(err)
	}
	c := objects[0].Unstructured().Object
	got, _ := json.Marshal([]any{c["z"], c["w"], c["v"]})
	if want := `[{"a":1,"b":9},{"a":1,"b":9},{"a":1,"b":2,"c":4}]`; string(got) != want {
		t.Errorf("got %s", got)
	}
}

func TestEncodeYAML(t *testing.T) {
	in := "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter22}\n---\n" + cm + "data: {a: \"yes\", b: \"0755\", c: \"1e3\"}\n"
	objects, err := Decode("f", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := EncodeYAML(objects, false)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode("f", plain)
	if err != nil {
		t.Fatal(err)
	}
	for i := range objects {
		if objects[i].Digest() != again[i].Digest() {
			t.Errorf("object %d changed:\n%s", i, plain)
		}
	}
	redacted, err := EncodeYAML(objects, true)
	if err != nil || strings.Contains(string(redacted), "hunter22") || !strings.Contains(string(redacted), "<secret ") {
		t.Errorf("redacted: %v\n%s", err, redacted)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		cm, cm + "---\n" + cm, "a: &a [*a]", `{"apiVersion":"v1","kind":"List","items":[{}]}`, "%YAML 1.1\n---\n...\n", "? a\n: b\n# c\n- d",
		cm + "data: {a: 'yes', b: |\n  x\n}\n", cm + "x: 1e3\ny: 0755\nz: {<<: {a: b}}\n", cm + "x: \"\\u0085\\u2028\\uFEFF\\0\"\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := Decode("f.yaml", data)
		if err != nil {
			var de *DecodeError
			if !errors.As(err, &de) {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		for _, o := range objects {
			Normalize(o)
			text, err := EncodeYAML([]Object{o}, false)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Decode("f.yaml", text)
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if len(again) != 1 || !reflect.DeepEqual(again[0].content, o.content) {
				t.Fatalf("decode(encode(x)) != x:\n%#v\n%#v\n%s", o.content, again, text)
			}
		}
	})
}
