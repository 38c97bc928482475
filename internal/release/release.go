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
	"log/slog"
	"time"

	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Options opens a Client.
type Options struct {
	// Config reaches the cluster, as whoever the releases are delivered as. All
	// requests go through its transport; the limits in it hold. It is copied.
	Config *rest.Config
	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now
}

// Client works on the releases of one cluster, as one identity. It may be used
// for several releases at a time, but never for one release twice at a time.
type Client struct {
	config *rest.Config
	log    *slog.Logger
	now    func() time.Time
}

// Open makes a Client. It does not connect.
func Open(o Options) (*Client, error) {
	if o.Config == nil {
		return nil, errors.New("a release client needs a connection")
	}
	c := &Client{config: rest.CopyConfig(o.Config), log: o.Logger, now: o.Now}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}

// Stored is one revision in Helm's storage.
type Stored struct {
	// Snapshot is what is remembered of it, without tests, OCI digest and
	// action, which Helm does not store.
	Snapshot app.ReleaseSnapshot
}

// Manifest gives the objects that the revision delivers: no hooks, no CRDs of
// the chart's crds directory. They have the labels and annotations by which
// Helm marks what is its own, and no namespace where the chart gave none.
func (s *Stored) Manifest() ([]object.Object, error) { return nil, errUnwritten }

var errUnwritten = app.Fail(app.StageSpec, app.ReasonUnsupported, "Helm releases are not carried out by this build")

// Storage is what Helm's storage holds of a release, as far as a decision
// needs it.
type Storage struct {
	Last *Stored // the newest revision; nil: there is none
	// Known: Last is as the newest snapshot of the memory tells.
	Known bool
	// Target is the revision to roll back to, if the newest is broken.
	Target Target
}

// Target is how a rollback's target fares.
type Target string

// The states of a target.
const (
	TargetNone    Target = ""        // none is remembered
	TargetReady   Target = "ready"   // it is in storage, as it was
	TargetChanged Target = "changed" // it is gone from storage, or another now
)

// Look reads what Helm's storage holds of the release, in its present storage
// namespace. It writes nothing.
func (c *Client) Look(ctx context.Context, r app.Release) (Storage, error) {
	return Storage{}, errUnwritten
}

// Request is what an action works on.
type Request struct {
	// Release with the memory as Decide left it.
	Release    app.Release
	Generation int64
	Chart      *Chart         // of install and upgrade
	Values     map[string]any // of install and upgrade: composed; not changed
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
// its policy. When ctx ends, it ends soon, and leaves a revision that says
// failed, or one that is pending and the next Look calls locked.
//
// A failure that left a revision in storage is in the result alone: Decide says
// how to go on. It is returned as an error too where nothing was stored, so that
// nothing is there to remedy, and trying again later is all.
func (c *Client) Run(ctx context.Context, action app.ReleaseAction, q Request) (Outcome, error) {
	return Outcome{}, errUnwritten
}
