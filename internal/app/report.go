package app

import (
	"time"

	"plumb.dev/plumb/internal/object"
)

// SyncStatus is how one object, or an app, stands to Git.
type SyncStatus string

// The states. Unknown is for when no statement can be made, and is never
// used in place of a bad one.
const (
	Synced    SyncStatus = "Synced"
	OutOfSync SyncStatus = "OutOfSync"
	Unknown   SyncStatus = "Unknown"
)

// HealthStatus is how one object, or an app, fares.
type HealthStatus string

// The states, best to worst. HealthNone is for kinds that have no health.
const (
	HealthNone  HealthStatus = ""
	Healthy     HealthStatus = "Healthy"
	Suspended   HealthStatus = "Suspended"
	Progressing HealthStatus = "Progressing"
	Missing     HealthStatus = "Missing"
	Degraded    HealthStatus = "Degraded"
	HealthLost  HealthStatus = "Unknown" // the health itself cannot be told
)

// Health is a verdict with its ground.
type Health struct {
	Status  HealthStatus
	Message string
}

// Action is what was done to an object.
type Action string

// The actions.
const (
	ActionNone       Action = ""
	ActionCreated    Action = "created"
	ActionConfigured Action = "configured"
	ActionUnchanged  Action = "unchanged" // a write that changed nothing
	ActionPruned     Action = "deleted"
	ActionSkipped    Action = "skipped"
	ActionFailed     Action = "failed"
)

// ObjectReport is the result for one object.
type ObjectReport struct {
	Ref           object.Ref
	Version       string
	Origin        object.Origin
	Sync          SyncStatus
	Health        Health
	Wave          int
	RequiresPrune bool   // live, no longer desired, not pruned
	Reason        string // why it is out of sync, or why it was written, one phrase
	Action        Action // in the sync that this report tells of
	Message       string // of the action: an error, or what the API server said
	Changes       []FieldChange
}

// FieldChange is one field that differs, secrets already redacted.
type FieldChange struct {
	Path string // .spec.replicas, .spec.template.spec.containers[name="a"].image
	From string // the live value, "" with FromAbsent
	To   string // the desired value, "" with ToAbsent
	// FromAbsent and ToAbsent tell an absent field from an empty one.
	FromAbsent, ToAbsent bool
}

// Drift is one change that someone made to a delivered object.
type Drift struct {
	Ref     object.Ref
	At      time.Time
	Deleted bool
	// By is the field manager that now holds the fields; "" if the API server
	// does not tell (it does not record who deletes an object).
	By string
	// Subresource through which it was written: scale, status; "" for none.
	Subresource string
	Fields      []string // paths, as FieldChange has them
	Restored    bool     // undone; otherwise only reported
	RestoredAt  time.Time
}

// Phase is how far the run is that a report tells of.
type Phase string

// The phases.
const (
	PhaseRunning Phase = "running"
	PhaseDone    Phase = "done"
)

// Report is the result of one run of the straight line, or, while Phase is
// running, the state in its middle. A dialect encodes it as a status.
type Report struct {
	App        ID
	UID        string
	Generation int64
	Phase      Phase
	At         time.Time
	Started    time.Time

	// Handled is the token of the user's request that this run answers;
	// Answered is the request itself, for dialects that take requests out of
	// the resource.
	Handled  string
	Answered *Request

	// Source and Revision are what was looked at; Applied the revision that is
	// fully delivered, zero if none.
	Source   SourceID
	URL      string
	Revision Revision
	Applied  Revision

	// Rendered is how the files were read; RenderAuto if none were.
	Rendered RenderMode

	Sync    SyncStatus
	Health  Health
	Objects []ObjectReport

	// Failure is why the run did not get to its end; nil if it did.
	Failure  *Failure
	Warnings []Warning

	// Attempt tells of the sync that this run did, nil if it wrote nothing
	// and was not asked to.
	Attempt *SyncAttempt

	// Records is what the status must remember, and LastSync the attempt that
	// the next decision builds on (it may be older than this run).
	Records  []Record
	LastSync *Attempt
	Ahead    Ahead
	// Cluster is where Records are, as Target.Cluster has it, and Left what is
	// still where the app went before.
	Cluster string
	Left    []Left
	// Drift is what was found since the report before.
	Drift []Drift
	// Stage is where a running run is, or where the failure came.
	Stage    Stage
	Progress string // one line: what it waits for
	// RetryAt is when the engine tries again by itself; zero if it waits for
	// a change.
	RetryAt time.Time
	// WaitedForHealth is set if health decided about success.
	WaitedForHealth bool
	// Deleted: all that had to go is gone; the finalizer may go too.
	Deleted bool
	// Release tells of the Helm release, of an app that is one.
	Release *ReleaseReport
}

// SyncAttempt is one execution of a plan.
type SyncAttempt struct {
	Attempt
	Cause       Cause
	By          string
	Message     string
	Failure     *Failure
	Partial     bool // only some objects, on request or as a heal
	Pruned      bool // pruning was on
	DryRun      bool
	Running     bool
	RetryNumber int
}

// Cause is what made a run happen.
type Cause string

// The causes, by descending urgency.
const (
	CauseRequest  Cause = "request"
	CauseDrift    Cause = "drift"
	CauseSpec     Cause = "spec"
	CauseRevision Cause = "revision"
	CauseDepends  Cause = "dependency"
	CauseHealth   Cause = "health"
	CauseRetry    Cause = "retry"
	CauseStart    Cause = "start"
	// CauseBookkeeping only writes down a newer revision, of an app that the
	// commit did not touch.
	CauseBookkeeping Cause = "bookkeeping"
)
