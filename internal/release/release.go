// Package release carries out what is done to a Helm release: it looks into
// Helm's storage, decides what comes next, and installs, upgrades, tests, rolls
// back, uninstalls and unlocks by the Helm SDK, so that a stock helm command
// sees what was done, and Plumb what a stock helm command did.
//
// It is handed a chart as files, resolved values, and a connection that is
// already impersonated and limited. It must not know custom resources, where
// charts come from, how values are fetched, or how drift is found: Manifest
// gives the objects of a stored release for others to plan with.
package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"time"

	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// FieldManager is the name under which Flux has Helm write objects. With the
// same one nothing changes hands when Plumb takes over.
const FieldManager = "helm-controller"

// Prepare sets what Helm keeps for the whole process: the field manager, and the
// standard logger, to which Helm prints values and which is silenced. It is
// called once, before the first Client, where everything is wired.
func Prepare() {
	kube.ManagedFieldsManager = FieldManager
	log.SetOutput(io.Discard)
}

// Options opens a Client.
type Options struct {
	// Config reaches the cluster, as whoever the releases are delivered as. All
	// requests go through its transport; the limits in it hold. It is copied.
	Config *rest.Config
	// Render renders the templates of charts, which may be hostile: with one
	// that does so in a confined process they cost what they may, and no more.
	// Nil: Helm renders them in this process, bounded in nothing but that it
	// does not wait for them.
	Render Render
	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now
}

// Client works on the releases of one cluster, as one identity. It may be used
// for several releases at a time, but never for one release twice at a time.
type Client struct {
	config    *rest.Config // with nothing but transport to get through by
	transport http.RoundTripper
	catalog   *catalog
	render    Render
	log       *slog.Logger
	now       func() time.Time
}

// Open makes a Client. It does not connect.
func Open(o Options) (*Client, error) {
	if o.Config == nil {
		return nil, errors.New("a release client needs a connection")
	}
	c := &Client{render: o.Render, log: o.Logger, now: o.Now}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	base, err := rest.TransportFor(o.Config)
	if err != nil {
		return nil, err
	}
	server, _, err := rest.DefaultServerUrlFor(o.Config)
	if err != nil {
		return nil, err
	}
	c.transport = base
	c.config = &rest.Config{
		Host: server.String(), Transport: base, UserAgent: o.Config.UserAgent, Timeout: o.Config.Timeout,
		QPS: o.Config.QPS, Burst: o.Config.Burst, RateLimiter: o.Config.RateLimiter,
		WarningHandlerWithContext: rest.NoWarnings{},
	}
	c.catalog, err = newCatalog(c.config)
	return c, err
}

// Request is what an action works on.
type Request struct {
	// Release with the memory as Decide left it.
	Release app.Release
	Chart   *Chart         // of install and upgrade
	Values  map[string]any // of install and upgrade: composed; not changed
	// From is what Values are composed of: what comes from Secrets is kept out
	// of messages and logs.
	From []Fetched
	// HealthExprs judge readiness, before what Helm knows itself.
	HealthExprs []app.HealthExpr
	Because     string // why, for the result
}

// Outcome is what an action did.
type Outcome struct {
	Result app.ReleaseResult
	// Memory is what is to be remembered from now on, whatever the result.
	Memory app.ReleaseMemory
	// Inventory of the release after an install, upgrade or rollback; nil if it
	// was not learnt, empty after an uninstall. See app.ReleaseReport.
	Inventory []app.Record
	Unscoped  []object.Ref
}

// Run carries out one action and waits for its end, at most for the timeout of
// its policy, which bounds each hook and each wait. When ctx ends, it ends soon,
// and leaves a revision that says failed, or one that is pending and that the
// next Look calls locked.
//
// A failure that left a revision in storage is in the result alone: Decide says
// how to go on. It is returned as an error too where nothing was stored, so that
// nothing is there to remedy, and trying again later is all.
func (c *Client) Run(ctx context.Context, action app.ReleaseAction, q Request) (Outcome, error) {
	s, err := c.begin(ctx, action, q)
	if err != nil {
		return Outcome{Memory: q.Release.Memory}, err
	}
	defer s.end()
	switch action {
	case app.ReleaseInstall:
		err = s.install()
	case app.ReleaseUpgrade:
		err = s.upgrade()
	case app.ReleaseTest:
		err = s.test()
	case app.ReleaseRollback:
		err = s.rollback()
	case app.ReleaseUninstall, app.ReleaseRemove:
		err = s.uninstall()
	case app.ReleaseUnlock:
		err = s.unlock()
	default:
		err = fmt.Errorf("%q is nothing that Helm does", action)
	}
	return s.outcome(err)
}
