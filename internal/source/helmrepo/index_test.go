package helmrepo

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// read gives an index as lines of text.
func read(text string) ([]string, error) {
	var out []string
	err := ReadIndex(strings.NewReader(text), func(chart string, v Version) error {
		out = append(out, line(chart, v))
		return nil
	})
	return out, err
}

func line(chart string, v Version) string {
	created := ""
	if !v.Created.IsZero() {
		created = v.Created.UTC().Format("2006-01-02")
	}
	return fmt.Sprintf("%s %s %v %s %s", chart, v.Version, v.URLs, v.Digest, created)
}

const helms = `apiVersion: v1
entries:
  podinfo:
  - apiVersion: v1
    appVersion: 6.0.3
    created: "2022-01-02T10:00:00.123456789Z"
    description: |
      entries:
        fake:
        - version: 9.9.9

      # no comment
    digest: abc
    home: https://example.org
    maintainers:
    - email: a@example.org
      version: 7
    name: podinfo
    urls:
    - https://example.org/podinfo-6.0.3.tgz
    - podinfo-6.0.3.tgz
    version: 6.0.3
  - created: 2022-01-01T10:00:00Z
    digest: def
    urls: [charts/podinfo-6.0.2.tgz]
    version: "6.0.2"
  empty: []
  other:
  - name: other
    version: 1.0
generated: "2022-01-02T10:00:00Z"
`

func TestReadIndex(t *testing.T) {
	both := []string{
		"podinfo 6.0.3 [https://example.org/podinfo-6.0.3.tgz podinfo-6.0.3.tgz] abc 2022-01-02",
		"podinfo 6.0.2 [charts/podinfo-6.0.2.tgz] def 2022-01-01",
		"other 1.0 []  ",
	}
	one := []string{"a 1.0.0 [a.tgz] d "}
	tests := []struct {
		name, text string
		want       []string
		err        string // part of it
	}{
		{"as Helm writes it", helms, both, ""},
		{"Windows", "\ufeff" + strings.ReplaceAll(helms, "\n", "\r\n"), both, ""},
		{"after a marker, dashes further in", "%YAML 1.2\n---\n# of whom\napiVersion: v1\nentries:\n    a:\n      -\n        version: 1.0.0\n        urls:\n          - a.tgz\n        digest: d\n", one, ""},
		{"quoted keys", "\"apiVersion\": \"v1\"\n\"entries\":\n  \"a\":\n    - \"version\": \"1.0.0\"\n      \"urls\":\n      - \"a.tgz\"\n      'digest': d # said so\n", one, ""},
		{"JSON", `{"apiVersion": "v1", "x": [{}], "entries": {"a": [{"version": "1.0.0", "urls": ["a.tgz"], "digest": "d", "home": {}}], "b": null}}`, one, ""},
		{"in one line, small", "apiVersion: v1\nentries: {a: [{version: 1.0.0, urls: [a.tgz], digest: d}]}", one, ""},
		{"anchors elsewhere", "apiVersion: v1\nentries:\n  a:\n  - maintainers: &m\n    - name: x\n    version: 1.0.0\n    digest: d\n    urls:\n    - a.tgz\n    more: *m\n    created: *m\n", one, ""},
		{"anchors where they matter, small", "apiVersion: v1\nentries:\n  a:\n  - version: &v 1.0.0\n    urls: [a.tgz]\n    digest: d\n", one, ""},
		{"no charts", "apiVersion: v1\nentries: {}\n", nil, ""},
		{"a long line", "apiVersion: v1\nentries:\n  a:\n  - icon: data:" + strings.Repeat("x", 3*maxLine) + "\n    version: 1.0.0\n    urls: [a.tgz]\n    digest: d\n", one, ""},
		{"versions without one", "apiVersion: v1\nentries:\n  a:\n  - urls: [b.tgz]\n  - version: 1.0.0\n    urls: [a.tgz]\n    digest: d\n", one, ""},
		{"a web page", "<!doctype html>\n<html>", nil, "web page"},
		{"a text", "Not Found\n", nil, "line 1: it is no index"},
		{"empty", "", nil, "empty"},
		{"another document", "kind: List\nitems: []\n", nil, "apiVersion is missing"},
		{"other JSON", `{"apiVersion": "v1", "entries": [1]}`, nil, "where an object"},
		{"cut off JSON", `{"apiVersion": "v1", "entries": {"a": [{"version": "1.`, nil, "EOF"},
		{"versions that are no list", "apiVersion: v1\nentries:\n  a:\n    version: 1.0.0\n", nil, "chart \"a\""},
		{"a name without end", "apiVersion: v1\nentries:\n  " + strings.Repeat("x", 300) + ":\n  - version: 1.0.0\n", nil, "no name of a chart"},
		{"too much of one version", "apiVersion: v1\nentries:\n  a:\n  - version: 1.0.0\n    urls:\n" + strings.Repeat("    - "+strings.Repeat("x", 1000)+"\n", 300), nil, "too long"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := read(test.text)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if test.err == "" && !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

// What is not written by lines, and large, is refused rather than held in memory.
func TestLargeOddIndex(t *testing.T) {
	text := "apiVersion: v1\nentries: {a: [{version: 1.0.0}]}\n" + strings.Repeat("# "+strings.Repeat("x", 1000)+"\n", 3000)
	if _, err := read(text); !errors.Is(err, errOdd) {
		t.Errorf("got %v", err)
	}
}

func TestPick(t *testing.T) {
	parse := func(names string) (out []Version) {
		for _, name := range strings.Fields(names) {
			out = append(out, Version{Version: name})
		}
		return out
	}
	tests := []struct{ versions, constraint, want string }{
		{"1.0.0 2.0.0 1.5.0", "", "2.0.0"},
		{"1.0.0 2.0.0-rc.1", "*", "1.0.0"},
		{"1.0.0 2.0.0-rc.1", ">=1.0.0-0", "2.0.0-rc.1"},
		{"1.0.0 2.0.0-rc.1", "2.0.0-rc.1", "2.0.0-rc.1"},
		{"2.0.0-rc.1", "*", ""},
		{"1.0.0 1.9.0 2.1.0 2.0.0", "1.x", "1.9.0"},
		{"1.0.0 1.9.0 2.0.0", "^1.0.0", "1.9.0"},
		{"1.0.0 1.9.0 2.0.0", ">=1.0.0 <1.9.0", "1.0.0"},
		{"v1.2.0 1.1.0", "1.2.0", "v1.2.0"},
		{"1.2.0+a 1.2.0+b", "1.2.0+b", "1.2.0+b"},
		{"latest 1.0.0 nothing", "*", "1.0.0"},
		{"latest", "latest", "latest"},
		{"1.0.0", "2.x", ""},
		{"", "*", ""},
	}
	for _, test := range tests {
		got, err := Pick(parse(test.versions), test.constraint)
		if got.Version != test.want || (test.want == "") != errors.Is(err, ErrNoVersion) {
			t.Errorf("%q of %q is %q, %v, want %q", test.constraint, test.versions, got.Version, err, test.want)
		}
	}
	if _, err := Pick(parse("1.0.0"), "not a range"); err == nil || errors.Is(err, ErrNoVersion) {
		t.Errorf("got %v", err)
	}
}

// Whatever is read by lines reads as the YAML library does.
func FuzzReadIndex(f *testing.F) {
	f.Add(helms)
	f.Add("apiVersion: v1\nentries:\n  a:\n  - version: 1\n    urls:\n    - x\n  - version: &a 2\n  b: []\n")
	f.Add("\"apiVersion\": v1\nentries:\n a:\n -\n  version: 'x\n   y'\n")
	f.Fuzz(func(t *testing.T, text string) {
		var got []string
		err := readLines(strings.NewReader(text), func(chart string, v Version) error {
			if v.Version != "" {
				got = append(got, line(chart, v))
			}
			return nil
		})
		if err != nil {
			return
		}
		var whole struct {
			APIVersion string `yaml:"apiVersion"`
			Entries    yaml.Node
		}
		if yaml.Unmarshal([]byte(text), &whole) != nil {
			return // what is no YAML may be anything
		}
		var want []string
		for i := 0; i+1 < len(whole.Entries.Content); i += 2 {
			var versions []wholeVersion
			if whole.Entries.Content[i+1].Decode(&versions) != nil {
				return
			}
			for _, v := range versions {
				if v.Version != "" {
					want = append(want, line(whole.Entries.Content[i].Value, v.version()))
				}
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q\nby lines %q\nas a whole %q", text, got, want)
		}
	})
}
