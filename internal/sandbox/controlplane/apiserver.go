package controlplane

import (
	"cmp"
	"context"
	"errors"
	"net"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/cli/flag"
	basecompatibility "k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// auditPolicy records who did what to which object, and no contents.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// runner is a server that is set up and will serve until the context ends.
type runner interface {
	Run(ctx context.Context) error
}

// newAPIServer sets up kube-apiserver on the listener. It does by hand what
// the kube-apiserver command does, since two commands of Kubernetes in one
// process stumble over each other's signal handlers.
func newAPIServer(ctx context.Context, dir *dataDir, listener net.Listener, etcd string, of Options) (runner, error) {
	keys := pki{dir.pki()}
	args := []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--endpoint-reconciler-type=none",
		"--tls-cert-file=" + keys.cert(servingName),
		"--tls-private-key-file=" + keys.key(servingName),
		"--client-ca-file=" + keys.cert(caName),
		"--service-account-issuer=" + cmp.Or(of.Issuer, "https://kubernetes.default.svc"),
		"--service-account-key-file=" + keys.key(serviceAccountName),
		"--service-account-signing-key-file=" + keys.key(serviceAccountName),
		"--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range=10.0.0.0/16",
		"--allow-privileged",
		"--profiling=false",
	}
	if of.Authentication != "" {
		args = append(args, "--authentication-config="+of.Authentication)
	}
	if of.AuditLog != "" {
		if err := writeFile(dir.auditPolicy(), []byte(auditPolicy)); err != nil {
			return nil, err
		}
		args = append(args, "--audit-policy-file="+dir.auditPolicy(), "--audit-log-path="+of.AuditLog)
	}

	opts := options.NewServerRunOptions()
	if err := parse(opts.Flags(), args); err != nil {
		return nil, err
	}
	opts.SecureServing.Listener = listener
	opts.SecureServing.BindPort = listener.Addr().(*net.TCPAddr).Port
	// Fixes the feature gates of the whole process, for the other parts too.
	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, err
	}
	// The parts talk to each other about deprecated APIs; nobody wants to read it.
	rest.SetDefaultWarningHandler(rest.NoWarnings{})

	completed, err := opts.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if errs := completed.Validate(); len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	config, err := app.NewConfig(completed)
	if err != nil {
		return nil, err
	}
	// Released binaries get their version from the linker, and one cannot
	// count on linker flags; this is where the server takes it from.
	released := releasedVersion{config.Aggregator.GenericConfig.EffectiveVersion}
	config.Aggregator.GenericConfig.EffectiveVersion = released
	config.ApiExtensions.GenericConfig.EffectiveVersion = released
	config.KubeAPIs.ControlPlane.Generic.EffectiveVersion = released
	ready, err := config.Complete()
	if err != nil {
		return nil, err
	}
	server, err := app.CreateServerChain(ready)
	if err != nil {
		return nil, err
	}
	return server.PrepareRun()
}

// releasedVersion corrects what the API server answers to /version.
type releasedVersion struct {
	basecompatibility.EffectiveVersion
}

func (v releasedVersion) Info() *version.Info {
	info := v.EffectiveVersion.Info()
	if info == nil {
		return nil
	}
	info.GitVersion = kubernetesVersion
	info.GitCommit = ""
	info.GitTreeState = ""
	return info
}

// parse sets flags of a Kubernetes component by their documented names.
func parse(sets flag.NamedFlagSets, args []string) error {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, set := range sets.FlagSets {
		all.AddFlagSet(set)
	}
	return all.Parse(args)
}
