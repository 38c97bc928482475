package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type getOptions struct{ watch bool }

func getCommand(p *program) *cobra.Command {
	var opts getOptions
	cmd := &cobra.Command{
		Use:     "get [apps | sources | KIND | APP | SOURCE]...",
		Short:   "List apps and sources with their state",
		GroupID: groupSee,
		Long: `List the apps of both dialects in one table, or the sources, or those that are
named.

READY is True for an app that is delivered as asked and as healthy as it has to
be, Unknown while work is going on, and False if something is wrong, or if the
cluster differs from Git and nothing will be done about it without being asked.
HEALTH is empty where the app does not ask for health. REVISION is what is
delivered.

-o wide adds the source, its path, the last sync, and how many drifts the app
remembers.`,
		Example: `  plumb get
  plumb get sources -n flux-system
  plumb get ks/shop -o yaml
  plumb get -w`,
		Args:              arguments(0, -1),
		ValidArgsFunction: p.complete(true, "apps", "sources"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.get(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts, args)
		},
	}
	cmd.Flags().BoolVarP(&opts.watch, "watch", "w", false, "go on with each change until interrupted")
	return cmd
}

// selection is what `get` was asked for.
type selection struct {
	kinds   []kind
	targets []target // set if objects were named; kinds then are theirs
	single  bool     // exactly one object was named, alone
}

func (p *program) get(ctx context.Context, out, stderr io.Writer, opts getOptions, args []string) error {
	format, namespace, c, err := p.looking("wide", "json", "yaml")
	if err != nil {
		return err
	}
	sel, err := c.choose(ctx, args, namespace)
	if err != nil {
		return err
	}
	streams, err := c.streams(ctx, sel, namespace)
	if err != nil {
		return err
	}
	show := newGetPrinter(p, out, stderr, format, namespace == "", opts.watch)
	if !opts.watch {
		return show.all(streams, sel.single)
	}
	if err := show.begin(streams); err != nil {
		return err
	}
	return followAll(ctx, streams, func(change change) error {
		if !sel.wants(change.kind, change.object) {
			return nil
		}
		return show.change(change)
	})
}

// choose reads the arguments.
func (c *cluster) choose(ctx context.Context, args []string, namespace string) (selection, error) {
	var sel selection
	for _, arg := range args {
		switch k, isKind := kindCalled(arg); {
		case arg == "apps":
			sel.kinds = append(sel.kinds, appKinds()...)
		case arg == "sources":
			sel.kinds = append(sel.kinds, sourceKinds()...)
		case isKind:
			sel.kinds = append(sel.kinds, k)
		default:
			t, err := c.find(ctx, arg, namespace)
			if err != nil {
				return selection{}, err
			}
			sel.targets = append(sel.targets, t)
		}
	}
	if len(sel.kinds) > 0 && len(sel.targets) > 0 {
		return selection{}, usage("kinds and names do not go together").hint("ask for one after the other")
	}
	if len(args) == 0 {
		sel.kinds = appKinds()
	}
	for _, t := range sel.targets {
		if !slices.ContainsFunc(sel.kinds, func(k kind) bool { return k.name == t.kind.name }) {
			sel.kinds = append(sel.kinds, t.kind)
		}
	}
	sel.single = len(args) == 1 && len(sel.targets) == 1
	return sel, nil
}

func (s selection) wants(k kind, u *unstructured.Unstructured) bool {
	return len(s.targets) == 0 || slices.ContainsFunc(s.targets, func(t target) bool {
		return t.kind.name == k.name && t.object.GetNamespace() == u.GetNamespace() && t.object.GetName() == u.GetName()
	})
}

// streams lists each kind; kinds that the cluster does not serve are left out.
func (c *cluster) streams(ctx context.Context, sel selection, namespace string) ([]stream, error) {
	var out []stream
	for _, k := range sel.kinds {
		s := stream{kind: k, from: c.at(k.resource, namespace)}
		var err error
		s.start, err = list(ctx, s.from, metav1.ListOptions{})
		if errors.Is(err, errNotServed) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.start.items = slices.DeleteFunc(s.start.items, func(u *unstructured.Unstructured) bool { return !sel.wants(k, u) })
		slices.SortFunc(s.start.items, byName)
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, notInstalled()
	}
	return out, nil
}

func byName(a, b *unstructured.Unstructured) int {
	if c := strings.Compare(a.GetNamespace(), b.GetNamespace()); c != 0 {
		return c
	}
	return strings.Compare(a.GetName(), b.GetName())
}

// getPrinter prints apps and sources, in one table each.
type getPrinter struct {
	out     io.Writer
	err     io.Writer // for what is not part of the answer
	watch   bool
	format  string
	columns getColumns
	apps    *table
	sources *table
	last    map[string]string // the row of each object as last printed, age aside
}

func newGetPrinter(p *program, out, err io.Writer, format string, namespaces, watch bool) *getPrinter {
	columns := getColumns{namespaces: namespaces, wide: format == "wide", now: p.env.Now}
	return &getPrinter{
		out: out, err: err, watch: watch, format: format, columns: columns, last: map[string]string{},
		apps:    newTable(out, p.color(), columns.appHeads()...),
		sources: newTable(out, p.color(), columns.sourceHeads()...),
	}
}

func (g *getPrinter) structured() bool { return g.format == "json" || g.format == "yaml" }

// all prints everything at once.
func (g *getPrinter) all(streams []stream, single bool) error {
	if !g.structured() {
		return g.begin(streams)
	}
	list := itemsOutput{Items: []any{}}
	for _, s := range streams {
		for _, u := range s.start.items {
			list.Items = append(list.Items, structured(s.kind, u))
		}
	}
	if single && len(list.Items) == 1 {
		return write(g.out, g.format, list.Items[0])
	}
	return write(g.out, g.format, list)
}

func structured(k kind, u *unstructured.Unstructured) any {
	if k.source != nil {
		return sourceJSON(k.source(u))
	}
	return appJSON(k.app(u))
}

// begin prints what there is before a watch goes on with changes.
func (g *getPrinter) begin(streams []stream) error {
	if g.structured() {
		for _, s := range streams {
			for _, u := range s.start.items {
				if err := writeLine(g.out, g.format, changeOutput{"present", structured(s.kind, u)}); err != nil {
					return err
				}
			}
		}
		return nil
	}
	var apps, sources []*unstructured.Unstructured
	kindOf := map[*unstructured.Unstructured]kind{}
	anyApps, anySources := false, false
	for _, s := range streams {
		for _, u := range s.start.items {
			kindOf[u] = s.kind
		}
		if s.kind.app != nil {
			anyApps, apps = true, append(apps, s.start.items...)
		} else {
			anySources, sources = true, append(sources, s.start.items...)
		}
	}
	print := func(what string, t *table, items []*unstructured.Unstructured) {
		slices.SortStableFunc(items, byName)
		var rows [][]cell
		for _, u := range items {
			row := g.row(kindOf[u], u)
			g.last[string(u.GetUID())] = visible(t.heads, row)
			rows = append(rows, row)
		}
		if len(rows) == 0 && !g.watch {
			fmt.Fprintf(g.err, "no %s found\n", what)
			return
		}
		t.print(rows...)
	}
	if anyApps {
		print("apps", g.apps, apps)
	}
	if anyApps && anySources {
		fmt.Fprintln(g.out)
	}
	if anySources {
		print("sources", g.sources, sources)
	}
	return nil
}

func (g *getPrinter) row(k kind, u *unstructured.Unstructured) []cell {
	if k.source != nil {
		return g.columns.source(k.source(u))
	}
	return g.columns.app(k.app(u))
}

// change prints what a watch tells; a change that no column shows is not
// printed.
func (g *getPrinter) change(c change) error {
	event := "changed"
	if c.gone {
		event = "deleted"
	}
	if g.structured() {
		return writeLine(g.out, g.format, changeOutput{event, structured(c.kind, c.object)})
	}
	t := g.apps
	if c.kind.source != nil {
		t = g.sources
	}
	row, id := g.row(c.kind, c.object), string(c.object.GetUID())
	if c.gone {
		delete(g.last, id)
		row[len(row)-1] = cell{"deleted", faint}
		t.print(row)
		return nil
	}
	if now := visible(t.heads, row); g.last[id] != now {
		g.last[id] = now
		t.print(row)
	}
	return nil
}
