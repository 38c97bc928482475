package cli

import (
	"fmt"
	"io"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/plan"
	"plumb.dev/plumb/internal/release"
)

// showRelease prints what is next for a Helm release: an action of Helm, or
// what of its objects drifted. The error says no if there is either.
func (p *program) showRelease(out, stderr io.Writer, format string, id app.ID, revision app.Revision, next release.Decision, drift plan.Plan) error {
	if next.Action == app.ReleaseNone {
		return p.showPlan(out, stderr, format, id, revision, drift)
	}
	if format != "" {
		answer := planJSON(id, revision, drift, nil)
		answer.Differs, answer.Next, answer.Because = true, string(next.Action), next.Because
		if err := write(out, format, answer); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "Helm is to %s the release: %s\n", next.Action, next.Because)
	}
	return &Error{Code: ExitNo}
}
