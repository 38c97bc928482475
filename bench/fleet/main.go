// Command fleet measures what many apps cost a controller: to deliver them all,
// to follow a commit, to undo drift, to do nothing, and to be started again.
// It drives whatever serves the custom resources of Flux or Argo CD, by way of
// stock git and the Kubernetes API only; a `plumb up` of its own if it is not
// given a cluster.
//
//	go run ./bench/fleet --binary bin/plumb --apps 200
//	go run ./bench/fleet --kubeconfig k.yaml --pids 4711,4712 --dialect argo -o json
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	apps, objects, repos int
	releases             int
	plain                bool
	beside               int
	dialect              string
	scenarios            []string
	tries                int
	idle, timeout        time.Duration

	binary                     string
	kubeconfig, gitURL         string
	webhook, webhookSecret     string
	pids, serverPIDs           []int
	restartCmd                 string
	output, pidList, otherList string
	scenario                   string
	pprof, publish             string
}

var allScenarios = []string{"converge", "releases", "commit", "drift", "idle", "restart", "floor"}

func main() {
	var o options
	flag.IntVar(&o.apps, "apps", 50, "how many apps")
	flag.IntVar(&o.objects, "objects", 5, "objects of an app: ConfigMap, ServiceAccount, Service, Role, Deployment, and again")
	flag.IntVar(&o.releases, "releases", 0, "Helm releases beside the apps, for the scenario releases; dialect flux only")
	flag.IntVar(&o.repos, "repos", 1, "repositories that the apps are spread over")
	flag.BoolVar(&o.plain, "plain", false, "directories of manifests in place of overlays with a kustomization.yaml")
	flag.IntVar(&o.beside, "beside", 100, "apps in one directory of the repository, 0 for all in one")
	flag.StringVar(&o.dialect, "dialect", "flux", "flux or argo")
	flag.StringVar(&o.scenario, "scenario", "all", strings.Join(allScenarios, ", ")+", several with commas between, or all; all but the first follow a convergence in any case")
	flag.IntVar(&o.tries, "tries", 10, "commits; drifts are ten times as many")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long to watch an idle controller")
	flag.DurationVar(&o.timeout, "timeout", 15*time.Minute, "for anything to happen")
	flag.StringVar(&o.binary, "binary", "bin/plumb", "plumb to start and measure")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "an existing cluster and its controller, in place of --binary")
	flag.StringVar(&o.gitURL, "git-url", "", "Git server that creates repositories when they are pushed to, as http://HOST[/DIR]; by default one is served on 127.0.0.1, and counts")
	flag.StringVar(&o.webhook, "webhook", "", "URL to post the generic push event to")
	flag.StringVar(&o.webhookSecret, "webhook-secret", "", "file with the secret that signs it")
	flag.StringVar(&o.pidList, "pids", "", "processes of the controller to meter, with their descendants")
	flag.StringVar(&o.otherList, "server-pids", "", "processes of the API server, to be told beside")
	flag.StringVar(&o.restartCmd, "restart-cmd", "", "shell command that kills the controller and starts it again, and prints its new processes if they are others")
	flag.StringVar(&o.pprof, "pprof", "", "loopback address where the engine that --binary starts serves its profiles, for go tool pprof")
	flag.StringVar(&o.output, "o", "text", "text or json")
	flag.StringVar(&o.publish, "publish", "", "measure nothing: write the results in the files that are named, each of -o json, into this document and draw them beside it")
	flag.Parse()
	if o.publish != "" {
		if err := publish(o.publish, flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, "fleet:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// check reads what flags cannot.
func (o *options) check() (err error) {
	if _, ok := dialects[o.dialect]; !ok {
		return fmt.Errorf("--dialect %s: possible are flux and argo", o.dialect)
	}
	if o.apps < 1 || o.objects < 1 || o.repos < 1 || o.repos > o.apps || o.tries < 1 || o.beside < 0 {
		return fmt.Errorf("--apps, --objects, --repos and --tries are at least 1, --beside is not negative, and there are no more repositories than apps")
	}
	if o.releases < 0 || o.releases > 0 && o.dialect != "flux" {
		return fmt.Errorf("--releases %d: they are of the dialect flux", o.releases)
	}
	if o.output != "text" && o.output != "json" {
		return fmt.Errorf("-o %s: possible are text and json", o.output)
	}
	o.scenarios = strings.Split(o.scenario, ",")
	if o.scenario == "all" {
		o.scenarios = allScenarios
	}
	for _, s := range o.scenarios {
		if !slices.Contains(allScenarios, s) {
			return fmt.Errorf("--scenario %s: possible are %s and all", s, strings.Join(allScenarios, ", "))
		}
	}
	if o.pids, err = parsePIDs(o.pidList); err != nil {
		return fmt.Errorf("--pids: %w", err)
	}
	if o.serverPIDs, err = parsePIDs(o.otherList); err != nil {
		return fmt.Errorf("--server-pids: %w", err)
	}
	if o.kubeconfig != "" && len(o.pids) == 0 {
		fmt.Fprintln(os.Stderr, "fleet: without --pids neither CPU nor memory is told")
	}
	return nil
}

func (o *options) run(ctx context.Context) error {
	if err := o.check(); err != nil {
		return err
	}
	t, err := open(ctx, *o)
	if err != nil {
		return err
	}
	defer t.close()
	f := &fleet{target: t, opts: *o, dialect: dialects[o.dialect]}
	measuring, done := context.WithCancel(ctx)
	result, err := f.measure(measuring)
	done() // the watches end before the server does
	if o.output == "json" {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		if printed := encoder.Encode(result); printed != nil {
			return printed
		}
		return err
	}
	result.print(os.Stdout)
	return err
}

func sortedNames(files map[string]string) []string { return slices.Sorted(maps.Keys(files)) }
