package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/render/worker"
)

// renderWorkerName is the hidden command that a server starts for rendering.
const renderWorkerName = "render-worker"

func renderWorkerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    renderWorkerName,
		Short:  "Render what the parent process asks for, confined",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if code := worker.Main(cmd.InOrStdin(), cmd.OutOrStdout()); code != 0 {
				return fmt.Errorf("the rendering process ends with fault %d; plumb serve starts it, it is of no use by itself", code)
			}
			return nil
		},
	}
}
