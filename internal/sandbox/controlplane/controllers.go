package controlplane

import (
	"context"

	kcm "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kcmoptions "k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"
)

// runControllerManager runs every controller but those that look after real
// nodes: the simulated one sends no heartbeats and needs no network range.
func runControllerManager(ctx context.Context, dir *dataDir) error {
	keys := pki{dir.pki()}
	opts, err := kcmoptions.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	flags := opts.Flags(kcm.KnownControllers(), kcm.ControllersDisabledByDefault(), kcm.ControllerAliases())
	err = parse(flags, []string{
		"--kubeconfig=" + dir.controllerManagerKubeconfig(),
		"--authentication-kubeconfig=" + dir.controllerManagerKubeconfig(),
		"--authorization-kubeconfig=" + dir.controllerManagerKubeconfig(),
		"--leader-elect=false",
		"--secure-port=0",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + keys.key(serviceAccountName),
		"--root-ca-file=" + keys.cert(caName),
		"--cluster-signing-cert-file=" + keys.cert(caName),
		"--cluster-signing-key-file=" + keys.key(caName),
		"--controllers=*,-node-ipam-controller,-node-lifecycle-controller",
		// The default of 20 requests a second makes the start last 5 s longer.
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
	})
	if err != nil {
		return err
	}
	config, err := opts.Config(ctx, kcm.KnownControllers(), kcm.ControllersDisabledByDefault(), kcm.ControllerAliases())
	if err != nil {
		return err
	}
	return kcm.Run(ctx, config.Complete())
}

// runScheduler runs the scheduler as it comes.
func runScheduler(ctx context.Context, dir *dataDir) error {
	opts := scheduleroptions.NewOptions()
	err := parse(*opts.Flags, []string{
		"--kubeconfig=" + dir.schedulerKubeconfig(),
		"--authentication-kubeconfig=" + dir.schedulerKubeconfig(),
		"--authorization-kubeconfig=" + dir.schedulerKubeconfig(),
		"--leader-elect=false",
		"--secure-port=0",
	})
	if err != nil {
		return err
	}
	config, instance, err := scheduler.Setup(ctx, opts)
	if err != nil {
		return err
	}
	return scheduler.Run(ctx, config, instance)
}
