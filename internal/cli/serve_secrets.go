package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"time"

	"plumb.dev/plumb/internal/source/webhook"
)

// hookSecrets are the secrets of webhooks, as their directory has them now: a
// Secret that is mounted follows what someone changes.
type hookSecrets struct {
	dir   string
	log   *slog.Logger
	clock func() time.Time

	mu     sync.Mutex
	last   webhook.Secrets // that could be read
	read   time.Time
	failed string // why they could not be read the last time, "" if they could
}

// hookSecretsFor is how long the secrets that were read count: whoever sends
// events without end does not make the disk busy.
const hookSecretsFor = time.Second

// openHookSecrets reads a directory; "" is none, and there are no secrets.
func openHookSecrets(dir string, log *slog.Logger) (*hookSecrets, error) {
	h := &hookSecrets{dir: dir, log: log, clock: time.Now}
	var err error
	h.last, err = webhookSecrets(dir)
	return h, err
}

// now gives the secrets. Those that cannot be read are as they were: taken for
// none, they would let everyone in.
func (h *hookSecrets) now() webhook.Secrets {
	if h.dir == "" {
		return webhook.Secrets{}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock()
	if age := now.Sub(h.read); age >= 0 && age < hookSecretsFor {
		return h.last
	}
	h.read = now
	found, err := webhookSecrets(h.dir)
	if err != nil {
		if err.Error() != h.failed {
			h.log.Warn("webhook secrets cannot be read; those before count", "error", err)
		}
		h.failed = err.Error()
		return h.last
	}
	if h.failed != "" || !reflect.DeepEqual(found, h.last) {
		h.log.Info("webhook secrets read anew", "directory", h.dir)
	}
	h.last, h.failed = found, ""
	return h.last
}

// webhookSecrets reads a directory as a mounted Secret gives it: a file for
// each kind of server, each line a secret.
func webhookSecrets(dir string) (webhook.Secrets, error) {
	var s webhook.Secrets
	if dir == "" {
		return s, nil
	}
	files := map[string]*[]string{
		"github": &s.GitHub, "gitlab": &s.GitLab, "gitea": &s.Gitea, "bitbucket": &s.Bitbucket, "generic": &s.Generic,
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return s, fail(ExitOther, "webhook secrets: %w", err).hint("--webhook-secrets is a directory, such as a mounted Secret")
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // how Kubernetes mounts
		}
		list, ok := files[e.Name()]
		if !ok {
			return s, usage("webhook secrets: there is no kind of server %q, in %s", e.Name(), dir).
				hint("the files are called github, gitlab, gitea, bitbucket and generic")
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return s, fail(ExitOther, "webhook secrets: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" {
				*list = append(*list, line)
			}
		}
		if len(*list) == 0 {
			// Taken for no secret, it would let everyone in.
			return s, fail(ExitOther, "webhook secrets: %s is empty", filepath.Join(dir, e.Name())).hint("write the secret to it, or remove it")
		}
	}
	return s, nil
}
