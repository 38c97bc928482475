package cli

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"plumb.dev/plumb/internal/adopt"
	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/diff"
)

// adoptOutput is what `adopt flux -o json` prints.
type adoptOutput struct {
	Namespace   string             `json:"namespace"`
	Differs     bool               `json:"differs"`
	TakenOver   bool               `json:"takenOver"`
	Ready       bool               `json:"ready"` // all is taken up by Plumb, and ready
	LaxerThan   []string           `json:"laxerThanFlux"`
	Apps        []adoptedOutput    `json:"apps"`
	Unserved    []unservedOutput   `json:"unserved"`
	Controllers []controllerOutput `json:"controllers"`
	Definitions []string           `json:"definitions"`
}

type adoptedOutput struct {
	diffOutput
	Suspended bool           `json:"suspended"`
	Objects   int            `json:"objects"`
	Delivered revisionOutput `json:"delivered"` // by Flux
	Error     string         `json:"error,omitempty"`
	Action    string         `json:"action,omitempty"` // what would be done to a Helm release
	Because   string         `json:"because,omitempty"`
	// After the takeover.
	TakenUp bool   `json:"takenUp"`
	State   string `json:"state,omitempty"`
	Message string `json:"message,omitempty"`
}

type unservedOutput struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
}

type controllerOutput struct {
	Name     string `json:"name"`
	Replicas int32  `json:"replicas"`
	Replaced bool   `json:"replaced"`
}

func (a *adoption) json() adoptOutput {
	after := map[app.ID]standing{}
	if a.takeup != nil {
		for _, s := range a.takeup.standings {
			after[s.view.ID] = s
		}
	}
	out := adoptOutput{Namespace: a.namespace, Differs: a.differs(), TakenOver: a.done,
		Ready:     a.takeup != nil && a.takeup.ready(),
		LaxerThan: append([]string{}, a.laxer...),
		Apps:      []adoptedOutput{}, Unserved: []unservedOutput{}, Controllers: controllersJSON(a.controllers), Definitions: append([]string{}, a.definitions...)}
	for _, c := range a.apps {
		item := adoptedOutput{diffOutput: changesJSON(c.App, c.Revision, c.Changes, c.Warnings),
			Suspended: c.Suspended, Objects: c.Objects, Delivered: revisionOutput{c.Applied.Commit, c.Applied.Ref}, Action: c.Action, Because: c.Because}
		item.Differs = item.Differs || c.Action != ""
		if c.Err != nil {
			item.Error = c.Err.Error()
		}
		if s, known := after[c.App]; known {
			item.TakenUp, item.State, item.Message = s.taken, string(s.view.State), s.view.Message
		}
		out.Apps = append(out.Apps, item)
	}
	for _, u := range a.resources.Unserved {
		out.Unserved = append(out.Unserved, unservedOutput{u.Kind, u.Count})
	}
	return out
}

func controllersJSON(all []adopt.Controller) []controllerOutput {
	out := []controllerOutput{}
	for _, ctl := range all {
		out = append(out, controllerOutput{ctl.Component, ctl.Replicas, ctl.Replaced})
	}
	return out
}

// show prints what was found: a line for each app, the differences, what is to
// become of Flux's controllers.
func (a *adoption) show(wide bool) {
	heads := []string{"APP", "RESULT", "REVISION"}
	if wide {
		heads = append(heads, "OBJECTS", "DELIVERED BY FLUX")
	}
	apps := newTable(a.out, a.color(), append(heads, "MESSAGE")...)
	var rows [][]cell
	for _, c := range a.apps {
		result, message := verdictOf(c)
		row := []cell{text(appWords(c.App)), result, text(revisionText(c.Revision))}
		if wide {
			row = append(row, text(strconv.Itoa(c.Objects)), text(revisionText(c.Applied)))
		}
		rows = append(rows, append(row, messageCell(message)))
	}
	apps.print(rows...)
	for _, c := range a.apps {
		if len(c.Changes) > 0 {
			fmt.Fprintf(a.out, "\n%s\n", appWords(c.App))
			// The writer is the command's own output; nothing can be said if it fails.
			_ = diff.Text(a.out, changesText(c.Changes), a.color())
		}
	}
	for _, u := range a.resources.Unserved {
		fmt.Fprintf(a.out, "\n%d %s would be left to nobody: this version of Plumb does not deliver them (%s%s)\n",
			u.Count, u.Kind, strings.Join(u.Some, ", "), map[bool]string{true: ", …"}[u.Count > len(u.Some)])
	}
	if len(a.laxer) > 0 {
		fmt.Fprintf(a.out, "\nFlux runs with %s, and Plumb does not: tenants could do more than before\n", strings.Join(a.laxer, " "))
	}
	for _, c := range a.apps {
		for _, w := range c.Warnings {
			if strings.HasPrefix(w.Message, "compared with your rights") {
				fmt.Fprintf(a.stderr, "note: %s: %s\n", appWords(c.App), w.Message)
			}
		}
	}
	fmt.Fprintln(a.out)
	controllers := newTable(a.out, a.color(), "CONTROLLER", "REPLICAS", "TAKING OVER")
	rows = nil
	for _, ctl := range a.controllers {
		rows = append(rows, []cell{text(ctl.Component), text(strconv.Itoa(int(ctl.Replicas))), text(fate(ctl))})
	}
	controllers.print(rows...)
	if len(a.definitions) > 0 {
		fmt.Fprintf(a.out, "\n%d definitions of custom resources become Plumb's, which extend Flux's\n", len(a.definitions))
	}
	a.showGit()
}

func verdictOf(c adopt.Comparison) (cell, string) {
	switch {
	case c.Suspended:
		return cell{"suspended", faint}, ""
	case c.Err != nil:
		message := c.Err.Error()
		if c.Failed {
			message += " (and is not ready under Flux)"
		}
		return cell{"cannot be delivered", bad}, message
	case c.Action != "":
		return cell{"would " + c.Action, busy}, c.Because
	case len(c.Changes) == 1:
		return cell{"1 difference", busy}, moved(c)
	case len(c.Changes) > 1:
		return cell{fmt.Sprintf("%d differences", len(c.Changes)), busy}, moved(c)
	}
	return cell{"nothing to do", good}, ""
}

func moved(c adopt.Comparison) string {
	if !c.Moved() {
		return ""
	}
	return "Git has moved on since Flux delivered " + revisionText(c.Applied)
}

func fate(ctl adopt.Controller) string {
	switch {
	case !ctl.Replaced:
		return "is left: Plumb does not do its work"
	case !ctl.Running():
		return "is stopped already"
	}
	return "is scaled to 0"
}

// showGit tells where Git holds the controllers, and the commit that ends that.
func (a *adoption) showGit() {
	var files []string
	for _, c := range a.apps {
		for _, s := range c.Flux {
			if f := s.Object.Origin.Path; f != "" && !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	if len(files) == 0 {
		return
	}
	fmt.Fprintf(a.out, "\nGit holds these controllers, in %s. Plumb delivers them with 0 replicas, and says so in the\n"+
		"status of their Kustomization. When you stay, take them out of Git; keep the namespace:\n\n", commaList(files))
	for _, f := range files {
		if path.Base(f) != "gotk-components.yaml" {
			continue
		}
		fmt.Fprintf(a.out, "  cat > %s <<END\n  apiVersion: v1\n  kind: Namespace\n  metadata:\n    name: %s\n"+
			"    annotations: {kustomize.toolkit.fluxcd.io/prune: disabled}\n  END\n", shellWord(f), a.namespace)
	}
	fmt.Fprint(a.out, "  git commit -am \"Plumb does the work of Flux's controllers\" && git push\n")
}

// appWords is an app as commands take it.
func appWords(id app.ID) string {
	if k, ok := kindNamed(id.Kind); ok {
		return k.words[0] + "/" + id.Namespace + "/" + id.Name
	}
	return id.String()
}
