package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"plumb.dev/plumb/internal/adopt"
)

// handover is what taking over and handing back have in common: look, show,
// decide, do, and tell what came of it.
type handover struct {
	*program
	opts      handoverOptions
	cluster   *adopt.Cluster
	server    string // whose deliverer changes
	namespace string // of Flux
	format    string
	in        io.Reader
	result    io.Writer // for -o json and -o yaml
	out       io.Writer // for people
	stderr    io.Writer
}

// handoverCommand groups commands by the tool on the other side.
func handoverCommand(use, short, long string, tools ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:               use,
		Short:             short,
		GroupID:           groupRun,
		Long:              long,
		Args:              knownCommand,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(tools...)
	return cmd
}

type handoverOptions struct {
	dryRun  bool
	yes     bool
	timeout time.Duration
}

func (o *handoverOptions) add(flags *pflag.FlagSet, dryRun, yes, timeout string) {
	flags.BoolVar(&o.dryRun, "dry-run", false, dryRun)
	flags.BoolVar(&o.yes, "yes", false, yes)
	flags.DurationVar(&o.timeout, "timeout", defaultTimeout, timeout)
}

// handover prepares one; it sends nothing.
func (p *program) handover(cmd *cobra.Command, opts handoverOptions, formats ...string) (*handover, error) {
	format, err := p.format(formats...)
	if err != nil {
		return nil, err
	}
	namespace, err := p.fluxNamespace()
	if err != nil {
		return nil, err
	}
	config, err := p.restConfig()
	if err != nil {
		return nil, err
	}
	c, err := adopt.Connect(config)
	if err != nil {
		return nil, err
	}
	h := &handover{program: p, opts: opts, cluster: c, server: config.Host, namespace: namespace, format: format,
		in: cmd.InOrStdin(), result: cmd.OutOrStdout(), out: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr()}
	if h.machine() {
		h.out = io.Discard
	}
	return h, nil
}

// fluxNamespace is where Flux is, unless -n says otherwise.
func (p *program) fluxNamespace() (string, error) {
	switch {
	case p.allNamespaces:
		return "", usage("-A makes no sense here").hint("-n names the namespace of Flux")
	case p.namespace != "":
		return p.namespace, nil
	}
	return "flux-system", nil
}

// machine: a program reads what is printed.
func (h *handover) machine() bool { return h.format == "json" || h.format == "yaml" }

func (h *handover) say(format string, args ...any) { fmt.Fprintf(h.out, format+"\n", args...) }

// doing tells what is waited for; it goes where no result does.
func (h *handover) doing(format string, args ...any) { fmt.Fprintf(h.stderr, format+" …\n", args...) }

// mayI refuses if rights are missing for what is to be done.
func (h *handover) mayI(ctx context.Context, purpose adopt.Purpose, namespaces ...string) error {
	if h.opts.dryRun {
		purpose = adopt.ToLook
	}
	lacks, err := h.cluster.Lacks(ctx, purpose, namespaces...)
	if err != nil || len(lacks) == 0 {
		return err
	}
	return fail(ExitUnreachable, "nothing was done: you may not %s", strings.Join(lacks, ", ")).
		hint("ask for these rights in %s, or have someone do it who administers the cluster", h.server)
}

// noFlux says that no Flux is where it was looked for, and where one is.
func (h *handover) noFlux(ctx context.Context) error {
	err := notFound("there is no Flux in namespace %s", h.namespace)
	elsewhere, listErr := h.cluster.Controllers(ctx, "")
	if found := adopt.Replaced(elsewhere); listErr == nil && len(found) > 0 {
		return err.hint("there is one in namespace %s: -n names it", found[0].Namespace)
	}
	return err.hint("-n names the namespace that Flux is installed in; --context chooses another cluster than %s", h.server)
}

// confirm asks who sits at the terminal; nobody there is a no.
func (h *handover) confirm(question string) bool {
	if !h.env.InputTerminal || !h.env.ErrorTerminal {
		return false
	}
	fmt.Fprintf(h.stderr, "%s [y/N] ", question)
	var answer string
	_, _ = fmt.Fscanln(h.in, &answer) // an empty answer is a no
	answer = strings.ToLower(answer)
	return answer == "y" || answer == "yes"
}

// begun is an error from when something was done already: it says how things
// stand, and what to do.
func begun(ctx context.Context, err error, hint string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return fail(ExitInterrupted, "interrupted").hint("%s", hint)
	case errors.Is(err, context.DeadlineExceeded):
		return fail(ExitTimeout, "%w", err).hint("%s; --timeout gives it more time", hint)
	}
	v := explain(err)
	return &Error{Code: v.code, Err: err, Hint: hint}
}
