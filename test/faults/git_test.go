package faults

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"plumb.dev/plumb/internal/sandbox/faultproxy"
	"plumb.dev/plumb/test/internal/world"
)

// faults are all of them.
func faults() []fault {
	var all []fault
	all = append(all, gitFaults()...)
	all = append(all, historyFaults()...)
	all = append(all, apiFaults()...)
	all = append(all, diskFaults()...)
	return all
}

// both is what the source of each dialect says of a repository.
func both(text string) []saying { return []saying{source(text), application(text)} }

// gitFaults are those of a Git server, and of the way to it.
func gitFaults() []fault {
	over := func(faults ...faultproxy.Fault) func(*suite) func() {
		return func(s *suite) func() {
			s.git.Set(faults...)
			return s.git.Clear
		}
	}
	served := func(instead func(http.ResponseWriter, *http.Request, http.Handler)) func(*suite) func() {
		return func(s *suite) func() { return s.front.set(instead) }
	}
	listing, fetching := faultproxy.Method("GET", "/info/refs"), faultproxy.Method("POST", "/git-upload-pack")
	const plain, html = "text/plain", "text/html; charset=utf-8"
	return []fault{
		{name: "git/down", says: both("connection refused"), begin: func(s *suite) func() {
			s.git.Down()
			return func() {
				if err := s.git.Up(); err != nil {
					s.T.Fatal(err)
				}
			}
		}},
		{name: "git/silent", says: []saying{source("no complete answer in time")}, begin: func(s *suite) func() {
			s.git.Freeze()
			return s.git.Thaw
		}},
		{name: "git/hangs", says: []saying{source("no complete answer in time")}, begin: over(faultproxy.Fault{Do: faultproxy.Hang()})},
		{name: "git/late", harmless: true, begin: over(faultproxy.Fault{Delay: 1500 * time.Millisecond})},
		{name: "git/slow", harmless: true, begin: over(faultproxy.Fault{Do: faultproxy.Slow(2000)})},
		{name: "git/listing-cut", says: both("connection reset|unexpected EOF"), begin: over(faultproxy.Fault{Match: listing, Do: faultproxy.Cut(60)})},
		{name: "git/pack-cut", says: both("connection reset|unexpected EOF"), begin: over(faultproxy.Fault{Match: fetching, Do: faultproxy.Cut(300)})},
		{name: "git/pack-stalls", says: []saying{source("no complete answer in time")}, begin: over(faultproxy.Fault{Match: fetching, Do: faultproxy.Stall(300)})},
		{name: "git/pack-ends-early", says: both("unexpected EOF|not of the Git protocol|storing the fetched objects"),
			begin: served(packs(func(b []byte) []byte { return b[:len(b)*2/3] }))},
		{name: "git/pack-damaged", says: both("storing the fetched objects"),
			begin: served(packs(func(b []byte) []byte {
				b[len(b)*2/3] ^= 0xff
				return b
			}))},
		{name: "git/unauthorized", says: both("asks for credentials: HTTP 401"), begin: served(answers(401, plain, "no", "WWW-Authenticate", `Basic realm="git"`))},
		{name: "git/forbidden", says: both("asks for credentials: HTTP 403"), begin: served(answers(403, plain, "no"))},
		{name: "git/not-found", says: both("no such repository: HTTP 404"), begin: served(answers(404, plain, "what?"))},
		{name: "git/too-many", says: both("HTTP 429"), begin: served(answers(429, plain, "slowly"))},
		{name: "git/too-many-until", says: both("HTTP 429"), lasts: 3 * time.Second, begin: func(s *suite) func() {
			var asked atomic.Int64
			killed := s.Killed["engine"]
			refuse := answers(429, plain, "slowly", "Retry-After", "6")
			end := s.front.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				asked.Add(1)
				refuse(w, r, next)
			})
			return func() {
				end()
				// The sources share a look, or look once each; so does each new engine.
				if n := int(asked.Load()); n > 2*(1+s.Killed["engine"]-killed) {
					s.T.Errorf("told to come back after 6 s, the engine asked %d times", n)
				}
			}
		}},
		{name: "git/internal-error", says: both("HTTP 500"), begin: served(answers(500, plain, "oops"))},
		{name: "git/unavailable", says: both("HTTP 503"), begin: served(answers(503, html, "<h1>maintenance</h1>"))},
		{name: "git/login-page", says: both("not Git's smart protocol"), begin: served(answers(200, html, "<html><form>password?</form></html>"))},
		{name: "git/redirected-to-login", says: both("redirects to"), begin: served(answers(302, html, "", "Location", "/login"))},
		{name: "git/wrong-content", says: both("not of the Git protocol|unexpected"),
			begin: served(answers(200, "application/x-git-upload-pack-advertisement", "<html>password?</html>"))},
	}
}

// historyFaults are of what the server holds, not of how it answers.
func historyFaults() []fault {
	return []fault{
		{name: "history/empty", says: both("no |empty|HEAD"), begin: func(s *suite) func() {
			if err := s.Server.Create(s.T.Context(), "empty"); err != nil {
				s.T.Fatal(err)
			}
			return s.front.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				r.URL.Path = strings.Replace(r.URL.Path, "/fleet.git/", "/empty.git/", 1)
				next.ServeHTTP(w, r)
			})
		}},
		{name: "history/branch-gone", quiet: true, says: []saying{source(`no branch "main"`), application("HEAD of the repository points to no commit")}, begin: func(s *suite) func() {
			s.Repo.Git("push", "--quiet", "origin", ":main")
			s.Tell()
			return func() {
				s.Commit(s.random)
			}
		}},
		{name: "history/force-pushed", quiet: true, harmless: true, begin: func(s *suite) func() {
			s.rewrite()
			s.Tell()
			return func() {}
		}},
		{name: "history/force-pushed-and-collected", quiet: true, harmless: true, begin: func(s *suite) func() {
			s.rewrite()
			s.collect()
			s.Tell()
			return func() {}
		}},
		// The server lists a commit that it has lost, as after a restore, or
		// with a broken disk.
		{name: "history/objects-gone", quiet: true, says: []saying{source("."), application(".")}, begin: func(s *suite) func() {
			s.git.Down()
			s.Commit(s.random)
			objects := filepath.Join(s.Server.Dir("fleet"), "objects")
			s.must(os.Rename(objects, objects+".away"))
			s.must(os.MkdirAll(filepath.Join(objects, "pack"), 0o755))
			s.must(os.MkdirAll(filepath.Join(objects, "info"), 0o755))
			s.must(s.git.Up())
			s.Tell()
			return func() {
				s.must(os.RemoveAll(objects))
				s.must(os.Rename(objects+".away", objects))
			}
		}},
		{name: "history/path-gone", quiet: true, says: []saying{kustomization("path not found"), application("path")}, begin: func(s *suite) func() {
			s.PushWithout(world.Apps()...)
			s.Tell()
			return func() { s.Commit(s.random) }
		}},
		{name: "history/manifest-broken", quiet: true, says: []saying{kustomization("broken.yaml"), application("broken.yaml")}, begin: func(s *suite) func() {
			for _, app := range world.Apps() {
				s.Repo.Write(map[string]string{app + "/broken.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x\n"})
			}
			s.Note(s.Repo.Push("broken"))
			s.Tell()
			return func() { s.Commit(s.random) }
		}},
	}
}

// rewrite replaces the history by one that has nothing in common with it.
func (s *suite) rewrite() {
	s.T.Helper()
	s.Change(s.random)
	s.Repo.Git("checkout", "--quiet", "--orphan", "rewritten")
	head := s.Push()
	s.Repo.Git("branch", "--quiet", "--force", "main", head)
	s.Repo.Git("checkout", "--quiet", "main")
	s.Repo.Git("push", "--quiet", "--force", "origin", "main")
	s.Repo.Git("branch", "--quiet", "-D", "rewritten")
	s.Repo.Git("push", "--quiet", "origin", ":rewritten")
}

// collect removes from the server whatever no branch holds.
func (s *suite) collect() {
	s.T.Helper()
	dir := s.Server.Dir("fleet")
	s.Repo.Git("--git-dir", dir, "reflog", "expire", "--expire=now", "--all")
	s.Repo.Git("--git-dir", dir, "gc", "--quiet", "--prune=now")
}

func (s *suite) must(err error) {
	s.T.Helper()
	if err != nil {
		s.T.Fatal(err)
	}
}
