package world

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Change changes, adds and removes a few objects of each app at random. What
// becomes of it is for Push.
func (w *World) Change(random *rand.Rand) {
	for _, app := range Apps() { // in this order, so that a seed means something
		files := w.Files[app]
		for range 1 + random.IntN(3) {
			name := fmt.Sprintf("%s-%d", app, random.IntN(12))
			if _, there := files[name]; there && random.IntN(3) == 0 {
				delete(files, name)
				continue
			}
			files[name] = w.Value()
		}
		files[fmt.Sprintf("%s-pin-%d", app, random.IntN(Pins))] = w.Value()
	}
}

// Value is one that no object had before.
func (w *World) Value() string {
	w.seq++
	return fmt.Sprint(w.seq)
}

// Commit changes a few objects at random, pushes, and tells the engine; that
// the engine may be dead at the time is part of it.
func (w *World) Commit(random *rand.Rand) string {
	w.T.Helper()
	w.Change(random)
	head := w.Push()
	w.Tell()
	return head
}

// Push makes Git hold what Files says, and gives the commit.
func (w *World) Push() string {
	w.T.Helper()
	w.write()
	return w.push("change")
}

// PushWithout pushes a commit in which the whole directories of apps are
// missing: nothing that a person means by "deliver nothing".
func (w *World) PushWithout(apps ...string) string {
	w.T.Helper()
	w.write()
	w.Repo.Remove(apps...)
	return w.push("the directory is gone")
}

// Note remembers that Git is about to hold what Files says at a commit that
// was made by other means than Push.
func (w *World) Note(commit string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.states = append(w.states, State{Commit: commit, At: time.Now(), Files: clone(w.Files)})
}

func (w *World) push(message string) string {
	w.T.Helper()
	head := w.Repo.Commit(message)
	w.Note(head)
	w.Repo.Git("push", "--quiet", "--force", "origin", "HEAD")
	return head
}

// write makes the clone hold what Files says.
func (w *World) write() {
	for app, files := range w.Files {
		if err := os.RemoveAll(filepath.Join(w.Repo.Dir, app)); err != nil {
			w.T.Fatal(err)
		}
		out := map[string]string{}
		for name, value := range files {
			out[app+"/"+name+".yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %q\n", name, value)
		}
		w.Repo.Write(out)
	}
}

// Tell sends the engine a push event. It need not arrive.
func (w *World) Tell() {
	body := fmt.Sprintf(`{"url":%q,"ref":"refs/heads/main"}`, w.URL)
	client := http.Client{Timeout: 5 * time.Second}
	if resp, err := client.Post("http://"+w.listen+"/hooks/push", "application/json", strings.NewReader(body)); err == nil {
		resp.Body.Close()
	}
}

// Head is the last commit.
func (w *World) Head() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.states[len(w.states)-1].Commit
}

// state is what Git held at a commit.
func (w *World) state(commit string) (State, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range slices.Backward(w.states) {
		if s.Commit == commit {
			return s, true
		}
	}
	return State{}, false
}

// held are the states that an engine may be carrying out at a time: what Git
// held then, and before that, if the engine is still at it.
func (w *World) held(at time.Time) []State {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []State
	for _, s := range slices.Backward(w.states) {
		if !s.At.After(at) && len(out) < 2 {
			out = append(out, s)
		}
	}
	return out
}
