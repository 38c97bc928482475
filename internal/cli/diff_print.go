package cli

import (
	"fmt"
	"io"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/diff"
	"plumb.dev/plumb/internal/plan"
)

// diffOutput is what `diff -o json` prints.
type diffOutput struct {
	App      appName        `json:"app"`
	Revision revisionOutput `json:"revision"`
	Differs  bool           `json:"differs"`
	Changes  []changeItem   `json:"changes"`
	Refused  string         `json:"refused,omitempty"` // why the plan could not be carried out
	Next     string         `json:"next,omitempty"`    // what Helm is to do, of a HelmRelease
	Because  string         `json:"because,omitempty"`
	Warnings []string       `json:"warnings"`
}

type changeItem struct {
	Verb   string `json:"verb"` // create, change or delete
	Object string `json:"object"`
	objectOutput
	Origin string        `json:"origin,omitempty"` // file:line in the repository
	Reason string        `json:"reason,omitempty"`
	Fields []fieldOutput `json:"fields"`
}

// fieldOutput is a field; from or to is left out where there is none.
type fieldOutput struct {
	Path string  `json:"path"`
	From *string `json:"from,omitempty"`
	To   *string `json:"to,omitempty"`
}

// verbOf is what would become of the object, whoever does it and when.
func verbOf(s plan.Step) diff.Verb {
	switch {
	case s.Object.IsZero():
		return diff.Delete
	case s.UID == "":
		return diff.Create
	}
	return diff.Modify
}

// showPlan prints how an app differs from the cluster. The error says no if it
// does, and is the plan's own if it could not be carried out.
func (p *program) showPlan(out, stderr io.Writer, format string, id app.ID, revision app.Revision, of plan.Plan) error {
	steps := of.Differing()
	if format == "" {
		for _, w := range of.Warnings {
			fmt.Fprintf(stderr, "warning: %s\n", warningText(w))
		}
		if err := diff.Text(out, changesText(steps), p.color()); err != nil {
			return err
		}
	} else if err := write(out, format, planJSON(id, revision, of, steps)); err != nil {
		return err
	}
	switch {
	case of.Refused != nil:
		return of.Refused
	case len(steps) > 0:
		return &Error{Code: ExitNo}
	}
	return nil
}

// changesText is what of steps is shown to a person.
func changesText(steps []plan.Step) []diff.Change {
	var changes []diff.Change
	for _, s := range steps {
		changes = append(changes, diff.Change{Verb: verbOf(s), Ref: s.Ref, Origin: s.Object.Origin, Reason: s.Reason, Fields: s.Changes})
	}
	return changes
}

func planJSON(id app.ID, revision app.Revision, of plan.Plan, steps []plan.Step) diffOutput {
	out := changesJSON(id, revision, steps, of.Warnings)
	if of.Refused != nil {
		out.Refused = of.Refused.Error()
	}
	return out
}

func changesJSON(id app.ID, revision app.Revision, steps []plan.Step, warnings []app.Warning) diffOutput {
	out := diffOutput{
		App:      appName{id.Kind, id.Namespace, id.Name},
		Revision: revisionOutput{revision.Commit, revision.Ref},
		Differs:  len(steps) > 0,
		Changes:  []changeItem{}, Warnings: []string{},
	}
	for _, w := range warnings {
		out.Warnings = append(out.Warnings, warningText(w))
	}
	for _, s := range steps {
		c := changeItem{
			Verb:         map[diff.Verb]string{diff.Create: "create", diff.Modify: "change", diff.Delete: "delete"}[verbOf(s)],
			Object:       s.Ref.String(),
			objectOutput: objectJSON(app.ObjectView{Ref: s.Ref, Version: s.Version}),
			Reason:       s.Reason, Fields: []fieldOutput{},
		}
		if s.Object.Origin.Path != "" {
			c.Origin = s.Object.Origin.String()
		}
		for _, f := range s.Changes {
			field := fieldOutput{Path: f.Path}
			if !f.FromAbsent {
				field.From = &f.From
			}
			if !f.ToAbsent {
				field.To = &f.To
			}
			c.Fields = append(c.Fields, field)
		}
		out.Changes = append(out.Changes, c)
	}
	return out
}
