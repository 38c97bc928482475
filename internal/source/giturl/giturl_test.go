package giturl

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	same := []string{
		"https://git.example.org/Team/App", "https://git.example.org/team/app.git", "https://git.example.org/team/app/",
		"http://git.example.org:80/team/app.git", "https://ada:secret@GIT.example.org:8443/team/app.git",
		"ssh://git@git.example.org/team/app.git", "ssh://git@git.example.org:2222/team/app", "git@git.example.org:team/app.git",
		"git.example.org:team/app", " https://git.example.org//team/./app.git ", "https://git.example.org./team/app",
	}
	for _, u := range same {
		if got := Canonical(u); got != "git.example.org/team/app" {
			t.Errorf("%s: got %q", u, got)
		}
	}
	for _, u := range []string{
		"https://git.example.org/team/app2", "https://git.example.org/team", "https://example.org/team/app", "file:///team/app",
	} {
		if got := Canonical(u); got == "git.example.org/team/app" || got == "" {
			t.Errorf("%s: got %q", u, got)
		}
	}
	for _, u := range []string{"oci://Ghcr.io/Team/app", "oci://ghcr.io/team/app/"} {
		if got := Canonical(u); got != "oci://ghcr.io/team/app" {
			t.Errorf("%s: got %q", u, got)
		}
	}
	for _, u := range []string{"oci://", "oci://ghcr.io", "", "x", "ftp://a/b", "https://", "https://a", "a b:c", "-oProxyCommand=x:y", "ssh://-oX/y", "..:0", "https://a../b", "user:pw@host:x", "https://a/b?c", "https://a/\x00"} {
		if got := Canonical(u); got != "" {
			t.Errorf("%q: got %q", u, got)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"https://u:p@Example.org:443/a/b.git": "https https://example.org/a/b.git example.org:443 /a/b.git",
		"http://example.org:3000/a":           "http http://example.org:3000/a example.org:3000 /a",
		"ssh://git@example.org:2222/~me/a":    "ssh ssh://git@example.org:2222/~me/a example.org:2222 /~me/a",
		"git@example.org:a/b.git":             "ssh ssh://git@example.org/a/b.git example.org:22 a/b.git",
		"git@[::1]:a":                         "ssh ssh://git@[::1]/a [::1]:22 a",
		"https://[::1]:8443/a":                "https https://[::1]:8443/a [::1]:8443 /a",
		"file:///srv/../srv/a.git/":           "file file:///srv/a.git : /srv/a.git",
		"/srv/a":                              "file file:///srv/a : /srv/a",
		"https://example.org/a%20b":           "https https://example.org/a%20b example.org:443 /a b",
	} {
		a, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := fmt.Sprintf("%s %s %s %s", a.Scheme, a, a.HostPort(), a.Path); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://u:hunter2@h/p", "git@h:p", "file:///x", "ssh://h:22/x", "https://u:hunter2/x@h/p", "[::1]:x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := Parse(text)
		if err != nil {
			if !slices.Contains([]error{errUnreadable, errScheme, errQuery, errPath}, err) {
				t.Errorf("an error that may repeat its text: %v", err)
			}
			return
		}
		if len(text) > maxLen/4 { // escaping makes it longer
			return
		}
		again, err := Parse(a.String())
		if err != nil || again.Host != a.Host || again.Scheme != a.Scheme || Canonical(a.String()) != Canonical(text) {
			t.Errorf("%q → %q → %q, %v", text, a, again, err)
		}
		if a.Password != "" && len(a.Password) > 8 && !strings.Contains(a.Host+a.Path+a.User, a.Password) && strings.Contains(fmt.Sprintf("%s %#v", a, a), a.Password) {
			t.Errorf("%q shows its password: %s", text, a)
		}
	})
}
