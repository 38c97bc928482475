package release

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

func fetched(kind, text string, change ...func(*app.ReleaseValues)) Fetched {
	f := Fetched{From: app.ReleaseValues{Ref: object.Ref{Kind: kind, Namespace: "apps", Name: "values"}, Key: "values.yaml"}, Data: []byte(text)}
	for _, c := range change {
		c(&f.From)
	}
	return f
}

func at(path string) func(*app.ReleaseValues) {
	return func(v *app.ReleaseValues) { v.TargetPath = path }
}
func literal(v *app.ReleaseValues)  { v.Literal = true }
func optional(v *app.ReleaseValues) { v.Optional = true }

func TestCompose(t *testing.T) {
	missing := fetched("Secret", "", optional)
	missing.Missing = true
	for name, tt := range map[string]struct {
		inline map[string]any
		from   []Fetched
		want   map[string]any
	}{
		"nothing": {want: map[string]any{}},
		"a later one wins, inline wins over all": {
			inline: map[string]any{"c": "inline", "m": map[string]any{"r": int64(3)}},
			from: []Fetched{
				fetched("ConfigMap", "a: 1\nb: 1\nc: 1\nm: {p: 1, q: 1, r: 1}"),
				fetched("Secret", "b: 2\nc: 2\nm: {q: 2, r: 2}"),
			},
			want: map[string]any{"a": 1.0, "b": 2.0, "c": "inline", "m": map[string]any{"p": 1.0, "q": 2.0, "r": 3.0}},
		},
		"a target path wins over inline, wherever it stands": {
			inline: map[string]any{"a": "inline", "m": map[string]any{"l": []any{"x", "y"}}},
			from:   []Fetched{fetched("Secret", "path", at("a")), fetched("ConfigMap", "z", at("m.l[1]")), fetched("ConfigMap", "a: file")},
			want:   map[string]any{"a": "path", "m": map[string]any{"l": []any{"x", "z"}}},
		},
		"what is set has helm's types": {
			from: []Fetched{fetched("Secret", "8080", at("int")), fetched("Secret", "'8080'", at("quoted")), fetched("Secret", "true", at("bool")),
				fetched("Secret", "{a,b}", at("list")), fetched("Secret", "x", at(`dotted\.key`))},
			want: map[string]any{"int": int64(8080), "quoted": "8080", "bool": true, "list": []any{"a", "b"}, "dotted.key": "x"},
		},
		"literal is taken as it is": {
			from: []Fetched{fetched("Secret", "a,b=[c]\\{d}\n8080", at("m.text"), literal), fetched("Secret", "8080", at("port"), literal)},
			want: map[string]any{"m": map[string]any{"text": "a,b=[c]\\{d}\n8080"}, "port": "8080"},
		},
		"without a target path literal means nothing": {from: []Fetched{fetched("Secret", "a: 1", literal)}, want: map[string]any{"a": 1.0}},
		"an optional one may be missing":              {from: []Fetched{missing, fetched("Secret", "a: 1")}, want: map[string]any{"a": 1.0}},
		"null takes a default away":                   {inline: map[string]any{"a": nil}, from: []Fetched{fetched("Secret", "a: 1")}, want: map[string]any{"a": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			before := clone(tt.inline)
			got, err := Compose(tt.inline, tt.from)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%#v, want %#v (%v)", got, tt.want, err)
			}
			if len(tt.inline) > 0 && !reflect.DeepEqual(tt.inline, before) {
				t.Errorf("what was handed in is changed: %v", tt.inline)
			}
		})
	}
}

func TestComposeErrors(t *testing.T) {
	gone := fetched("ConfigMap", "")
	gone.Missing = true
	for want, from := range map[string]Fetched{
		"ConfigMap/apps/values, key values.yaml: there is no such object":       gone,
		"Secret/apps/values, key values.yaml are no YAML mapping":               fetched("Secret", "hunter2-hunter2"),
		"Secret/apps/values, key values.yaml are no YAML mapping: line 2":       fetched("Secret", "a: hunter2\n\thunter2-hunter2: ]"),
		`Secret/apps/values, key values.yaml cannot be set at "a[99999999999]"`: fetched("Secret", "hunter2", at("a[99999999999]")),
		`Secret/apps/values, key values.yaml cannot be set at "a"`:              fetched("Secret", "1,hunter2", at("a")),
	} {
		_, err := Compose(nil, []Fetched{from})
		var f *app.Failure
		if !errors.As(err, &f) || f.Reason != app.ReasonValues || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// The digests are Flux's, of the same values.
func TestConfigDigest(t *testing.T) {
	const of = "sha256:fcdc2b0de1581a3633ada4afee3f918f6eaa5b5ab38c3fef03d5b48d3f85d9f6"
	values := map[string]any{
		"replicas": 3, "image": map[string]any{"tag": "latest", "repository": "nginx"},
		"ports": []any{map[string]any{"protocol": "TCP", "port": 8080}, map[string]any{"port": 9090, "protocol": "UDP"}},
	}
	if got := ConfigDigest(values); got != of {
		t.Errorf("%s, want %s", got, of)
	}
	plain, err := plainJSON(values)
	if err != nil {
		t.Fatal(err)
	}
	if got := ConfigDigest(plain); got != of {
		t.Errorf("of the same as JSON has it: %s, want %s", got, of)
	}
	const none = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	if a, b := ConfigDigest(nil), ConfigDigest(map[string]any{}); a != none || b != none {
		t.Errorf("of no values %s and %s, want %s", a, b, none)
	}
}

// FuzzCompose: whatever is in a Secret, nothing panics, and no error shows it.
func FuzzCompose(f *testing.F) {
	f.Add("a.b[2]", "{x,y", true)
	f.Add("a", "1,b=2", false)
	f.Add("", "a: [1, {b: c}]", false)
	f.Add(`a\.b=c`, `'x`, false)
	f.Add("a[1][2][3]", "x", true)
	f.Fuzz(func(t *testing.T, path, secret string, lit bool) {
		from := []Fetched{fetched("Secret", secret, at(path), func(v *app.ReleaseValues) { v.Literal = lit })}
		values, err := Compose(map[string]any{"a": map[string]any{"b": []any{"c"}}}, from)
		if err == nil {
			ConfigDigest(values)
			return
		}
		// The path is not secret, and is shown.
		text := strings.ReplaceAll(err.Error(), path, "")
		if len(secret) > 12 && strings.Contains(text, secret) {
			t.Errorf("the error shows the secret: %v", err)
		}
	})
}
