// Package cli is Plumb for people at a terminal: one file a command. Commands
// talk to the Kubernetes API with the user's own kubeconfig and rights, and
// need no server of Plumb's. What a custom resource means is asked of the
// dialects; this package must not know their fields.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
)

// BuildInfo says which build this is; empty fields are unknown.
type BuildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"` // RFC 3339
}

// Environment is what commands know of the process they run in. Nothing else
// of it is read. The zero value is a process without home, on no terminal.
type Environment struct {
	Kubeconfig string // KUBECONFIG: files, separated as in PATH
	Home       string // for ~/.kube/config; "" for none
	CacheDir   string // for repositories that `build` fetches; "" for a temporary directory
	NoColor    bool   // NO_COLOR is set
	Terminal   bool   // standard output is a terminal
	// ErrorTerminal: standard error is a terminal.
	ErrorTerminal bool
	// InputTerminal: standard input is a terminal.
	InputTerminal bool
	// Hostname tells this machine from others; "" if unknown.
	Hostname string
	// Executable is this program, for commands that start it again; "" for none.
	Executable string
	// Program identifies this program down to its code, "" if it cannot; nil
	// for one that does not know.
	Program func() string
	// OnPath: whoever types plumb runs this program.
	OnPath bool
	// InCluster is the way to the cluster that the process runs in; nil if it
	// runs in none.
	InCluster func() (*rest.Config, error)
	// Proxy chooses the proxy for repositories; nil is none.
	Proxy func(*http.Request) (*url.URL, error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// program is what all commands share: where they run, and the global flags.
type program struct {
	build BuildInfo
	env   Environment

	kubeconfig    string
	context       string
	namespace     string
	allNamespaces bool
	output        string
}

// Root is the plumb command with all commands of this package. Others may be
// added to it before Run.
func Root(build BuildInfo, env Environment) *cobra.Command {
	if env.Now == nil {
		env.Now = time.Now
	}
	p := &program{build: build, env: env}
	root := &cobra.Command{
		Use:   "plumb",
		Short: "Keep Kubernetes clusters true to Git",
		Long: `Plumb keeps Kubernetes clusters true to Git. It runs the Kustomizations and
GitRepositories of Flux and the Applications of Argo CD, side by side.

These commands need nothing but your kubeconfig. Wherever APP stands, write
KIND/NAME (kustomization/shop, ks/shop, application/shop, app/shop) or, where
only one app is called so, just the name. Apps are looked for in all
namespaces unless -n names one.`,
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,

		Args: knownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&p.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` (default: $KUBECONFIG, then ~/.kube/config)")
	flags.StringVar(&p.context, "context", "", "`NAME` of the kubeconfig context to use")
	flags.StringVarP(&p.namespace, "namespace", "n", "", "look only in this `NAMESPACE`")
	flags.BoolVarP(&p.allNamespaces, "all-namespaces", "A", false, "look in all namespaces (the default)")
	flags.StringVarP(&p.output, "output", "o", "", "output `FORMAT`: json or yaml, and where the command says so, others")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w", err).hint("%s --help tells what there is", cmd.CommandPath())
	})
	root.AddGroup(
		&cobra.Group{ID: groupSee, Title: "See:"},
		&cobra.Group{ID: groupAct, Title: "Act:"},
		&cobra.Group{ID: groupRepository, Title: "Repositories:"},
		&cobra.Group{ID: groupRun, Title: "Run:"},
	)
	// The only error is that there is no such flag, and a test completes it.
	_ = root.RegisterFlagCompletionFunc("context", p.completeContexts)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(commands(p)...)
	return root
}

const (
	groupSee        = "see"
	groupAct        = "act"
	groupRepository = "repository"
	groupRun        = "run"
)

// commands is the list of all commands.
func commands(p *program) []*cobra.Command {
	return []*cobra.Command{
		getCommand(p), treeCommand(p), driftCommand(p), diffCommand(p), eventsCommand(p),
		reconcileCommand(p), syncCommand(p), suspendCommand(p), resumeCommand(p),
		buildCommand(p),
		upCommand(p), serveCommand(p), installCommand(p), bootstrapCommand(p), adoptCommand(p), releaseCommand(p),
		versionCommand(p), renderWorkerCommand(),
	}
}

// Run executes root with args, tells of an error on stderr, and returns the
// exit code that docs/commands/exit-codes.md promises.
func Run(ctx context.Context, root *cobra.Command, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	own := (*Error)(nil)
	told := errors.As(err, &own) && own.Code == ExitInterrupted // and says how things stand
	if err != nil && !told && context.Cause(ctx) != nil && ctx.Err() == context.Canceled {
		err = context.Canceled // whatever it interrupted
	}
	verdict := explain(err)
	if verdict.message != "" {
		fmt.Fprintf(stderr, "plumb: %s\n", verdict.message)
		if verdict.hint != "" {
			fmt.Fprintf(stderr, "  hint: %s\n", verdict.hint)
		}
	}
	return verdict.code
}

// knownCommand refuses what is left over after cobra has looked for a command.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := usage("there is no command %q", args[0])
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		return err.hint("did you mean %q?", similar[0])
	}
	return err.hint("plumb --help lists the commands")
}

// arguments accepts from least to most arguments; most < 0 is any number.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usage("%s: an argument is missing", cmd.CommandPath()).hint("write %s", cmd.UseLine())
		case most >= 0 && len(args) > most:
			return usage("%s: unexpected argument %q", cmd.CommandPath(), args[most]).hint("write %s", cmd.UseLine())
		}
		return nil
	}
}

// format checks -o against what a command can print; "" is always possible.
func (p *program) format(possible ...string) (string, error) {
	if p.output == "" || slices.Contains(possible, p.output) {
		return p.output, nil
	}
	return "", usage("-o %s is not possible here", p.output).hint("possible: %s", commaList(possible))
}

// scope is the namespace to look in, "" for all.
func (p *program) scope() (string, error) {
	if p.namespace != "" && p.allNamespaces {
		return "", usage("-n and -A exclude each other").hint("leave one out")
	}
	return p.namespace, nil
}

// color tells whether to color standard output.
func (p *program) color() bool { return p.env.Terminal && !p.env.NoColor }

// kubeconfigFiles lists where a kubeconfig may be, without the flag.
func (p *program) kubeconfigFiles() []string {
	if p.env.Kubeconfig != "" {
		return filepath.SplitList(p.env.Kubeconfig)
	}
	if p.env.Home != "" {
		return []string{filepath.Join(p.env.Home, ".kube", "config")}
	}
	return nil
}
