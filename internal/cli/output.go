package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
)

// What -o json and -o yaml print. Fields are only ever added; docs/commands
// describes them.

type appOutput struct {
	Kind      string         `json:"kind"`
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	Created   string         `json:"created,omitempty"`
	Suspended bool           `json:"suspended"`
	Mode      string         `json:"mode"`
	State     string         `json:"state"`
	Reason    string         `json:"reason,omitempty"`
	Message   string         `json:"message,omitempty"`
	Sync      string         `json:"sync"`
	Health    string         `json:"health,omitempty"`
	Revision  revisionOutput `json:"revision"` // looked at last
	Applied   revisionOutput `json:"applied"`  // delivered in full
	Source    sourceOfOutput `json:"source"`
	LastSync  string         `json:"lastSync,omitempty"`
	Objects   []objectOutput `json:"objects"`
	Drift     []driftOutput  `json:"drift"`
	Warnings  []string       `json:"warnings"`
}

type revisionOutput struct {
	Commit string `json:"commit,omitempty"`
	Ref    string `json:"ref,omitempty"`
}

type sourceOfOutput struct {
	Kind      string `json:"kind,omitempty"` // of the resource; empty if it is written in the app
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	URL       string `json:"url,omitempty"`
	Ref       string `json:"ref,omitempty"`
	Path      string `json:"path"`
}

type objectOutput struct {
	Group     string `json:"group"`
	Version   string `json:"version,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Sync      string `json:"sync,omitempty"`
	Health    string `json:"health,omitempty"`
	Message   string `json:"message,omitempty"`
}

type driftOutput struct {
	Object      string   `json:"object"`
	At          string   `json:"at,omitempty"`
	By          string   `json:"by,omitempty"`
	Subresource string   `json:"subresource,omitempty"`
	Deleted     bool     `json:"deleted"`
	Fields      []string `json:"fields"`
	Restored    bool     `json:"restored"`
}

type sourceOutput struct {
	Kind      string         `json:"kind"`
	Namespace string         `json:"namespace"`
	Name      string         `json:"name"`
	Created   string         `json:"created,omitempty"`
	Suspended bool           `json:"suspended"`
	State     string         `json:"state"`
	Reason    string         `json:"reason,omitempty"`
	Message   string         `json:"message,omitempty"`
	URL       string         `json:"url"`
	Ref       string         `json:"ref,omitempty"`
	Revision  revisionOutput `json:"revision"`
	Fetched   string         `json:"fetched,omitempty"`
}

// itemsOutput is a list of any of these.
type itemsOutput struct {
	Items []any `json:"items"`
}

// changeOutput is a line of a watch.
type changeOutput struct {
	Event  string `json:"event"` // present, changed or deleted
	Object any    `json:"object"`
}

func appJSON(v app.View) appOutput {
	out := appOutput{
		Kind: v.ID.Kind, Namespace: v.ID.Namespace, Name: v.ID.Name, Created: stamp(v.Created),
		Suspended: v.Suspended, Mode: string(v.Mode), State: string(v.State), Reason: v.Reason, Message: v.Message,
		Sync: string(v.Sync), Health: string(v.Health.Status),
		Revision: revisionOutput{v.Revision.Commit, v.Revision.Ref},
		Applied:  revisionOutput{v.Applied.Commit, v.Applied.Ref},
		Source: sourceOfOutput{
			Kind: v.Source.Kind, Namespace: v.Source.Namespace, Name: v.Source.Name,
			URL: v.SourceURL, Ref: v.SourceRef, Path: v.Path,
		},
		LastSync: stamp(v.LastSync),
		Objects:  []objectOutput{}, Drift: []driftOutput{}, Warnings: []string{},
	}
	for _, o := range v.Objects {
		out.Objects = append(out.Objects, objectJSON(o))
	}
	for _, d := range v.Drift {
		out.Drift = append(out.Drift, driftJSON(d))
	}
	for _, w := range v.Warnings {
		out.Warnings = append(out.Warnings, warningText(w))
	}
	return out
}

func objectJSON(o app.ObjectView) objectOutput {
	return objectOutput{
		Group: o.Ref.Group, Version: o.Version, Kind: o.Ref.Kind, Namespace: o.Ref.Namespace, Name: o.Ref.Name,
		Sync: string(o.Sync), Health: string(o.Health),
	}
}

func driftJSON(d app.Drift) driftOutput {
	return driftOutput{
		Object: d.Ref.String(), At: stamp(d.At), By: d.By, Subresource: d.Subresource,
		Deleted: d.Deleted, Fields: append([]string{}, d.Fields...), Restored: d.Restored,
	}
}

func sourceJSON(v app.SourceView) sourceOutput {
	return sourceOutput{
		Kind: v.ID.Kind, Namespace: v.ID.Namespace, Name: v.ID.Name, Created: stamp(v.Created),
		Suspended: v.Suspended, State: string(v.State), Reason: v.Reason, Message: v.Message,
		URL: v.URL, Ref: v.Ref, Revision: revisionOutput{v.Revision.Commit, v.Revision.Ref}, Fetched: stamp(v.Fetched),
	}
}

func warningText(w app.Warning) string {
	if w.Field == "" {
		return w.Message
	}
	return w.Field + ": " + w.Message
}

// stamp is a time in RFC 3339, "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// write prints a value as json or yaml.
func write(out io.Writer, format string, value any) error {
	if format == "yaml" {
		text, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		_, err = out.Write(text)
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}

// writeLine prints a value as one line of json, or one document of yaml.
func writeLine(out io.Writer, format string, value any) error {
	if format == "yaml" {
		fmt.Fprintln(out, "---")
		return write(out, format, value)
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(value)
}
