package sops

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func readKeys(t testing.TB, names ...string) *Keys {
	t.Helper()
	data := map[string][]byte{}
	if len(names) == 0 {
		entries, err := os.ReadDir("testdata/keys")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	for _, name := range names {
		data[name] = read(t, "testdata/keys/"+name)
	}
	keys, err := ParseKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestFiles opens files that the sops command made, and gives, byte for byte,
// what `sops decrypt` gives.
func TestFiles(t *testing.T) {
	keys := readKeys(t)
	wants, err := filepath.Glob("testdata/files/*.want")
	if err != nil || len(wants) < 24 {
		t.Fatal(len(wants), err)
	}
	for _, want := range wants {
		name := strings.TrimSuffix(want, ".want")
		got, encrypted, err := keys.Decrypt(read(t, name), FormatOf(name))
		if err != nil || !encrypted {
			t.Errorf("%s: %v %v", name, encrypted, err)
			continue
		}
		if w := read(t, want); string(got) != string(w) {
			t.Errorf("%s gives:\n%s\nwant:\n%s", name, got, w)
		}
	}
}

// A comment of several lines, the first of which is empty, is encrypted by sops
// as it is, and sops itself panics when it is to write it.
func TestBlankComment(t *testing.T) {
	got, encrypted, err := readKeys(t).Decrypt(read(t, "testdata/files/blank-comment.ini"), INI)
	if err != nil || !encrypted || !strings.Contains(string(got), "; \n; ") {
		t.Errorf("%v %v\n%s", encrypted, err, got)
	}
}

// TestForged: what was changed without sops is refused, wherever it stands,
// and no error tells a value.
func TestForged(t *testing.T) {
	keys := readKeys(t)
	regex := string(read(t, "testdata/files/regex.yaml"))
	for name, c := range map[string]struct{ from, to, want string }{
		"a plain value":      {"name: db", "name: other", "it was edited without sops"},
		"a plain value more": {"namespace: shop", "namespace: shop\n    more: TOPSECRET", "it was edited without sops"},
		"a value moved":      {"    user: ENC", "    root: ENC", "line 10: stringData.root: the value cannot be decrypted"},
		"a value in clear":   {`    empty: ""`, "    empty: TOPSECRET", "line 13: stringData.empty: the value is not encrypted, and should be"},
		"a number in clear":  {`    empty: ""`, "    empty: 5", "stringData.empty is not encrypted, and should be"},
		"a value cut":        {",type:str]\n    multi", ",type:bool]\n    multi", "is no bool"},
		"no sum":             {"    mac: ENC", "    mac: \"\"\n    old: ENC", "does not match"},
		"another time":       {`lastmodified: "2026`, `lastmodified: "2025`, "does not match"},
		"no time":            {`lastmodified: "2026`, `lastmodified: "x2026`, "no time"},
		"another rule":       {"^(data|stringData)$", "^(data|stringData|metadata)$", "metadata.name: the value is not encrypted"},
		"a bad rule":         {"^(data|stringData)$", "^(data|stringData$", "the rule for what is encrypted"},
		"two sorts of rules": {"    encrypted_regex:", "    encrypted_comment_regex: x\n    encrypted_regex:", "more than one rule"},
		"two rules":          {"    encrypted_regex:", "    encrypted_suffix: x\n    encrypted_regex:", "more than one rule"},
		"an alias":           {"apiVersion: v1\n", "apiVersion: &a v1\nextra: *a\n", "cannot have aliases"},
		"broken":             {"kind: Secret", "kind: [Secret", "no valid YAML"},
		"no recipient":       {"    age:", "    nobody:", "names no key"},
		"a broken recipient": {"-----BEGIN AGE", "-----BEGIN EGA", "none of the given keys opens"},
	} {
		if !strings.Contains(regex, c.from) {
			t.Fatalf("%s: %s is not there", name, c.from)
		}
		_, encrypted, err := keys.Decrypt([]byte(strings.Replace(regex, c.from, c.to, 1)), YAML)
		if err == nil || !strings.Contains(err.Error(), c.want) || !encrypted {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s: a value is told: %v", name, err)
		}
	}
	for name, c := range map[string]struct{ file, from, to, want string }{
		"a comment taken out":   {"comment-enc.yaml", "    # sops:enc far away\n", "", "does not match"},
		"a comment added":       {"comment-enc.yaml", "after: clear", "# sops:enc\nafter: TOPSECRET", "after: the value is not encrypted"},
		"a comment elsewhere":   {"comment-enc.yaml", "null2: null\nthen", "null2: null\n# sops:enc\nthen", "then: the value is not encrypted"},
		"a comment of a list":   {"comment-enc.yaml", "    - plain\n", "    # sops:enc\n    - plain\n", "list: the value is not encrypted"},
		"a comment that opens":  {"comment-unenc.yaml", "    # sops:plain\n    open: 1", "    open: 1", "data.open is not encrypted"},
		"a bad comment rule":    {"comment-enc.yaml", "regex: sops:enc", "regex: '(sops'", "the rule for what is encrypted"},
		"INI, a plain value":    {"settings.ini", "clear text", "other text", "it was edited without sops"},
		"INI, another section":  {"settings.ini", "[database]", "[other]", "other.user: the value cannot be decrypted"},
		"INI, a value in clear": {"settings.ini", "empty            = ", "empty = TOPSECRET", "database.empty: the value is not encrypted"},
		"INI, twice sops":       {"settings.ini", "[empty]", "[sops]", "more than one section"},
		"INI, that is none":     {"settings.ini", "[empty]", "TOPSECRET", "no INI file"},
	} {
		data := string(read(t, "testdata/files/"+c.file))
		if !strings.Contains(data, c.from) {
			t.Fatalf("%s: %s is not there", name, c.from)
		}
		_, encrypted, err := keys.Decrypt([]byte(strings.Replace(data, c.from, c.to, 1)), FormatOf(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) || !encrypted || strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	deep := strings.Replace(string(read(t, "testdata/files/vars.env")), "sops_version", "sops_v"+strings.Repeat("__map_v", 1<<19), 1)
	if _, _, err := keys.Decrypt([]byte(deep), Dotenv); err == nil || !strings.Contains(err.Error(), "metadata") {
		t.Errorf("deep metadata: %v", err)
	}
	long := append(bytes.Repeat([]byte("# long\n"), MaxSize/7), regex...)
	if _, _, err := keys.Decrypt(long, YAML); err == nil || !strings.Contains(err.Error(), "bytes") {
		t.Errorf("a long file: %v", err)
	}
}

func TestKeys(t *testing.T) {
	for file, names := range map[string][]string{
		"secret.yaml":    {"one.agekey"},
		"pq.yaml":        {"pq.agekey"},
		"pgp-rsa.yaml":   {"rsa.asc"},
		"pgp-curve.yaml": {"curve.asc"},
		"shamir.yaml":    {"pq.agekey", "two.agekey"}, // two of three
	} {
		data := read(t, "testdata/files/"+file)
		got, _, err := readKeys(t, names...).Decrypt(data, YAML)
		if err != nil || string(got) != string(read(t, "testdata/files/"+file+".want")) {
			t.Errorf("%s with %v: %v", file, names, err)
		}
		if len(names) > 1 {
			_, _, err := readKeys(t, names[0]).Decrypt(data, YAML)
			if err == nil || !strings.Contains(err.Error(), "encrypted for age age1") {
				t.Errorf("%s with one of %v: %v", file, names, err)
			}
		}
		for _, none := range []*Keys{nil, {}} {
			if _, _, err := none.Decrypt(data, YAML); err == nil || !strings.Contains(err.Error(), "none of the given keys opens") {
				t.Errorf("%s without keys: %v", file, err)
			}
		}
	}
	for name, data := range map[string][]byte{
		"x.agekey":       []byte("AGE-SECRET-KEY-TOPSECRET"),
		"x.asc":          []byte("TOPSECRET"),
		"public key.asc": read(t, "testdata/refused-keys/public.asc"),
		"passphrase.asc": read(t, "testdata/refused-keys/locked.asc"),
	} {
		_, err := ParseKeys(map[string][]byte{name: data})
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
	keys := readKeys(t)
	if text := fmt.Sprintf("%v %+v %#v %s", keys, keys, keys, keys); strings.Contains(text, "AGE-") || strings.Contains(text, "Entity") {
		t.Errorf("keys show: %s", text)
	}
}

// FuzzDecrypt: no file makes it panic or hang.
func FuzzDecrypt(f *testing.F) {
	names, _ := filepath.Glob("testdata/files/*")
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for format := range []Format{Binary, YAML, JSON, Dotenv, INI} {
			f.Add(data, format)
		}
	}
	keys := readKeys(f, "one.agekey")
	f.Fuzz(func(t *testing.T, data []byte, format int) {
		out, encrypted, err := keys.Decrypt(data, Format(format))
		if err == nil && !encrypted && string(out) != string(data) {
			t.Fatal("a file that is not encrypted is changed")
		}
	})
}
