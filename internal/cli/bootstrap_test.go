package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

// What is read from files is what the dialect reads of the Secret again.
func TestGitSecret(t *testing.T) {
	password, key, known, ca := writeFile(t, "correct-horse\n"), writeFile(t, "KEY"), writeFile(t, "HOSTS"), writeFile(t, "CA")
	https, ssh := "https://git.example.org/fleet.git", "git@git.example.org:fleet.git"
	for _, c := range []struct {
		name string
		opts bootstrapOptions
		want app.Credentials
		err  string
	}{
		{"nothing", bootstrapOptions{url: https}, app.Credentials{}, ""},
		{"password", bootstrapOptions{url: https, username: "robot", passwordFile: password}, app.Credentials{Username: "robot", Password: "correct-horse"}, ""},
		{"password of nobody", bootstrapOptions{url: https, passwordFile: password}, app.Credentials{Username: "git", Password: "correct-horse"}, ""},
		{"password from standard input", bootstrapOptions{url: https, username: "robot", passwordFile: "-"}, app.Credentials{Username: "robot", Password: "battery"}, ""},
		{"an authority", bootstrapOptions{url: https, caFile: ca}, app.Credentials{CA: []byte("CA")}, ""},
		{"ssh", bootstrapOptions{url: ssh, sshKeyFile: key, sshKnownHosts: known}, app.Credentials{Username: "git", SSHKey: []byte("KEY"), KnownHosts: []byte("HOSTS")}, ""},
		{"ssh without a key", bootstrapOptions{url: ssh}, app.Credentials{}, "--ssh-key-file"},
		{"ssh without hosts", bootstrapOptions{url: ssh, sshKeyFile: key}, app.Credentials{}, "--ssh-known-hosts-file"},
		{"a key for https", bootstrapOptions{url: https, sshKeyFile: key}, app.Credentials{}, "for ssh URLs"},
		{"no password", bootstrapOptions{url: https, username: "robot"}, app.Credentials{}, "--password-file"},
		{"no file", bootstrapOptions{url: https, passwordFile: filepath.Join(t.TempDir(), "none")}, app.Credentials{}, "--password-file"},
		{"no URL", bootstrapOptions{url: "ftp://a/b"}, app.Credentials{}, "--url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &program{env: Environment{Home: t.TempDir()}}
			secret, err := p.gitSecret(strings.NewReader("battery\n"), c.opts)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || explain(err).code != ExitUsage {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			address := c.opts.url
			if address == ssh {
				address = "ssh://git@git.example.org/fleet.git"
			}
			got := flux.Credentials(secret, address)
			if got.Err != nil || got.Username != c.want.Username || got.Password != c.want.Password ||
				!bytes.Equal(got.SSHKey, c.want.SSHKey) || !bytes.Equal(got.KnownHosts, c.want.KnownHosts) || !bytes.Equal(got.CA, c.want.CA) {
				t.Errorf("the Secret is not read as it was meant: %v", got.Err)
			}
		})
	}
}

// Without a terminal on both ends nobody is asked, and the answer is no.
func TestConfirm(t *testing.T) {
	for _, c := range []struct {
		in       bool
		out      bool
		answer   string
		want     bool
		question bool
	}{
		{true, true, "y\n", true, true}, {true, true, "yes\n", true, true}, {true, true, "\n", false, true}, {true, true, "no\n", false, true},
		{true, true, "", false, true}, {false, true, "y\n", false, false}, {true, false, "y\n", false, false},
	} {
		var said bytes.Buffer
		h := handover{program: &program{env: Environment{InputTerminal: c.in, ErrorTerminal: c.out}}, in: strings.NewReader(c.answer), stderr: &said}
		if got := h.confirm("Really?"); got != c.want || (said.Len() > 0) != c.question {
			t.Errorf("%+v: got %v, said %q", c, got, said.String())
		}
	}
}
