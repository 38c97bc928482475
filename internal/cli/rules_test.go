package cli

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"

	"plumb.dev/plumb/internal/adopt"
	"plumb.dev/plumb/internal/dialect/flux"
)

// The flags of the installed Plumb count where none is given here, however they
// are written, and whatever stands beside them.
func TestRulesAsInstalled(t *testing.T) {
	for _, c := range []struct {
		name      string
		given     []string
		installed []string
		want      rules
		told      []string
	}{
		{"nothing", nil, []string{"plumb", "serve"}, rules{argoNamespace: "argocd"}, nil},
		{"all of them", nil, []string{"serve", "--replica-id=$(POD_NAME)", "--no-cross-namespace-refs", "--default-service-account", "deployer", "--lenient-substitution=true", "--allow-remote-bases", "--argo-namespace=argo"},
			rules{argoNamespace: "argo", remoteBases: true, lenientVariables: true, tenancy: flux.Tenancy{NoCrossNamespaceRefs: true, DefaultServiceAccount: "deployer"}},
			[]string{"--allow-remote-bases=true", "--argo-namespace=argo", "--default-service-account=deployer", "--lenient-substitution=true", "--no-cross-namespace-refs=true"}},
		{"what is given counts", []string{"--no-cross-namespace-refs=false", "--default-service-account=other"}, []string{"serve", "--no-cross-namespace-refs", "--default-service-account=deployer"},
			rules{argoNamespace: "argocd", tenancy: flux.Tenancy{DefaultServiceAccount: "other"}}, []string{"--default-service-account=other"}},
		{"others in between", nil, []string{"serve", "--cache", "/var/cache", "--unknown", "--default-service-account=deployer", "--listen=:8080"},
			rules{argoNamespace: "argocd", tenancy: flux.Tenancy{DefaultServiceAccount: "deployer"}}, []string{"--default-service-account=deployer"}},
		{"what makes no sense", nil, []string{"serve", "--no-cross-namespace-refs=perhaps"}, rules{argoNamespace: "argocd"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got rules
			flags := pflag.NewFlagSet("diff", pflag.ContinueOnError)
			got.add(flags)
			if err := flags.Parse(c.given); err != nil {
				t.Fatal(err)
			}
			told := asInstalled(flags, c.installed)
			if got != c.want || !slices.Equal(told, c.told) {
				t.Errorf("got %+v and %v", got, told)
			}
		})
	}
}

// What Flux demands of tenants and Plumb would not is named once.
func TestLaxer(t *testing.T) {
	controllers := []adopt.Controller{
		{Component: "kustomize-controller", Replaced: true, Args: []string{"--watch-all-namespaces=true", "--no-cross-namespace-refs=true", "--default-service-account=default"}},
		{Component: "helm-controller", Replaced: true, Args: []string{"--no-cross-namespace-refs=true", "--concurrent=4"}},
		{Component: "notification-controller", Args: []string{"--default-service-account=never"}},
	}
	for _, c := range []struct {
		ours flux.Tenancy
		want []string
	}{
		{flux.Tenancy{}, []string{"--default-service-account=default", "--no-cross-namespace-refs"}},
		{flux.Tenancy{NoCrossNamespaceRefs: true, DefaultServiceAccount: "other"}, []string{"--default-service-account=default"}},
		{flux.Tenancy{NoCrossNamespaceRefs: true, DefaultServiceAccount: "default"}, nil},
	} {
		if got := laxer(c.ours, controllers); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %v, want %v", c.ours, got, c.want)
		}
	}
}
