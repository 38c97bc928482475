package cli

import (
	"io"

	"github.com/spf13/cobra"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/install"
)

type installOptions struct {
	image      string
	namespaces bool
	crds       bool
}

func installCommand(p *program) *cobra.Command {
	var opts installOptions
	cmd := &cobra.Command{
		Use:     "install",
		Short:   "Print the manifests that put Plumb into a cluster",
		GroupID: groupRun,
		Long: `Print the manifests that put Plumb into a cluster: the definitions of its custom
resources, its identity and rights, its Deployment and its Service. Nothing is
applied: pipe them to kubectl. Applying them again updates Plumb.

-n chooses the namespace that Plumb runs in; plumb-system is the default. The
flux command looks for an installation in flux-system unless it is told
otherwise: with -n flux-system its check, version and logs find Plumb as it is.

To uninstall, delete the definitions while Plumb runs, and then the rest: all
Kustomizations, HelmReleases, Applications and sources go, and what they delivered
stays. Never delete the namespaces flux-system and argocd before.`,
		Example: `  plumb install | kubectl apply --server-side -f -
  plumb install --image registry.example.org/plumb:v1 -n gitops > plumb.yaml
  plumb install -n flux-system | kubectl apply --server-side -f -
  plumb install --crds | kubectl apply --server-side -f -

  plumb install --crds | kubectl delete -f -
  plumb install --dialect-namespaces=false | kubectl delete --ignore-not-found -f -`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.install(cmd.OutOrStdout(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.image, "image", "", "container `IMAGE` of Plumb (default: plumb:VERSION)")
	flags.BoolVar(&opts.namespaces, "dialect-namespaces", true, "make the namespaces flux-system and argocd too")
	flags.BoolVar(&opts.crds, "crds", false, "print the definitions alone, as plumb serve outside of the cluster needs them")
	return cmd
}

func (p *program) install(out io.Writer, opts installOptions) error {
	if _, err := p.format("yaml"); err != nil {
		return err
	}
	if opts.crds {
		_, err := out.Write(api.CRDs())
		return err
	}
	manifests, err := install.Manifests(install.Options{
		Namespace: p.namespace, Image: opts.image, Version: p.build.Version, DialectNamespaces: opts.namespaces,
	})
	if err != nil {
		return &Error{Code: ExitUsage, Err: err, Hint: "plumb install --help tells what can be chosen"}
	}
	_, err = out.Write(manifests)
	return err
}
