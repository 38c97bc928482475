package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

func treeCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "tree APP",
		Short:   "Show an app's objects, what they own, and how they fare",
		GroupID: groupSee,
		Long: `Show the objects of an app as a tree: what the app delivered, the ReplicaSets,
Jobs and Pods that came of it, and the apps among its objects with theirs. SYNC
is there where the app's status tells it for each object; HEALTH is read from
the live objects.`,
		Example: `  plumb tree ks/shop
  plumb tree app/root -o json`,
		Args:              arguments(1, 1),
		ValidArgsFunction: p.complete(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.tree(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
}

const (
	maxAppDepth    = 5    // apps of apps of apps
	maxTreeObjects = 2000 // objects that are read for one tree
	maxOwnedDepth  = 4    // Deployment, ReplicaSet, Pod
)

// node is one line of the tree.
type node struct {
	Ref      object.Ref
	Version  string
	Sync     app.SyncStatus
	Health   app.Health
	Children []*node
	Note     string // why there is less below than there could be
	isApp    bool
}

func (p *program) tree(ctx context.Context, out io.Writer, arg string) error {
	format, err := p.format("json", "yaml")
	if err != nil {
		return err
	}
	c, t, err := p.one(ctx, arg)
	if err != nil {
		return err
	}
	if err := onlyApps([]target{t}); err != nil {
		return err
	}
	read, err := c.newTreeReader()
	if err != nil {
		return err
	}
	root, err := read.app(ctx, t, 1)
	if err != nil {
		return err
	}
	if format != "" {
		return write(out, format, nodeJSON(root))
	}
	rows := treeRows(root, "", "")
	newTable(out, p.color(), "OBJECT", "SYNC", "HEALTH", "MESSAGE").print(rows...)
	return nil
}

// treeRows draws a node and what is below it.
func treeRows(n *node, prefix, below string) [][]cell {
	message := n.Health.Message
	if n.Health.Status == app.Healthy && !n.isApp {
		message = "" // it says so in more words
	}
	if n.Note != "" {
		message = n.Note
	}
	last := cell{} // empty rather than a dash: most are
	if message != "" {
		last = messageCell(message)
	}
	rows := [][]cell{{{text: prefix + n.Ref.String()}, syncCell(n.Sync), healthCell(n.Health.Status), last}}
	for i, child := range n.Children {
		branch, next := "├── ", "│   "
		if i == len(n.Children)-1 {
			branch, next = "└── ", "    "
		}
		rows = append(rows, treeRows(child, below+branch, below+next)...)
	}
	return rows
}

type nodeOutput struct {
	objectOutput
	Note     string       `json:"note,omitempty"`
	Children []nodeOutput `json:"children"`
}

func nodeJSON(n *node) nodeOutput {
	out := nodeOutput{
		objectOutput: objectJSON(app.ObjectView{Ref: n.Ref, Version: n.Version, Sync: n.Sync, Health: n.Health.Status}),
		Note:         n.Note,
		Children:     []nodeOutput{},
	}
	out.Message = n.Health.Message
	for _, c := range n.Children {
		out.Children = append(out.Children, nodeJSON(c))
	}
	return out
}

// app reads the tree below one app.
func (r *treeReader) app(ctx context.Context, t target, depth int) (*node, error) {
	v := t.view()
	n := appNode(t, v)
	if r.seen[v.UID] {
		n.Note = "shown above"
		return n, nil
	}
	r.seen[v.UID] = true
	if v.Target.Cluster != "" {
		n.Note = "delivered to another cluster: health is what the status tells"
		for _, o := range v.Objects {
			n.Children = append(n.Children, &node{Ref: o.Ref, Version: o.Version, Sync: o.Sync, Health: app.Health{Status: o.Health}})
		}
		return n, nil
	}
	objects := v.Objects
	if left := max(0, maxTreeObjects-r.read); len(objects) > left {
		n.Note = fmt.Sprintf("%d more objects are not shown", len(objects)-left)
		objects = objects[:left]
	}
	r.read += len(objects)
	children, err := r.objects(ctx, objects, t.kind.rules)
	if err != nil {
		return nil, err
	}
	n.Children = children
	for i, child := range children {
		k, ok := kindNamed(child.Ref.Kind)
		if !ok || k.app == nil || k.resource.Group != child.Ref.Group {
			continue
		}
		if depth == maxAppDepth {
			child.Note = "apps are not followed deeper than this"
			continue
		}
		found, err := r.named(ctx, k, child.Ref.Namespace, child.Ref.Name)
		if err != nil && !errors.Is(err, errNotServed) {
			return nil, err
		}
		if len(found) != 1 {
			continue // it is missing, and the line says so
		}
		below, err := r.app(ctx, found[0], depth+1)
		if err != nil {
			return nil, err
		}
		below.Version = child.Version
		children[i] = below
	}
	return n, nil
}

// appNode is the line of an app.
func appNode(t target, v app.View) *node {
	n := &node{
		Ref:    object.Ref{Group: t.kind.resource.Group, Kind: v.ID.Kind, Namespace: v.ID.Namespace, Name: v.ID.Name},
		Sync:   v.Sync,
		Health: app.Health{Status: v.Health.Status, Message: v.Message},
		isApp:  true,
	}
	n.Version = t.kind.resource.Version
	if v.Health.Status == app.HealthNone && v.State == app.StateFailed {
		n.Health.Status = app.Degraded
	}
	if v.Suspended {
		n.Health.Status = app.Suspended
	}
	return n
}
