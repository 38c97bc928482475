package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const (
	docsDir   = "../../docs/commands"
	docsBegin = "<!-- What follows is the command's own help; go test ./internal/cli -run Docs -update writes it. -->"
	docsEnd   = "<!-- What follows is written by hand. -->"
)

// TestDocs holds that each command has a page which begins with its help, and
// that the index lists them. With -update it writes them; what is written by
// hand below stays.
func TestDocs(t *testing.T) {
	root := Root(BuildInfo{}, Environment{})
	root.InitDefaultCompletionCmd()
	index := "# Commands\n\n" + docsBegin + "\n\n| command | |\n|---|---|\n"
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		if c.Short == "" || c.Name() != "completion" && (c.GroupID == "" || c.ValidArgsFunction == nil) {
			t.Errorf("%s: has no short text, no group, or no completion", c.Name())
		}
		index += fmt.Sprintf("| [%s](%s.md) | %s |\n", c.Name(), c.Name(), c.Short)
		page(t, filepath.Join(docsDir, c.Name()+".md"), "# plumb "+c.Name()+"\n\n"+docsBegin+"\n\n"+help(c)+subcommands(c))
	}
	page(t, filepath.Join(docsDir, "README.md"), index+"\n")
}

// subcommands is the help of the commands below one, but for those that cobra
// makes.
func subcommands(c *cobra.Command) string {
	var b strings.Builder
	for _, s := range c.Commands() {
		if c.GroupID != "" {
			b.WriteString("## " + s.CommandPath() + "\n\n" + help(s))
		}
	}
	return b.String()
}

// help is a command's help as Markdown.
func help(c *cobra.Command) string {
	var b strings.Builder
	b.WriteString(c.Short + ".\n\n```text\n")
	b.WriteString("Usage:\n  " + c.UseLine() + "\n")
	if text := strings.TrimSpace(c.Long); text != "" {
		b.WriteString("\n" + text + "\n")
	}
	if c.Example != "" {
		b.WriteString("\nExamples:\n" + c.Example + "\n")
	}
	if sub := c.Commands(); len(sub) > 0 {
		b.WriteString("\nCommands:\n")
		for _, s := range sub {
			fmt.Fprintf(&b, "  %-12s %s\n", s.Name(), s.Short)
		}
	}
	if flags := c.LocalFlags(); flags.HasAvailableFlags() {
		b.WriteString("\nFlags:\n" + flags.FlagUsages())
	}
	b.WriteString("```\n\n")
	return b.String()
}

// page compares the beginning of a page, or rewrites it.
func page(t *testing.T, path, want string) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Errorf("%v: run with -update", err)
		return
	}
	got, byHand, found := bytes.Cut(old, []byte(docsEnd))
	if found && string(got) == want {
		return
	}
	if !*update {
		t.Errorf("%s is not what the command says of itself: run with -update", path)
		return
	}
	if !found {
		byHand = []byte("\n")
	}
	if err := os.WriteFile(path, []byte(want+docsEnd+string(byHand)), 0o644); err != nil {
		t.Fatal(err)
	}
}
