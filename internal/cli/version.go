package cli

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

// versionOutput is what -o json prints.
type versionOutput struct {
	BuildInfo
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(p *program) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		Short:             "Print which build of Plumb this is",
		GroupID:           groupRun,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := p.format("json", "yaml")
			if err != nil {
				return err
			}
			return p.version(cmd.OutOrStdout(), format)
		},
	}
}

func (p *program) version(out io.Writer, format string) error {
	v := versionOutput{BuildInfo: p.build, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if v.Version == "" {
		v.Version = "unknown"
	}
	if format != "" {
		return write(out, format, v)
	}
	line := "plumb " + v.Version
	if v.Commit != "" {
		line += ", commit " + v.Commit[:min(len(v.Commit), 12)]
	}
	if v.Date != "" {
		line += ", built " + v.Date
	}
	_, err := fmt.Fprintf(out, "%s, %s, %s\n", line, v.Go, v.Platform)
	return err
}
