package app

import (
	"time"

	"plumb.dev/plumb/internal/object"
)

// View is what a person is shown of one app, read from its custom resource
// alone. A dialect fills it in; what its status does not tell stays zero.
type View struct {
	ID       ID
	UID      string
	Created  time.Time
	Deleting bool

	Suspended bool
	Mode      Mode
	State     State
	Reason    string // why it is in this state, in words of the dialect
	Message   string // the same for a person, free of secrets

	Sync   SyncStatus
	Health Health

	// Revision was looked at last; Applied is fully delivered, zero if none.
	Revision Revision
	Applied  Revision

	Source    SourceID // zero for a source written inside the app
	SourceURL string   // where it is told, without credentials
	SourceRef string   // what the source is asked to follow, where it is told
	Path      string
	Target    Target
	LastSync  time.Time // end of the last sync, zero if there was none

	Objects  []ObjectView
	Drift    []Drift // newest first
	Warnings []Warning

	// Requested is the token of the last request on the resource, Handled the
	// one that the status acknowledges. Where a dialect takes requests out of
	// the resource, Handled is "".
	Requested, Handled string
	// Asked: there is a request that the status does not answer yet.
	Asked bool
}

// State is how an app stands for someone who waits for it.
type State string

// The states.
const (
	// StateReady: delivered as asked, and as healthy as it has to be.
	StateReady State = "Ready"
	// StateRunning: at work, not begun yet, or waiting for something that can
	// come by itself.
	StateRunning State = "Running"
	// StateDiffers: all is well but the cluster is not as Git has it, and
	// nothing will be done about that without being asked.
	StateDiffers State = "Differs"
	// StateFailed: something is wrong. It may be tried again all the same.
	StateFailed State = "Failed"
)

// ObjectView is one delivered object as the status tells of it.
type ObjectView struct {
	Ref     object.Ref
	Version string       // API version without the group
	Sync    SyncStatus   // "" if the status does not tell
	Health  HealthStatus // HealthNone if the status does not tell
}

// SourceView is what a person is shown of one source.
type SourceView struct {
	ID        SourceID
	UID       string
	Created   time.Time
	Deleting  bool
	Suspended bool
	State     State // StateReady, StateRunning or StateFailed
	Reason    string
	Message   string
	URL       string // without credentials
	Ref       string // what is followed: a branch, a tag, a range, a commit
	Revision  Revision
	Fetched   time.Time // when Revision arrived, zero if unknown

	Requested, Handled string
	Asked              bool
}
