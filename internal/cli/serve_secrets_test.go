package cli

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/source/webhook"
)

// secretsDir makes a directory as a Secret is mounted.
func secretsDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestWebhookSecrets(t *testing.T) {
	got, err := webhookSecrets(secretsDir(t, map[string]string{"github": "new\nold\n\n", "generic": " spaced \n", "..data": "x"}))
	want := webhook.Secrets{GitHub: []string{"new", "old"}, Generic: []string{"spaced"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %d of GitHub, %d generic (%v)", len(got.GitHub), len(got.Generic), err)
	}
	for name, test := range map[string]struct{ dir, want string }{
		"empty":     {secretsDir(t, map[string]string{"gitlab": "\n"}), "gitlab is empty"},
		"unknown":   {secretsDir(t, map[string]string{"github.txt": "x"}), `there is no kind of server "github.txt"`},
		"not there": {"/nowhere", "no such file"},
	} {
		if _, err := webhookSecrets(test.dir); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want one with %q", name, err, test.want)
		}
	}
}

// A mounted Secret is replaced by pointing a link at another directory.
func TestWebhookSecretsChange(t *testing.T) {
	mount := filepath.Join(t.TempDir(), "mount")
	point := func(to string) {
		t.Helper()
		next := mount + ".next"
		if err := os.Symlink(to, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, mount); err != nil {
			t.Fatal(err)
		}
	}
	old, changed := secretsDir(t, map[string]string{"github": "old"}), secretsDir(t, map[string]string{"github": "new\nold"})
	point(old)
	var log bytes.Buffer
	h, err := openHookSecrets(mount, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1000, 0)
	h.clock = func() time.Time { return now }
	wants := func(when string, want ...string) {
		t.Helper()
		if got := h.now(); !reflect.DeepEqual(got, webhook.Secrets{GitHub: want}) {
			t.Errorf("%s: %d secrets of GitHub", when, len(got.GitHub))
		}
	}
	wants("at the start", "old")
	if log.Len() > 0 {
		t.Errorf("logged: %s", &log)
	}
	point(changed)
	wants("at the same time", "old")
	now = now.Add(hookSecretsFor)
	wants("changed", "new", "old")
	now = now.Add(-time.Hour)
	point(old)
	wants("a clock set back", "old")
	point(secretsDir(t, map[string]string{"github": "\n"}))
	for range 3 {
		now = now.Add(hookSecretsFor)
		wants("not readable", "old")
	}
	if n := strings.Count(log.String(), "cannot be read"); n != 1 {
		t.Errorf("told %d times: %s", n, &log)
	}
	point(changed)
	now = now.Add(hookSecretsFor)
	wants("readable again", "new", "old")
	if strings.Contains(log.String(), "old") {
		t.Errorf("a secret is in the log: %s", &log)
	}
}
