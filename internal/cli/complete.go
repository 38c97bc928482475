package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// completionTimeout bounds how long a press of the tab key may take.
const completionTimeout = 2 * time.Second

// complete offers names of apps, of sources if asked for, and further words.
// A cluster that cannot be asked completes nothing.
func (p *program) complete(sources bool, words ...string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		out := append([]string{}, words...)
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		c, err := p.connect()
		if err != nil {
			return out, cobra.ShellCompDirectiveNoFileComp
		}
		for _, k := range kinds() {
			if k.source != nil && !sources {
				continue
			}
			found, err := list(ctx, c.at(k.resource, p.namespace), metav1.ListOptions{})
			if err != nil {
				continue
			}
			for _, u := range found.items {
				// Bare names first; with a slash the kind is meant.
				if k.app != nil && !strings.Contains(begun, "/") {
					out = append(out, u.GetName())
				}
				out = append(out, k.words[0]+"/"+u.GetName())
			}
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeContexts offers the contexts of the kubeconfig.
func (p *program) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return p.contexts(), cobra.ShellCompDirectiveNoFileComp
}
