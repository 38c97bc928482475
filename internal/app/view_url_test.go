package app

import "testing"

func TestURLsNeverShowPasswords(t *testing.T) {
	for in, want := range map[string]string{
		"https://u:secret@h/x":      "https://u:xxxxx@h/x",
		"git@h:x.git":               "git@h:x.git",
		"https://u:se%zzcret@h/x":   "(invalid URL)",
		"ssh://git@h:2222/team/x":   "ssh://git@h:2222/team/x",
		"https://h/x?token=visible": "https://h/x?token=visible", // a query is no place for secrets
	} {
		if got := ViewURL(in); got != want {
			t.Errorf("ViewURL(%q) = %q, want %q", in, got, want)
		}
	}
}
