package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/object"
)

type syncOptions struct {
	revision  string
	prune     bool
	dryRun    bool
	force     bool
	resources []string
	wait      bool
	timeout   time.Duration
}

func syncCommand(p *program) *cobra.Command {
	var opts syncOptions
	cmd := &cobra.Command{
		Use:     "sync APP",
		Short:   "Make the cluster as Git has it now, and wait until it is",
		GroupID: groupAct,
		Long: `Deliver an app now, whatever its policy, and wait until it is delivered and
healthy.

An Application is asked by its operation field, and the options below are for
Applications only. A Kustomization is always delivered in full: for it, sync is
plumb reconcile --with-source.

--resource limits the sync to objects that the app has already, named as
plumb tree prints them.

The exit code is 1 if the sync or an object fails, 5 if the time is up first.`,
		Example: `  plumb sync app/shop
  plumb sync app/shop --prune --revision v1.4.0
  plumb sync app/shop --resource Deployment/shop/api --dry-run`,
		Args:              arguments(1, 1),
		ValidArgsFunction: p.complete(false),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.sync(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts, args[0])
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.revision, "revision", "", "deliver this `REVISION` in place of the app's")
	flags.BoolVar(&opts.prune, "prune", false, "delete what Git has no longer")
	flags.BoolVar(&opts.dryRun, "dry-run", false, "only try what would happen")
	flags.BoolVar(&opts.force, "force", false, "recreate objects that cannot be changed in place")
	flags.StringArrayVar(&opts.resources, "resource", nil, "only this object, `KIND/[NAMESPACE/]NAME`; can be repeated")
	addWaitFlags(cmd, &opts.wait, &opts.timeout)
	return cmd
}

func (p *program) sync(ctx context.Context, out, stderr io.Writer, opts syncOptions, arg string) error {
	if _, err := p.format(); err != nil {
		return err
	}
	c, t, err := p.one(ctx, arg)
	if err != nil {
		return err
	}
	if err := onlyApps([]target{t}); err != nil {
		return err
	}
	if t.view().Suspended {
		return suspended(t)
	}
	if t.kind.name == argo.KindApplication {
		return c.operate(ctx, out, stderr, t, opts)
	}
	if opts.revision != "" || opts.prune || opts.dryRun || opts.force || len(opts.resources) > 0 {
		return usage("%s: --revision, --prune, --dry-run, --force and --resource are for Applications", t).
			hint("a %s is always delivered in full; plumb diff shows what would change", t.kind.name)
	}
	r := reconciler{
		program: p, cluster: c, out: out, stderr: stderr,
		opts: reconcileOptions{withSource: true, wait: opts.wait, timeout: opts.timeout},
	}
	return r.app(ctx, t)
}

// operate asks an Application for a sync.
func (c *cluster) operate(ctx context.Context, out, stderr io.Writer, t target, opts syncOptions) error {
	request := app.Request{Sync: true, Revision: opts.revision, Prune: opts.prune, DryRun: opts.dryRun, Force: opts.force, By: "plumb"}
	for _, text := range opts.resources {
		ref, err := resourceOf(t, text)
		if err != nil {
			return err
		}
		request.Resources = append(request.Resources, ref)
	}
	u, err := c.putOperation(ctx, t, request)
	if err != nil {
		return err
	}
	t.object = u
	if !opts.wait {
		fmt.Fprintf(out, "%s: asked for\n", t)
		return nil
	}
	partial := opts.dryRun || len(opts.resources) > 0 || opts.revision != ""
	u, err = c.await(ctx, t, opts.timeout, stderr, judgeOperation(t, partial))
	tellObjects(stderr, argo.Operation(u))
	if err != nil {
		return err
	}
	if opts.dryRun {
		fmt.Fprintf(out, "%s: dry run: %s\n", t, oneLine(argo.Operation(u).Message))
		return nil
	}
	tellResult(out, stderr, t, t.kind.app(u))
	return nil
}

// attempts bounds how often a write is tried again because someone else wrote
// meanwhile, as the engine does all the time.
const attempts = 10

// putOperation writes the request, unless another one stands there.
func (c *cluster) putOperation(ctx context.Context, t target, r app.Request) (*unstructured.Unstructured, error) {
	var err error
	for range attempts {
		if argo.Operation(t.object).Asked {
			return nil, no("%s: another sync is in progress", t).hint("plumb get %s -w shows when it is over", t)
		}
		var u *unstructured.Unstructured
		if u, err = c.patch(ctx, t, argo.SyncPatch(t.object, r)); err == nil {
			return u, nil
		}
		if !apierrors.IsConflict(err) {
			return nil, err
		}
		t.object, err = c.at(t.kind.resource, t.object.GetNamespace()).Get(ctx, t.object.GetName(), metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
	}
	return nil, fail(ExitOther, "%s: changed %d times while the request was written", t, attempts).hint("try again")
}

// judgeOperation waits for the end of the operation, and then, unless only a
// part of the app was delivered, for the app to be well.
func judgeOperation(t target, partial bool) func(*unstructured.Unstructured) waiting {
	return func(u *unstructured.Unstructured) waiting {
		op := argo.Operation(u)
		switch {
		case !op.Over && op.Message == "":
			return waiting{progress: "waiting to be taken up", unheard: true}
		case !op.Over:
			return waiting{progress: op.Message}
		case !op.Succeeded:
			return waiting{failed: no("%s: %s", t, orDash(op.Message)).hint("plumb events %s tells more", t)}
		case partial:
			return waiting{over: true}
		}
		v := t.kind.app(u)
		return judgeState(t, v.State, v.Message)
	}
}

// tellObjects prints what was done to which object.
func tellObjects(stderr io.Writer, op argo.OperationView) {
	for _, r := range op.Resources {
		fmt.Fprintf(stderr, "  %s: %s\n", r.Ref, orDash(oneLine(strings.TrimSpace(r.Status+" "+r.Message))))
	}
}

// resourceOf finds an object of an app by what a person writes for it.
func resourceOf(t target, text string) (object.Ref, error) {
	parts := strings.Split(text, "/")
	var found []object.Ref
	for _, o := range t.view().Objects {
		fits := strings.EqualFold(o.Ref.Kind, parts[0])
		switch len(parts) {
		case 2:
			fits = fits && o.Ref.Name == parts[1]
		case 3:
			fits = fits && o.Ref.Namespace == parts[1] && o.Ref.Name == parts[2]
		default:
			fits = false
		}
		if fits {
			found = append(found, o.Ref)
		}
	}
	switch len(found) {
	case 0:
		return object.Ref{}, notFound("%s has no object %q", t, text).hint("plumb tree %s lists them: write KIND/NAME or KIND/NAMESPACE/NAME", t)
	case 1:
		return found[0], nil
	}
	return object.Ref{}, usage("%s has several objects %q", t, text).hint("write KIND/NAMESPACE/NAME")
}
