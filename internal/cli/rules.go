package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"plumb.dev/plumb/internal/adopt"
	"plumb.dev/plumb/internal/dialect/flux"
)

// rules are the flags of the engine that decide what becomes of an app. Commands
// that tell what the engine would do have them too: by default they go by those
// of the Plumb that is installed.
type rules struct {
	tenancy          flux.Tenancy
	lenientVariables bool
	remoteBases      bool
	argoNamespace    string
}

// add makes the flags.
func (r *rules) add(flags *pflag.FlagSet) {
	flags.StringVar(&r.argoNamespace, "argo-namespace", "argocd", "`NAMESPACE` of Argo CD's projects and repository Secrets")
	flags.BoolVar(&r.remoteBases, "allow-remote-bases", false, "allow kustomizations to build on other Git repositories, and fetch those without credentials")
	flags.BoolVar(&r.lenientVariables, "lenient-substitution", false, "in spec.postBuild of Kustomizations, replace a variable that is not set by nothing instead of failing")
	flags.BoolVar(&r.tenancy.NoCrossNamespaceRefs, "no-cross-namespace-refs", false, "refuse Kustomizations and HelmReleases whose source is in another namespace")
	flags.StringVar(&r.tenancy.DefaultServiceAccount, "default-service-account", "", "deliver Kustomizations and HelmReleases that name no service account as this `NAME` of their namespace")
	flags.StringVar(&r.tenancy.DefaultKubeConfigServiceAccount, "default-kubeconfig-service-account", "", "where a ConfigMap of spec.kubeConfig.configMapRef names no service account, ask for tokens of this `NAME` of its namespace")
}

// asInstalled sets the flags that were not given to what the installed Plumb
// has, and returns what differs from the defaults then, as it would be written.
func asInstalled(given *pflag.FlagSet, args []string) []string {
	theirs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	theirs.ParseErrorsAllowlist.UnknownFlags = true
	theirs.Usage = func() {}
	new(rules).add(theirs)
	// What makes no sense ends the engine; it delivers nothing by that.
	_ = theirs.Parse(args)
	var differ []string
	theirs.VisitAll(func(f *pflag.Flag) {
		own := given.Lookup(f.Name)
		if own == nil {
			return
		}
		if f.Changed && !own.Changed {
			_ = own.Value.Set(f.Value.String()) // it is of the same type
		}
		if own.Value.String() != own.DefValue {
			differ = append(differ, "--"+f.Name+"="+own.Value.String())
		}
	})
	return differ
}

// engineRules completes the rules that flags ask for by those of the installed
// Plumb, and tells of them on p's standard error where they are not the default
// ones.
func (p *program) engineRules(ctx context.Context, c *adopt.Cluster, flags *pflag.FlagSet, told func(format string, args ...any)) error {
	all, err := c.Installed(ctx)
	if apierrors.IsForbidden(err) {
		told("note: the flags of the installed Plumb may not be read; the comparison is made with those given here: %v", err)
		return nil
	}
	if err != nil || len(all) == 0 {
		return err
	}
	one := all[0]
	if i := slices.IndexFunc(all, adopt.Installed.Meant); i >= 0 {
		one = all[i]
	}
	if differ := asInstalled(flags, one.Args); len(differ) > 0 {
		told("note: compared by the rules of Plumb in %s: %s", one.Namespace, strings.Join(differ, " "))
	}
	return nil
}

// laxer lists what a controller of Flux demands and Plumb would not, as flags.
func laxer(ours flux.Tenancy, controllers []adopt.Controller) []string {
	var out []string
	for _, ctl := range adopt.Replaced(controllers) {
		theirs := flux.Tenancy{}
		flags := pflag.NewFlagSet(ctl.Component, pflag.ContinueOnError)
		flags.ParseErrorsAllowlist.UnknownFlags = true
		flags.Usage = func() {}
		flags.BoolVar(&theirs.NoCrossNamespaceRefs, "no-cross-namespace-refs", false, "")
		flags.StringVar(&theirs.DefaultServiceAccount, "default-service-account", "", "")
		flags.StringVar(&theirs.DefaultKubeConfigServiceAccount, "default-kubeconfig-service-account", "", "")
		_ = flags.Parse(ctl.Args) // Flux would not run
		if theirs.NoCrossNamespaceRefs && !ours.NoCrossNamespaceRefs {
			out = append(out, "--no-cross-namespace-refs")
		}
		if theirs.DefaultServiceAccount != "" && theirs.DefaultServiceAccount != ours.DefaultServiceAccount {
			out = append(out, "--default-service-account="+theirs.DefaultServiceAccount)
		}
		if theirs.DefaultKubeConfigServiceAccount != "" && theirs.DefaultKubeConfigServiceAccount != ours.DefaultKubeConfigServiceAccount {
			out = append(out, "--default-kubeconfig-service-account="+theirs.DefaultKubeConfigServiceAccount)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// noteTo says a line to a writer.
func noteTo(w interface{ Write([]byte) (int, error) }) func(string, ...any) {
	return func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
}
