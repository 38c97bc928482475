package render

import (
	"io/fs"
	"strings"
	"testing"
)

func TestParseRemote(t *testing.T) {
	for text, want := range map[string]struct{ url, ref, dir string }{
		"github.com/org/repo":                                   {"https://github.com/org/repo", "", "."},
		"github.com/org/repo/deep/er?ref=v1":                    {"https://github.com/org/repo", "v1", "deep/er"},
		"GitHub.com/org/repo//deep?version=v1":                  {"https://github.com/org/repo", "v1", "deep"},
		"github.com:org/repo//deep":                             {"https://github.com/org/repo", "", "deep"},
		"git@github.com:org/repo//deep":                         {"ssh://git@github.com/org/repo", "", "deep"},
		"https://github.com/org/repo.git//deep?ref=a/b":         {"https://github.com/org/repo.git", "a/b", "deep"},
		"https://me@github.com/org/repo?ref=v1&version=v2":      {"https://github.com/org/repo", "v1", "."},
		"https://host.example/a/b/c/d":                          {"https://host.example/a/b", "", "c/d"},
		"https://host.example/group/sub/repo.git/x/y":           {"https://host.example/group/sub/repo.git", "", "x/y"},
		"https://host.example/group/sub/repo//x/../y/":          {"https://host.example/group/sub/repo", "", "y"},
		"http://127.0.0.1:8080/repo.git":                        {"http://127.0.0.1:8080/repo.git", "", "."},
		"git::https://host.example/org/repo.git//x?ref=main":    {"https://host.example/org/repo.git", "main", "x"},
		"git::git@host.example:org/repo.git//x":                 {"git@host.example:org/repo.git", "", "x"},
		"ssh://git@host.example:7999/org/repo.git/x":            {"ssh://git@host.example:7999/org/repo.git", "", "x"},
		"user@host.example:org/repo":                            {"user@host.example:org/repo", "", "."},
		"https://me@dev.azure.com/org/project/_git/repo/x?ref=": {"https://dev.azure.com/org/project/_git/repo", "", "x"},
		"file:///srv/repos/a.git//x":                            {"file:///srv/repos/a.git", "", "x"},
		"file:///srv/repos/a":                                   {"file:///srv/repos/a", "", "."},
		"https://host.example/org/x.yaml?ref=v1":                {"https://host.example/org/x.yaml", "v1", "."},
	} {
		got, dir, err := ParseRemote(text)
		if err != nil || got != (Remote{want.url, want.ref}) || dir != want.dir {
			t.Errorf("%s: got %+v %s, %v", text, got, dir, err)
		}
	}
	for _, text := range []string{
		"", "https://", "https:///org/repo", "https://host.example", "https://host.example/repo", "git://host.example/org/repo",
		"ftp://host.example/org/repo", "https://me:hunter2@host.example/org/repo", "me:hunter2@host.example:org/repo",
		"https://host.example/org/repo//../../x", "https://host.example/install.yaml", "https://host.example/a/b/install.yml",
		"host.example/org/repo", "host:org/repo", "file://", "https://host.example/org/repo?ref=%zz",
	} {
		got, dir, err := ParseRemote(text)
		if err == nil {
			t.Errorf("%s: got %+v %s", text, got, dir)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func FuzzParseRemote(f *testing.F) {
	for _, text := range []string{"github.com/org/repo//a?ref=b", "git::git@h:a/b.git/c", "https://u:p@h/a//b", "file:///a/b"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, dir, err := ParseRemote(text)
		if err != nil {
			return
		}
		if !fs.ValidPath(dir) {
			t.Errorf("directory %q", dir)
		}
		mount := r.Mount()
		if !fs.ValidPath(mount) || repositoryOf(mount) != mount || repositoryOf(mount+"/x") != mount {
			t.Errorf("mount %q", mount)
		}
		if at, within, ok := RemoteAt(mount + "/a/b"); !ok || at != r || within != "a/b" {
			t.Errorf("%+v stands at %+v %q", r, at, within)
		}
		if at, within, ok := RemoteAt(mount); !ok || at != r || within != "." {
			t.Errorf("%+v stands at %+v %q", r, at, within)
		}
		if isRemote(mount) {
			t.Errorf("%q would be called up", mount)
		}
	})
}
