package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"plumb.dev/plumb/internal/render/worker"
	"plumb.dev/plumb/internal/replica"
	"plumb.dev/plumb/internal/resident"
	"plumb.dev/plumb/internal/sandbox/child"
	"plumb.dev/plumb/internal/server"
	"plumb.dev/plumb/internal/source/webhook"
	"plumb.dev/plumb/internal/up"
)

type serveOptions struct {
	listen            string
	cache             string
	secrets           string
	replicaID         string
	leaseNamespace    string
	artifacts         bool
	artifactAddress   string
	localRepositories bool
	renderWorkers     int
	rules             rules
	logFormat         string
	logLevel          string
	pprof             string
	supervised        bool // by a parent that reads messages and holds standard input
}

func serveCommand(p *program) *cobra.Command {
	var opts serveOptions
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run the engine against a cluster",
		GroupID: groupRun,
		Long: `Run the engine: watch the Kustomizations and Applications of a cluster and keep
the cluster true to Git, until interrupted. Several may serve one cluster: they
divide the work, and take over from one that dies within seconds.

Inside a cluster it serves that one. Anywhere else it serves the one of the
kubeconfig. The definitions must be installed there: see plumb install.`,
		Example: `  plumb serve
  plumb serve --context staging --listen 127.0.0.1:8080 --log-format text`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.listen, "listen", ":8080", "`ADDRESS` for health, metrics, webhooks and artifacts; \"\" for none")
	flags.StringVar(&opts.cache, "cache", "", "`DIR` for what can be fetched again (default: in the user's cache directory, or /var/cache/plumb)")
	flags.BoolVar(&opts.artifacts, "artifacts", true, "serve what sources hold as .tar.gz files, and name them in status.artifact")
	flags.StringVar(&opts.artifactAddress, "artifact-address", "", "`URL` at which others reach --listen (default: the Service that plumb install makes, or the address itself outside of a cluster)")
	flags.StringVar(&opts.secrets, "webhook-secrets", "", "`DIR` with the secrets of webhooks: files github, gitlab, gitea, bitbucket, generic")
	flags.BoolVar(&opts.localRepositories, "allow-local-repositories", false, "allow repositories that are directories of this machine (file://)")
	flags.IntVar(&opts.renderWorkers, "render-workers", 0, "render in up to `N` processes at a time (default: one for each CPU, 2 to 4)")
	flags.StringVar(&opts.replicaID, "replica-id", "", "`ID` of this replica: the same after a restart, and of one process at a time (default: from host name and cache directory)")
	flags.StringVar(&opts.leaseNamespace, "lease-namespace", "plumb-system", "`NAMESPACE` where the replicas of a cluster find each other")
	opts.rules.add(flags)
	flags.StringVar(&opts.logFormat, "log-format", "json", "json, as the flux command reads it, or text")
	flags.StringVar(&opts.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.BoolVar(&opts.supervised, "until-stdin-closes", false, "report on standard output, and end when standard input does")
	_ = flags.MarkHidden("until-stdin-closes")
	flags.StringVar(&opts.pprof, "pprof", "", "loopback `ADDRESS` for profiles of the process")
	_ = flags.MarkHidden("pprof")
	// The only error is that there is no such flag, and a test completes it.
	_ = cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"json", "text"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("log-level", cobra.FixedCompletions([]string{"debug", "info", "warn", "error"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (p *program) serve(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, opts serveOptions) error {
	messages := json.NewEncoder(io.Discard)
	if opts.supervised {
		ctx = child.UntilParentEnds(ctx, stdin)
		messages = json.NewEncoder(stdout)
	}
	err := p.runServer(ctx, stderr, opts, func(address string) {
		_ = messages.Encode(child.Message[up.EngineReady]{Ready: &up.EngineReady{HTTP: address}}) // a parent that is gone ends ctx
	})
	if ctx.Err() != nil {
		return nil // it was told to end
	}
	if err != nil {
		_ = messages.Encode(child.Message[up.EngineReady]{Error: err.Error()})
	}
	return err
}

// runServer serves until ctx ends. It calls ready, with the HTTP address or
// "", when the engine begins to deliver.
func (p *program) runServer(ctx context.Context, stderr io.Writer, opts serveOptions, ready func(address string)) error {
	log, err := logger(stderr, opts.logFormat, opts.logLevel)
	if err != nil {
		return err
	}
	klog.SetSlogLogger(log) // what client-go has to say
	if opts.pprof != "" {
		if err := serveProfiles(ctx, opts.pprof); err != nil {
			return err
		}
	}
	config, inside, err := p.serverConfig()
	if err != nil {
		return err
	}
	if inside && opts.artifactAddress == "" {
		opts.artifactAddress = "http://plumb." + opts.leaseNamespace + ".svc.cluster.local."
	}
	if err := checkArtifactAddress(opts.artifactAddress); err != nil {
		return err
	}
	if err := checkRenderWorkers(opts.renderWorkers); err != nil {
		return err
	}
	secrets, err := webhookSecrets(opts.secrets)
	if err != nil {
		return err
	}
	cache, done, err := p.serverCache(opts.cache)
	if err != nil {
		return err
	}
	defer done()
	if opts.replicaID == "" {
		opts.replicaID = p.replicaID(cache)
	}
	stop := giveHeadroom()
	defer stop()
	address, program := "", ""
	if p.env.Program != nil {
		program = p.env.Program()
	}
	err = server.Run(ctx, server.Options{
		Config: config, Dir: cache, Listen: opts.listen, Secrets: secrets,
		NoArtifacts: !opts.artifacts, ArtifactAddress: opts.artifactAddress,
		LocalSources: opts.localRepositories, RemoteBases: opts.rules.remoteBases, LenientVariables: opts.rules.lenientVariables, Tenancy: opts.rules.tenancy, ControlNamespace: opts.rules.argoNamespace,
		ReplicaID: opts.replicaID, LeaseNamespace: opts.leaseNamespace,
		Version: p.build.Version, Program: program, Log: log,
		Render:    p.rendering(opts.renderWorkers, log),
		Listening: func(a net.Addr) { address = "http://" + a.String() },
		Delivering: func() {
			log.Info("delivering", "cluster", config.Host, "http", address, "version", p.build.Version)
			resident.Return() // before anyone looks
			ready(address)
			go staySmall(ctx)
		},
	})
	if failed := (*net.OpError)(nil); errors.As(err, &failed) && failed.Op == "listen" {
		return fail(ExitOther, "%w", err).hint("--listen chooses another address")
	}
	if errors.Is(err, replica.ErrTaken) {
		return fail(ExitOther, "%w", err).hint("--replica-id gives each process an id of its own")
	}
	return err
}

// replicaID tells this process from others that serve the same cluster: no two
// use the same cache directory of a machine at a time, and after a restart it is
// the same one.
func (p *program) replicaID(cache string) string {
	sum := sha256.Sum256([]byte(cache))
	return strings.Trim(p.env.Hostname+"-"+hex.EncodeToString(sum[:4]), "-")
}

// rendering says how to render: in processes, if this program can start itself
// again.
func (p *program) rendering(workers int, log *slog.Logger) worker.Options {
	if p.env.Executable == "" {
		log.Warn("the path of this program is unknown: rendering happens in this process, less confined")
		return worker.Options{}
	}
	return worker.Options{Args: []string{renderWorkerName}, Workers: workers, Log: log}
}

func checkRenderWorkers(n int) error {
	const most = 64 // each may take 512 MiB
	if n < 0 || n > most {
		return usage("--render-workers %d is not possible", n).hint("choose 1 to %d, or leave it out", most)
	}
	return nil
}

func checkArtifactAddress(address string) error {
	if address == "" {
		return nil
	}
	if u, err := url.Parse(address); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return usage("--artifact-address %q is not possible", address).hint("write it as http://host or https://host/path")
	}
	return nil
}

// serverConfig prefers the cluster that the process runs in, unless another is
// named; inside says that it is that one.
func (p *program) serverConfig() (_ *rest.Config, inside bool, _ error) {
	if p.kubeconfig != "" || p.context != "" || p.env.InCluster == nil {
		config, err := p.restConfig()
		return config, false, err
	}
	config, err := p.env.InCluster()
	if err != nil {
		return nil, false, fail(ExitUnreachable, "the cluster that this runs in: %w", err).
			hint("--kubeconfig names another way to a cluster")
	}
	config.UserAgent = "plumb/" + p.build.Version
	return config, true, nil
}

// serverCache makes and locks the cache directory. The one that is named must
// be free; by default another will do.
func (p *program) serverCache(dir string) (path string, done func(), err error) {
	if dir == "" {
		return p.cache("serve")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fail(ExitOther, "cache directory: %w", err).hint("--cache names another")
	}
	unlock, ok := tryLock(filepath.Join(dir, "lock"))
	if !ok {
		return "", nil, fail(ExitOther, "the cache directory %s cannot be locked: another engine uses it, or it is not writable", dir).
			hint("end that engine, or name another directory with --cache")
	}
	return dir, unlock, nil
}

// webhookSecrets reads a directory as a mounted Secret gives it: a file for
// each kind of server, each line a secret.
func webhookSecrets(dir string) (webhook.Secrets, error) {
	var s webhook.Secrets
	if dir == "" {
		return s, nil
	}
	files := map[string]*[]string{
		"github": &s.GitHub, "gitlab": &s.GitLab, "gitea": &s.Gitea, "bitbucket": &s.Bitbucket, "generic": &s.Generic,
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return s, fail(ExitOther, "webhook secrets: %w", err).hint("--webhook-secrets is a directory, such as a mounted Secret")
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // how Kubernetes mounts
		}
		list, ok := files[e.Name()]
		if !ok {
			return s, usage("webhook secrets: there is no kind of server %q, in %s", e.Name(), dir).
				hint("the files are called github, gitlab, gitea, bitbucket and generic")
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return s, fail(ExitOther, "webhook secrets: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" {
				*list = append(*list, line)
			}
		}
		if len(*list) == 0 {
			// Taken for no secret, it would let everyone in.
			return s, fail(ExitOther, "webhook secrets: %s is empty", filepath.Join(dir, e.Name())).hint("write the secret to it, or remove it")
		}
	}
	return s, nil
}
