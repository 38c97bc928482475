package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/app"
)

type reconcileOptions struct {
	withSource bool
	hard       bool
	wait       bool
	timeout    time.Duration
}

func reconcileCommand(p *program) *cobra.Command {
	var opts reconcileOptions
	cmd := &cobra.Command{
		Use:     "reconcile APP | SOURCE",
		Short:   "Have an app or a source looked at now, and wait for the result",
		GroupID: groupAct,
		Long: `Ask for a new look at an app or a source, as the annotations of its dialect do
it, and wait until the request is answered and the app is well. What an app
does then is up to its policy: one without automated sync is compared and not
synced; see plumb sync.

The exit code is 1 if the app or the source fails, 5 if the time is up first.`,
		Example: `  plumb reconcile ks/shop --with-source
  plumb reconcile gitrepository/fleet
  plumb reconcile app/shop --wait=false`,
		Args:              arguments(1, 1),
		ValidArgsFunction: p.complete(true),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.reconcile(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts, args[0])
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&opts.withSource, "with-source", false, "look at the app's source first (an Application's always is)")
	flags.BoolVar(&opts.hard, "hard", false, "forget what was rendered before")
	addWaitFlags(cmd, &opts.wait, &opts.timeout)
	return cmd
}

func addWaitFlags(cmd *cobra.Command, wait *bool, timeout *time.Duration) {
	cmd.Flags().BoolVar(wait, "wait", true, "wait for the result; false only asks")
	cmd.Flags().DurationVar(timeout, "timeout", defaultTimeout, "how long to wait")
}

func (p *program) reconcile(ctx context.Context, out, stderr io.Writer, opts reconcileOptions, arg string) error {
	if _, err := p.format(); err != nil {
		return err
	}
	c, t, err := p.one(ctx, arg)
	if err != nil {
		return err
	}
	r := reconciler{program: p, cluster: c, out: out, stderr: stderr, opts: opts}
	if t.kind.source != nil {
		return r.source(ctx, t)
	}
	return r.app(ctx, t)
}

// reconciler carries a request out.
type reconciler struct {
	*program
	*cluster
	out, stderr io.Writer
	opts        reconcileOptions
}

func (r reconciler) source(ctx context.Context, t target) error {
	if t.kind.refresh == nil {
		return anothers(t, "looked at").hint("plumb get %s tells what it holds, which Plumb acts on at once", t)
	}
	if t.kind.source(t.object).Suspended {
		return suspended(t)
	}
	u, err := r.ask(ctx, t, judgeSource)
	if err != nil || u == nil {
		return err
	}
	fmt.Fprintf(r.out, "%s: fetched %s\n", t, revisionText(t.kind.source(u).Revision))
	return nil
}

func (r reconciler) app(ctx context.Context, t target) error {
	v := t.view()
	if v.Suspended {
		return suspended(t)
	}
	if r.opts.withSource && v.Source.Kind != "" {
		source, err := r.sourceOf(ctx, v)
		if err != nil {
			return err
		}
		if source.kind.refresh == nil {
			return anothers(source, "looked at").hint("leave --with-source out: Plumb acts at once on what it holds")
		}
		first := r
		first.opts.wait = true // an app that is asked too early looks at the old revision
		if err := first.source(ctx, source); err != nil {
			return err
		}
		// The new revision may have changed the app already.
		t.object, err = r.at(t.kind.resource, t.object.GetNamespace()).Get(ctx, t.object.GetName(), metav1.GetOptions{})
		if err != nil {
			return err
		}
	}
	u, err := r.ask(ctx, t, judgeApp)
	if err != nil || u == nil {
		return err
	}
	tellResult(r.out, r.stderr, t, t.kind.app(u))
	return nil
}

// sourceOf finds the source resource of an app.
func (c *cluster) sourceOf(ctx context.Context, v app.View) (target, error) {
	k, ok := kindNamed(v.Source.Kind)
	if !ok {
		return target{}, fail(ExitOther, "sources of kind %s cannot be reconciled by this version of Plumb", v.Source.Kind)
	}
	found, err := c.named(ctx, k, v.Source.Namespace, v.Source.Name)
	if errors.Is(err, errNotServed) || err == nil && len(found) == 0 {
		return target{}, notFound("the source of the app, %s, does not exist", v.Source)
	}
	if err != nil {
		return target{}, err
	}
	return found[0], nil
}

// ask writes the request and waits for the answer. It returns nil if it does
// not wait.
func (r reconciler) ask(ctx context.Context, t target, judge func(target) func(*unstructured.Unstructured) waiting) (*unstructured.Unstructured, error) {
	token := r.env.Now().UTC().Format(time.RFC3339Nano)
	u, err := r.patch(ctx, t, t.kind.refresh(token, r.opts.hard))
	if err != nil {
		return nil, err
	}
	t.object = u
	if !r.opts.wait {
		fmt.Fprintf(r.out, "%s: asked for\n", t)
		return nil, nil
	}
	return r.await(ctx, t, r.opts.timeout, r.stderr, judge(t))
}

// patch merges into the custom resource of a target.
func (c *cluster) patch(ctx context.Context, t target, change map[string]any) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	u, err := c.at(t.kind.resource, t.object.GetNamespace()).
		Patch(ctx, t.object.GetName(), types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t, err)
	}
	return u, nil
}

// anothers says that a target is not Plumb's to do something about.
func anothers(t target, what string) *Error {
	return usage("%s cannot be %s by Plumb: another controller makes it", t, what)
}

func suspended(t target) error {
	return no("%s is suspended", t).hint("plumb resume %s", t)
}

// tellResult is the last line of a wait that ended well, and what its user
// should know besides.
func tellResult(out, stderr io.Writer, t target, v app.View) {
	switch {
	case v.State == app.StateDiffers:
		fmt.Fprintf(out, "%s: compared with %s: %s\n", t, revisionText(v.Revision), oneLine(v.Message))
	case v.Health.Status == app.HealthNone:
		fmt.Fprintf(out, "%s: applied %s\n", t, revisionText(v.Applied))
	default:
		fmt.Fprintf(out, "%s: applied %s, %s\n", t, revisionText(v.Applied), v.Health.Status)
	}
	for _, w := range v.Warnings {
		fmt.Fprintf(stderr, "warning: %s\n", oneLine(warningText(w)))
	}
}
