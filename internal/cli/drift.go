package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

type driftOptions struct{ watch bool }

func driftCommand(p *program) *cobra.Command {
	var opts driftOptions
	cmd := &cobra.Command{
		Use:     "drift [APP]...",
		Short:   "Show what was changed behind Git's back, by whom, and what became of it",
		GroupID: groupSee,
		Long: `Show the changes that someone made to delivered objects: when, which fields, and
by which field manager. STATE tells what became of each:

  restored   it was undone
  reported   it stands, because the app does not heal itself
  settled    it was reported, and the object is as Git has it again

Each app remembers its latest drifts only. The API server does not tell who
deleted an object.

The exit code is 1 if a drift is neither restored nor settled.`,
		Example: `  plumb drift
  plumb drift app/shop
  plumb drift -w`,
		Args:              arguments(0, -1),
		ValidArgsFunction: p.complete(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.drift(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts, args)
		},
	}
	cmd.Flags().BoolVarP(&opts.watch, "watch", "w", false, "go on with each drift until interrupted")
	return cmd
}

// driftState is what became of a drift.
type driftState string

const (
	driftRestored driftState = "restored"
	driftReported driftState = "reported"
	driftSettled  driftState = "settled"
)

// driftEntry is one drift of one app.
type driftEntry struct {
	app app.ID
	app.Drift
	state driftState
}

// key tells it from others, and from itself in another state.
func (e driftEntry) key() string {
	return strings.Join([]string{e.app.String(), e.Ref.String(), stamp(e.At), string(e.state)}, " ")
}

// driftOf lists what an app remembers.
func driftOf(v app.View) []driftEntry {
	var out []driftEntry
	for _, d := range v.Drift {
		e := driftEntry{app: v.ID, Drift: d, state: driftReported}
		switch {
		case d.Restored:
			e.state = driftRestored
		case settled(v, d):
			e.state = driftSettled
		}
		out = append(out, e)
	}
	return out
}

// settled reports whether the object of a drift is as Git has it again, by
// what the status says of it now.
func settled(v app.View, d app.Drift) bool {
	for _, o := range v.Objects {
		if o.Ref.Kind == d.Ref.Kind && o.Ref.Namespace == d.Ref.Namespace && o.Ref.Name == d.Ref.Name && o.Sync != "" {
			return o.Sync == app.Synced
		}
	}
	return v.State == app.StateReady && v.LastSync.After(d.At)
}

func (p *program) drift(ctx context.Context, out, stderr io.Writer, opts driftOptions, args []string) error {
	format, namespace, c, err := p.looking("json", "yaml")
	if err != nil {
		return err
	}
	sel, err := c.choose(ctx, args, namespace)
	if err != nil {
		return err
	}
	if err := onlyApps(sel.targets); err != nil {
		return err
	}
	streams, err := c.streams(ctx, sel, namespace)
	if err != nil {
		return err
	}
	show := &driftPrinter{
		p: p, out: out, format: format, seen: map[string]bool{},
		table: newTable(out, p.color(), "WHEN", "APP", "OBJECT", "FIELDS", "BY", "STATE"),
	}
	var found []driftEntry
	for _, s := range streams {
		for _, u := range s.start.items {
			found = append(found, driftOf(s.kind.app(u))...)
		}
	}
	if !opts.watch {
		return show.all(stderr, found)
	}
	if err := show.begin(found); err != nil {
		return err
	}
	return followAll(ctx, streams, func(c change) error {
		if c.gone || !sel.wants(c.kind, c.object) {
			return nil
		}
		return show.change(c.kind, c.object)
	})
}

// driftPrinter prints each drift once in each state.
type driftPrinter struct {
	p      *program
	out    io.Writer
	format string
	table  *table
	seen   map[string]bool
}

type driftItem struct {
	App   appName `json:"app"`
	State string  `json:"state"`
	driftOutput
}

type appName struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (e driftEntry) output() driftItem {
	return driftItem{
		App:   appName{e.app.Kind, e.app.Namespace, e.app.Name},
		State: string(e.state), driftOutput: driftJSON(e.Drift),
	}
}

func oldestFirst(a, b driftEntry) int {
	if c := a.At.Compare(b.At); c != 0 {
		return c
	}
	return strings.Compare(a.key(), b.key())
}

// all prints everything at once and says no if some drift stands.
func (d *driftPrinter) all(stderr io.Writer, found []driftEntry) error {
	standing := slices.ContainsFunc(found, func(e driftEntry) bool { return e.state == driftReported })
	slices.SortFunc(found, oldestFirst)
	switch {
	case d.format != "":
		list := itemsOutput{Items: []any{}}
		for _, e := range found {
			list.Items = append(list.Items, e.output())
		}
		if err := write(d.out, d.format, list); err != nil {
			return err
		}
	case len(found) == 0:
		fmt.Fprintln(stderr, "no drift is remembered")
	default:
		if err := d.begin(found); err != nil {
			return err
		}
	}
	if standing {
		return &Error{Code: ExitNo}
	}
	return nil
}

func (d *driftPrinter) begin(found []driftEntry) error {
	slices.SortFunc(found, oldestFirst)
	var rows [][]cell
	for _, e := range found {
		d.seen[e.key()] = true
		if d.format != "" {
			if err := writeLine(d.out, d.format, e.output()); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, d.row(e))
	}
	if d.format == "" {
		d.table.print(rows...)
	}
	return nil
}

func (d *driftPrinter) change(k kind, u *unstructured.Unstructured) error {
	entries := driftOf(k.app(u))
	slices.SortFunc(entries, oldestFirst)
	for _, e := range entries {
		if d.seen[e.key()] {
			continue
		}
		d.seen[e.key()] = true
		if d.format != "" {
			if err := writeLine(d.out, d.format, e.output()); err != nil {
				return err
			}
			continue
		}
		d.table.print(d.row(e))
	}
	return nil
}

func (d *driftPrinter) row(e driftEntry) []cell {
	what := strings.Join(e.Fields, ", ")
	if e.Deleted {
		what = "(deleted)"
	}
	by := e.By
	if e.Subresource != "" {
		by += " (" + e.Subresource + ")"
	}
	state := cell{string(e.state), good}
	if e.state == driftReported {
		state.tone = bad
	}
	return []cell{
		text(ageText(d.p.env.Now(), e.At)), text(shortName(e.app)), text(e.Ref.String()), text(what), text(by), state,
	}
}

// shortName is an app as it can be written as an argument.
func shortName(id app.ID) string {
	word := strings.ToLower(id.Kind)
	return word + "/" + id.Namespace + "/" + id.Name
}
