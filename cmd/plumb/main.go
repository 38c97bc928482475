// Command plumb keeps Kubernetes clusters true to Git.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/internal/sandbox/controlplane"
)

func main() {
	root := &cobra.Command{Use: "plumb", Short: "Keep Kubernetes clusters true to Git", SilenceErrors: true, SilenceUsage: true}
	root.AddCommand(controlplane.Command())
	if err := root.ExecuteContext(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "plumb: "+err.Error())
		os.Exit(1)
	}
}
