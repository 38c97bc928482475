package controlplane

import (
	"encoding/json"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/sandbox"
	"plumb.dev/plumb/internal/sandbox/child"
)

// Command is the hidden command that package sandbox starts. It reports on
// standard output in lines of sandbox.Message.
func Command() *cobra.Command {
	var opts Options
	var untilStdinCloses bool
	cmd := &cobra.Command{
		Use:           sandbox.CommandName,
		Short:         "Run a Kubernetes control plane with a simulated node in this process",
		Hidden:        true,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.Dir, "data", "", "directory that keeps the cluster (required)")
	flags.IntVar(&opts.Port, "port", 0, "port of the API server on 127.0.0.1; 0 for the one of the last run, or a free one")
	flags.StringVar(&opts.AuditLog, "audit-log", "", "file for audit events at metadata level")
	flags.StringVar(&opts.Issuer, "issuer", "", "URL that tokens of service accounts say they are from; \"\" for Kubernetes' default")
	flags.StringVar(&opts.Authentication, "authentication", "", "file with an AuthenticationConfiguration")
	flags.IntVar(&opts.GCPercent, "gc-percent", 0, "GOGC of the process; 0 for Go's default")
	flags.BoolVar(&untilStdinCloses, "until-stdin-closes", false, "end when standard input does, that is, with the parent process")

	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		if untilStdinCloses {
			ctx = child.UntilParentEnds(ctx, cmd.InOrStdin())
		}
		messages := json.NewEncoder(cmd.OutOrStdout())
		opts.Progress = func(step string) { messages.Encode(sandbox.Message{Step: step}) }
		opts.Ready = func(ready sandbox.Ready) { messages.Encode(sandbox.Message{Ready: &ready}) }
		err := Run(ctx, opts)
		if err != nil {
			messages.Encode(sandbox.Message{Error: err.Error()})
		}
		return err
	}
	return cmd
}
