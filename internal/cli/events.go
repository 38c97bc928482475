package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/restmapper"
)

type eventsOptions struct {
	watch bool
	about string
}

func eventsCommand(p *program) *cobra.Command {
	var opts eventsOptions
	cmd := &cobra.Command{
		Use:     "events [APP | SOURCE]",
		Short:   "Show the events of apps and sources, oldest first",
		GroupID: groupSee,
		Long: `Show the Kubernetes events of all apps and sources, or of one app and its
source, oldest first. The API server forgets events after an hour or so.

--for KIND/NAME shows the events of any object in place of those.`,
		Example: `  plumb events
  plumb events ks/shop -w
  plumb events --for deployment/api -n shop`,
		Args:              arguments(0, 1),
		ValidArgsFunction: p.complete(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.events(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts, args)
		},
	}
	cmd.Flags().BoolVarP(&opts.watch, "watch", "w", false, "go on with each event until interrupted")
	cmd.Flags().StringVar(&opts.about, "for", "", "show the events of this object, `KIND/NAME`")
	return cmd
}

func (p *program) events(ctx context.Context, out, stderr io.Writer, opts eventsOptions, args []string) error {
	if opts.about != "" && len(args) > 0 {
		return usage("--for and an app exclude each other").hint("leave one out")
	}
	format, namespace, c, err := p.looking("json", "yaml")
	if err != nil {
		return err
	}
	subjects, err := c.subjects(ctx, opts.about, args, namespace)
	if err != nil {
		return err
	}
	show := newEventPrinter(p, out, format, namespace == "")
	var streams []stream
	var found []corev1.Event
	for _, s := range subjects {
		st := stream{
			from: c.at(corev1.SchemeGroupVersion.WithResource("events"), s.namespace),
			opts: metav1.ListOptions{FieldSelector: s.selector()},
		}
		if st.start, err = list(ctx, st.from, st.opts); err != nil {
			return err
		}
		for _, u := range st.start.items {
			if e, ok := eventFrom(u); ok && s.matches(e) {
				found = append(found, e)
			}
		}
		streams = append(streams, st)
	}
	slices.SortStableFunc(found, func(a, b corev1.Event) int { return lastSeen(a).Compare(lastSeen(b)) })
	if !opts.watch {
		return show.all(stderr, found)
	}
	if err := show.begin(found); err != nil {
		return err
	}
	return followAll(ctx, streams, func(c change) error {
		e, ok := eventFrom(c.object)
		if c.gone || !ok || !slices.ContainsFunc(subjects, func(s subject) bool { return s.matches(e) }) {
			return nil
		}
		return show.change(e)
	})
}

// subject is whose events are wanted; an empty field fits anything.
type subject struct{ group, kind, namespace, name string }

func (s subject) selector() string {
	set := fields.Set{"involvedObject.kind": s.kind}
	if s.name != "" {
		set["involvedObject.name"] = s.name
	}
	return set.String()
}

// matches checks what a selector cannot: the group.
func (s subject) matches(e corev1.Event) bool {
	of := e.InvolvedObject
	gv, _ := schema.ParseGroupVersion(of.APIVersion)
	return of.Kind == s.kind && (s.name == "" || of.Name == s.name) &&
		(of.APIVersion == "" || gv.Group == s.group)
}

// subjects reads whose events are wanted.
func (c *cluster) subjects(ctx context.Context, about string, args []string, namespace string) ([]subject, error) {
	switch {
	case about != "":
		s, err := c.subjectCalled(about, namespace)
		return []subject{s}, err
	case len(args) == 0:
		var out []subject
		for _, k := range kinds() {
			out = append(out, subject{group: k.resource.Group, kind: k.name, namespace: namespace})
		}
		return out, nil
	}
	t, err := c.find(ctx, args[0], namespace)
	if err != nil {
		return nil, err
	}
	out := []subject{{t.kind.resource.Group, t.kind.name, t.object.GetNamespace(), t.object.GetName()}}
	if t.kind.app != nil {
		if from := t.view().Source; from.Kind != "" {
			k, _ := kindNamed(from.Kind)
			out = append(out, subject{k.resource.Group, from.Kind, from.Namespace, from.Name})
		}
	}
	return out, nil
}

// subjectCalled reads KIND/NAME of any kind that the cluster serves.
func (c *cluster) subjectCalled(about, namespace string) (subject, error) {
	word, objectName, ok := strings.Cut(about, "/")
	if !ok || word == "" || objectName == "" || strings.Contains(objectName, "/") {
		return subject{}, usage("--for %s: want KIND/NAME", about).hint("-n says in which namespace")
	}
	if k, ok := kindCalled(word); ok {
		return subject{k.resource.Group, k.name, namespace, objectName}, nil
	}
	mapper, err := c.mapper()
	if err != nil {
		return subject{}, err
	}
	client, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return subject{}, err
	}
	short := restmapper.NewShortcutExpander(mapper, client, nil)
	gvk, err := short.KindFor(schema.GroupVersionResource{Resource: strings.ToLower(word)})
	if err != nil {
		return subject{}, notFound("--for %s: %w", about, err).hint("kubectl api-resources lists the kinds that there are")
	}
	return subject{gvk.Group, gvk.Kind, namespace, objectName}, nil
}

func eventFrom(u *unstructured.Unstructured) (corev1.Event, bool) {
	var e corev1.Event
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &e)
	return e, err == nil
}

// lastSeen is when an event happened last; which field tells depends on who
// recorded it.
func lastSeen(e corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

func firstSeen(e corev1.Event) time.Time {
	if !e.FirstTimestamp.IsZero() {
		return e.FirstTimestamp.Time
	}
	if !e.EventTime.IsZero() {
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}

func timesSeen(e corev1.Event) int32 {
	if e.Series != nil {
		return e.Series.Count
	}
	return max(e.Count, 1)
}

// eventPrinter prints events as a table, or as objects.
type eventPrinter struct {
	p          *program
	out        io.Writer
	format     string
	namespaces bool
	table      *table
}

type eventOutput struct {
	Last    string  `json:"last"`
	First   string  `json:"first"`
	Count   int32   `json:"count"`
	Type    string  `json:"type"`
	Reason  string  `json:"reason"`
	Object  appName `json:"object"`
	Message string  `json:"message"`
}

func newEventPrinter(p *program, out io.Writer, format string, namespaces bool) *eventPrinter {
	heads := []string{"LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"}
	if namespaces {
		heads = append([]string{"NAMESPACE"}, heads...)
	}
	return &eventPrinter{p: p, out: out, format: format, namespaces: namespaces, table: newTable(out, p.color(), heads...)}
}

func (p *eventPrinter) all(stderr io.Writer, found []corev1.Event) error {
	switch {
	case p.format != "":
		list := itemsOutput{Items: []any{}}
		for _, e := range found {
			list.Items = append(list.Items, eventJSON(e))
		}
		return write(p.out, p.format, list)
	case len(found) == 0:
		fmt.Fprintln(stderr, "no events found")
		return nil
	}
	return p.begin(found)
}

func (p *eventPrinter) begin(found []corev1.Event) error {
	if p.format != "" {
		for _, e := range found {
			if err := writeLine(p.out, p.format, eventJSON(e)); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]cell
	for _, e := range found {
		rows = append(rows, p.row(e))
	}
	p.table.print(rows...)
	return nil
}

func (p *eventPrinter) change(e corev1.Event) error {
	if p.format != "" {
		return writeLine(p.out, p.format, eventJSON(e))
	}
	p.table.print(p.row(e))
	return nil
}

func (p *eventPrinter) row(e corev1.Event) []cell {
	now := p.p.env.Now()
	seen := ageText(now, lastSeen(e))
	if n := timesSeen(e); n > 1 {
		seen = fmt.Sprintf("%s (x%d over %s)", seen, n, ageText(now, firstSeen(e)))
	}
	kind := cell{text: e.Type}
	if e.Type == corev1.EventTypeWarning {
		kind.tone = busy
	}
	row := []cell{
		text(seen), kind, text(e.Reason), text(e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name), messageCell(e.Message),
	}
	if p.namespaces {
		row = append([]cell{text(e.Namespace)}, row...)
	}
	return row
}

func eventJSON(e corev1.Event) eventOutput {
	return eventOutput{
		Last: stamp(lastSeen(e)), First: stamp(firstSeen(e)), Count: timesSeen(e), Type: e.Type, Reason: e.Reason,
		Object:  appName{e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name},
		Message: e.Message,
	}
}
