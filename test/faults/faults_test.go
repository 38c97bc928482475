// Package faults lets things go wrong around a running engine, one after the
// other: Git, the API server, the disk, the clock. While a fault lasts and
// after it the same is asked each time: nothing is deleted that Git holds, no
// status claims more than is true, the engine asks no more than is decent, the
// status says what is wrong, and everything is delivered once the fault is
// over, without help.
package faults

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/sandbox/faultproxy"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
	"plumb.dev/plumb/test/internal/world"
)

func TestMain(m *testing.M) { sandboxtest.Main(m) }

var seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what is random")

// TestFaults lets every fault happen to one engine, which is never restarted.
func TestFaults(t *testing.T) {
	s := begin(t)
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			s.T = t
			defer func() { s.T = s.root }()
			s.suffer(f)
		})
	}
}

// fault is something that goes wrong for a while.
type fault struct {
	name string
	// begin lets it happen, and gives what ends it. If that pushes a commit,
	// the engine is to deliver that one.
	begin func(s *suite) (end func())
	// quiet: begin commits what is to be noticed; otherwise a commit is pushed
	// once the fault has begun.
	quiet bool
	// harmless: the commit is delivered while the fault lasts.
	harmless bool
	// says is what is to be read while the fault lasts.
	says []saying
	// lasts is how long it goes on after that; 0 is a second.
	lasts time.Duration
}

// saying is a text to be found in the conditions of a resource.
type saying struct {
	in   schema.GroupVersionResource
	name string
	text string // a regular expression
}

func source(text string) saying        { return saying{world.GitRepositories, world.Source, text} }
func kustomization(text string) saying { return saying{world.Kustomizations, world.Flux, text} }
func application(text string) saying   { return saying{world.Applications, world.Argo, text} }

// suite is a world with something to disturb on every side of the engine.
type suite struct {
	*world.World
	root   *testing.T
	random *rand.Rand
	git    *faultproxy.Proxy // between the engine and Git
	front  *front            // behind that one, for what only Git can do wrong
	api    *faultproxy.Proxy // between the engine and the API server
	disk   *disk             // that the engine's cache is on

	previous string // see deliveredAhead
}

func begin(t *testing.T) *suite {
	t.Logf("go test ./test/faults -seed %d", *seed)
	s := &suite{root: t, random: rand.New(rand.NewPCG(*seed, 1)), disk: newDisk(t)}
	s.World = world.New(t, world.Options{Namespace: "faulty", Cache: s.disk.cache(),
		GitVia: func(url string) string {
			s.front = newFront(t, url)
			s.git = proxied(t)(faultproxy.ForURL(s.front.url))
			return s.git.URL()
		},
		ClusterVia: func(kubeconfig string) string {
			s.api = proxied(t)(faultproxy.ForCluster(restConfig(t, kubeconfig)))
			file := filepath.Join(t.TempDir(), "kubeconfig")
			if err := s.api.WriteKubeconfig(file); err != nil {
				t.Fatal(err)
			}
			return file
		},
	})
	return s
}

func proxied(t *testing.T) func(*faultproxy.Proxy, error) *faultproxy.Proxy {
	return func(p *faultproxy.Proxy, err error) *faultproxy.Proxy {
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
}

// suffer lets a fault begin, last and end, and checks what has to hold.
func (s *suite) suffer(f fault) {
	s.T.Helper()
	log := s.AuditEnd()
	asked := s.count()
	began := time.Now()
	end := f.begin(s)
	ended := false
	defer func() {
		if !ended {
			end() // for the faults that come after
		}
	}()
	if !f.quiet {
		s.Commit(s.random)
	}
	for _, what := range f.says {
		s.says(what)
	}
	if f.harmless {
		s.Converged(s.Head())
	}
	s.last(f.lasts)
	asked.bounded(time.Since(began))

	end()
	ended = true
	over := time.Now()
	s.Converged(s.Head())
	recovered := time.Since(over)
	s.sound(log)
	asked.bounded(time.Since(began))
	s.Converged(s.Commit(s.random)) // nothing of it is left
	s.T.Logf("lasted %s, recovered in %s; %s", over.Sub(began).Round(time.Millisecond), recovered.Round(time.Millisecond), asked)
}

// sound checks what must hold at any time when all is delivered.
func (s *suite) sound(log int64) {
	s.T.Helper()
	s.EngineAlive()
	s.Compare()
	s.Claims()
	s.Deletions(log)
}

// last lets a fault go on.
func (s *suite) last(d time.Duration) {
	if d == 0 {
		d = time.Second
	}
	timer := time.NewTimer(d)
	<-timer.C
}

// says waits until the conditions of a resource hold a text.
func (s *suite) says(what saying) {
	s.T.Helper()
	pattern := regexp.MustCompile(what.text)
	s.Eventually(fmt.Sprintf("%s %s says %q", what.in.Resource, what.name, what.text), func(ctx context.Context) error {
		u, err := s.Get(ctx, what.in, what.name)
		if err != nil {
			return err
		}
		if said := conditions(u); !pattern.MatchString(said) {
			return fmt.Errorf("it says %s", said)
		}
		return nil
	})
}

// conditions are those that do not say that all is well.
func conditions(u *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	var lines []string
	for _, item := range list {
		c, _ := item.(map[string]any)
		lines = append(lines, fmt.Sprintf("%v=%v: %v", c["type"], c["status"], c["message"]))
	}
	if state, ok, _ := unstructured.NestedString(u.Object, "status", "operationState", "message"); ok {
		lines = append(lines, "operation: "+state)
	}
	return strings.Join(lines, "\n")
}

// count is of what the engine asks for.
type count struct {
	s        *suite
	git, api int
	often    map[string]int // of the API server, by what was asked
}

func (s *suite) count() *count {
	s.git.Requests()
	s.api.Requests()
	return &count{s: s, often: map[string]int{}}
}

// What an engine may ask for while something is wrong: a burst at its
// beginning and at its end, and then a steady trickle. A loop without a wait
// makes hundreds of requests a second.
const (
	gitAtOnce, gitPerSecond = 30, 5
	apiAtOnce, apiPerSecond = 150, 40
)

func (c *count) bounded(in time.Duration) {
	c.s.T.Helper()
	c.git += len(c.s.git.Requests())
	for _, r := range c.s.api.Requests() {
		c.api++
		if r.Query != "" && strings.Contains(r.Query, "watch=") {
			r.Method = "WATCH"
		}
		c.often[r.String()]++
	}
	if most := gitAtOnce + int(gitPerSecond*in.Seconds()); c.git > most {
		c.s.T.Errorf("%d requests to Git in %s, more than %d", c.git, in, most)
	}
	if most := apiAtOnce + int(apiPerSecond*in.Seconds()); c.api > most {
		c.s.T.Errorf("%d requests to the API server in %s, more than %d: %v", c.api, in, most, c.often)
	}
}

func (c *count) String() string {
	return fmt.Sprintf("%d requests to Git, %d to the API server", c.git, c.api)
}
