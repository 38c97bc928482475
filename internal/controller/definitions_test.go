package controller

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// begun is an engine that tells that it was started.
type begun struct {
	*told
	started chan struct{}
}

func (b begun) Start() { close(b.started) }

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := strings.Split(strings.TrimSpace(l.b.String()), "\n")
	return all[len(all)-1]
}

// Without its definitions a controller says which are missing, and begins once
// they are there.
func TestMissingDefinitionsAreNamedAndAwaited(t *testing.T) {
	cluster := sandboxtest.Start(t, sandbox.Options{})
	log := &lines{}
	c, err := New(Options{Config: sandboxtest.RESTConfig(t, cluster), Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	engine := begun{newTold(), make(chan struct{})}
	c.Use(engine)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- c.Run(ctx) }()
	says := func(names string) {
		t.Helper()
		sandboxtest.Eventually(t, func(context.Context) error {
			if line := log.last(); !strings.Contains(line, "not installed: "+names+`"`) || !strings.Contains(line, "plumb install --crds") {
				return errors.New(line)
			}
			return nil
		})
	}
	all := api.Names()
	slices.Sort(all)
	says(strings.Join(all, ", "))
	install := func(wanted func(name string) bool) {
		crds := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
		for _, u := range decode(t, string(api.CRDs())) {
			if !wanted(u.GetName()) {
				continue
			}
			if _, err := c.dynamic.Resource(crds).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const last = "applicationsets.argoproj.io"
	install(func(name string) bool { return name != last })
	says(last)
	select {
	case <-engine.started:
		t.Fatal("it began without " + last)
	default:
	}
	install(func(name string) bool { return name == last })
	sandboxtest.Eventually(t, func(context.Context) error {
		select {
		case <-engine.started:
			return nil
		default:
			return errors.New(log.last())
		}
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
