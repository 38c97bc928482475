// Package cluster talks to one Kubernetes cluster: it watches who owns what in
// it, observes it for a plan, and writes to it under one identity. It keeps
// metadata of delivered objects, never objects. It must not know apps'
// policies, dialects, queues, or why anything is written.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"

	"plumb.dev/plumb/internal/app"
)

// Options say how a cluster is watched. Managers must be complete, everything
// else has a useful zero value.
type Options struct {
	// Managers are the field managers that objects are written under. Objects
	// that none of them owns anything of are forgotten at once, unless they
	// are asked for by name.
	Managers []string
	// Keys are labels and annotations to remember of each object, besides
	// those that begin with kustomize.toolkit.fluxcd.io/, argocd.argoproj.io/
	// or plumb.dev/, and helm.sh/resource-policy. Every key that a mark or a
	// switch looks at must be among them.
	Keys []string
	// Strip are keys of which only the presence is remembered: the metadata
	// that taking over removes (app.Spec.Strip).
	Strip []string
	// OnEvent is called for every change of a remembered object, and of any
	// Namespace and CustomResourceDefinition, that was not made through this
	// Cluster. It is called from the goroutine that reads the watch and must
	// not block. Events are news, not state: one that was held back while its
	// object was written may come after a later one; Live has the present.
	OnEvent func(Event)
	// Version of Plumb, for the user agent.
	Version string
	// MaxInFlight bounds the requests waiting for an answer; 0 means 24. An
	// API server that answers "too many requests" gets fewer for a while.
	MaxInFlight int
	// Timeout of one request; 0 means 30 s.
	Timeout time.Duration
	// OnContact is told when the API server is found to be away, and when it is
	// back. It must not block. Before the first answer it is taken to be there.
	OnContact func(up bool)
	// Token makes the bearer tokens that say who asks, for a config that has no
	// credentials; nil if it has. It is called when one is needed, or will be
	// soon, and bounds itself in time.
	Token func(context.Context) (Token, error)
}

// Cluster is a connection to one cluster. It is safe for concurrent use.
type Cluster struct {
	opts      Options
	config    *rest.Config
	gate      *gate
	meta      metadata.Interface
	self      *Writer
	discovery *discovery
	waiters   waiters

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	kinds   map[schema.GroupKind]*kindWatch
	writers map[string]*Writer
}

// Connect prepares a connection. It sends nothing: a cluster that is down is
// found out by the first use. Close ends the watches.
func Connect(config *rest.Config, opts Options) (*Cluster, error) {
	if opts.MaxInFlight == 0 {
		opts.MaxInFlight = 24
	}
	if opts.Timeout == 0 {
		opts.Timeout = 30 * time.Second
	}
	config = rest.CopyConfig(config)
	config.QPS = -1 // the gate bounds what is in flight instead
	config.Timeout = 0
	config.UserAgent = strings.TrimSuffix("plumb-engine/"+opts.Version, "/")
	config.WarningHandlerWithContext = rest.NoWarnings{}
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	// That there is a Dial makes the transport one of our own, not one that is
	// shared with other clients of the same server.
	config.WrapTransport = transport.Wrappers(attentive, config.WrapTransport)
	base, err := rest.TransportFor(config)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	c := &Cluster{opts: opts, config: config, kinds: map[schema.GroupKind]*kindWatch{}, writers: map[string]*Writer{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	root, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	next := base
	if opts.Token != nil {
		next = &bearer{next: base, ctx: c.ctx, ask: opts.Token, spawn: c.tasks.Go}
	}
	c.gate = &gate{next: next, limit: newLimiter(opts.MaxInFlight), breaker: &breaker{
		probe: readiness(base, root), changed: c.contactChanged, spawn: c.tasks.Go, closing: c.ctx.Done()}}
	if c.self, err = c.writer(c.gate); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	if c.meta, err = metadata.NewForConfigAndClient(config, &http.Client{Transport: c.gate}); err != nil {
		return nil, fmt.Errorf("cluster %s: %w", config.Host, err)
	}
	c.discovery = &discovery{get: c.self.getRaw, groups: map[string]*group{}}
	return c, nil
}

// Close ends all watches and waits for them. What is remembered stays
// readable, and is not kept up to date any more.
func (c *Cluster) Close() {
	c.cancel()
	c.tasks.Wait()
	if closer, ok := c.gate.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// Self acts as Plumb itself.
func (c *Cluster) Self() *Writer { return c.self }

// As acts as a service account, given as namespace/name. It refuses anything
// that does not name one: an empty identity is never widened to Plumb's own.
func (c *Cluster) As(serviceAccount string) (*Writer, error) {
	namespace, name, ok := strings.Cut(serviceAccount, "/")
	if !ok || namespace == "" || name == "" || strings.ContainsAny(name, "/:") || strings.Contains(namespace, ":") {
		return nil, app.Fail(app.StageApply, app.ReasonInvalidSpec,
			"service account %q is not of the form namespace/name", serviceAccount)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.writers[serviceAccount]; w != nil {
		return w, nil
	}
	w, err := c.writer(transport.NewImpersonatingRoundTripper(transport.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + name,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}, c.gate))
	if err != nil {
		return nil, fmt.Errorf("acting as service account %s: %w", serviceAccount, err)
	}
	c.writers[serviceAccount] = w
	return w, nil
}

func (c *Cluster) writer(via http.RoundTripper) (*Writer, error) {
	config := metadata.ConfigFor(c.config)
	config.GroupVersion = &schema.GroupVersion{}
	config.APIPath = "/unused" // every request names its full path
	client, err := rest.RESTClientForConfigAndClient(config, &http.Client{Transport: via})
	if err != nil {
		return nil, err
	}
	return &Writer{cluster: c, client: client, via: via}, nil
}

// errNotServed ends a watch whose kind the cluster does not serve.
var errNotServed = errors.New("the cluster does not serve this kind")
