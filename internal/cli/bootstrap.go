package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/adopt"
	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/bootstrap"
	"plumb.dev/plumb/internal/dialect/flux"
	"plumb.dev/plumb/internal/install"
	"plumb.dev/plumb/internal/source"
	"plumb.dev/plumb/internal/source/giturl"
)

type bootstrapOptions struct {
	url, branch, path         string
	username, passwordFile    string
	sshKeyFile, sshKnownHosts string
	caFile                    string
	authorName, authorEmail   string
	image                     string
	replaceFlux               bool
	dryRun                    bool
	timeout                   time.Duration
}

func bootstrapCommand(p *program) *cobra.Command {
	var opts bootstrapOptions
	cmd := &cobra.Command{
		Use:     "bootstrap [git] --url URL --path DIR",
		GroupID: groupRun,
		Short:   "Put Plumb into a repository and into the cluster that follows it",
		Long: `Commit Plumb's manifests to the cluster's directory of a repository, under
plumb-system, push, and apply them. From then on the cluster delivers that
directory, Plumb included: an upgrade is a commit. It waits until the directory
is delivered.

A second run changes nothing if nothing has changed; with a newer plumb it is the
upgrade. Into an empty cluster it brings all that the directory holds.

The cluster follows the repository by the GitRepository and the Kustomization
flux-system in the namespace flux-system, with the credentials in the Secret of
that name: the names that Flux gives them, which the Kustomizations of a directory
that Flux bootstrapped refer to. Such a directory is understood: its gotk-sync.yaml
stays in use, and --replace-flux takes Flux's components out of it.

Credentials are read from files, and go to the Git server and into that Secret
only. -n names the namespace of Plumb, plumb-system by default.`,
		Example: `  plumb bootstrap --url https://git.example.org/team/fleet.git --path clusters/production \
      --username plumb --password-file token
  plumb bootstrap --url ssh://git@git.example.org/team/fleet.git --path clusters/production \
      --ssh-key-file id_ed25519 --dry-run`,
		// git is what it is called in Flux; there is no other way.
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] == "git" {
				return nil
			}
			return arguments(0, 0)(cmd, args)
		},
		ValidArgsFunction: cobra.FixedCompletions([]string{"git"}, cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.bootstrap(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.url, "url", "", "`URL` of the repository, https, http or ssh")
	flags.StringVar(&opts.branch, "branch", "main", "`BRANCH` that the cluster follows")
	flags.StringVar(&opts.path, "path", "", "`DIR` of the cluster in the repository, such as clusters/production")
	flags.StringVar(&opts.username, "username", "", "`NAME` to log in with over https (default: git, if there is a password)")
	flags.StringVar(&opts.passwordFile, "password-file", "", "`FILE` with the password or token; - is standard input")
	flags.StringVar(&opts.sshKeyFile, "ssh-key-file", "", "`FILE` with the private key for ssh, without a password")
	flags.StringVar(&opts.sshKnownHosts, "ssh-known-hosts-file", "", "`FILE` that tells the server's host key (default: ~/.ssh/known_hosts)")
	flags.StringVar(&opts.caFile, "ca-file", "", "`FILE` with the certificates that vouch for an https server of your own")
	flags.StringVar(&opts.authorName, "author-name", "Plumb", "`NAME` of the commit's author")
	flags.StringVar(&opts.authorEmail, "author-email", "plumb@localhost", "`ADDRESS` of the commit's author")
	flags.StringVar(&opts.image, "image", "", "container `IMAGE` of Plumb (default: plumb:VERSION)")
	flags.BoolVar(&opts.replaceFlux, "replace-flux", false, "take Flux's components out of a directory that Flux bootstrapped")
	flags.BoolVar(&opts.dryRun, "dry-run", false, "only tell what would be committed and applied")
	flags.DurationVar(&opts.timeout, "timeout", defaultTimeout, "how long to wait until the directory is delivered")
	return cmd
}

func (p *program) bootstrap(ctx context.Context, in io.Reader, out, stderr io.Writer, opts bootstrapOptions) error {
	if _, err := p.format(); err != nil {
		return err
	}
	if opts.url == "" || opts.path == "" {
		return usage("--url and --path are needed").hint("write %s", "plumb bootstrap --url https://… --path clusters/NAME")
	}
	secret, err := p.gitSecret(in, opts)
	if err != nil {
		return err
	}
	config, err := p.restConfig()
	if err != nil {
		return err
	}
	running, err := p.noFluxRuns(ctx)
	if err != nil {
		return err
	}
	components, err := install.Manifests(install.Options{Namespace: p.namespace, Image: opts.image, Version: p.build.Version, DialectNamespaces: true})
	if err != nil {
		return &Error{Code: ExitUsage, Err: err, Hint: "plumb bootstrap --help tells what can be chosen"}
	}
	cache, done, err := p.cache("repositories")
	if err != nil {
		return err
	}
	defer done()
	outcome, err := bootstrap.Run(ctx, bootstrap.Options{
		Config: config, Sources: source.Open(source.Options{Dir: cache, Proxy: p.env.Proxy, Now: p.env.Now}),
		URL: opts.url, Branch: opts.branch, Path: opts.path, Secret: secret,
		Author:     source.Author{Name: opts.authorName, Email: opts.authorEmail},
		Components: components, Version: p.build.Version, ReplaceFlux: opts.replaceFlux, Running: running, DryRun: opts.dryRun,
		Told: func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) },
	})
	if problem := (*bootstrap.Problem)(nil); errors.As(err, &problem) {
		return &Error{Code: ExitContent, Err: err, Hint: problem.Hint}
	}
	if failure := (*app.Failure)(nil); errors.As(err, &failure) && failure.Reason == app.ReasonAuthentication {
		return &Error{Code: ExitUnreachable, Err: err,
			Hint: "--username and --password-file, or --ssh-key-file, give credentials that may read the repository and push to it"}
	}
	if err != nil || opts.dryRun {
		return err
	}
	return p.awaitBootstrap(ctx, out, stderr, opts, outcome.Revision)
}

// noFluxRuns makes sure that nobody else delivers the cluster, and tells
// whether a Plumb does.
func (p *program) noFluxRuns(ctx context.Context) (running bool, err error) {
	config, err := p.restConfig()
	if err != nil {
		return false, err
	}
	c, err := adopt.Connect(config)
	if err != nil {
		return false, err
	}
	controllers, err := c.Controllers(ctx, "")
	if err != nil {
		return false, err
	}
	for _, ctl := range controllers {
		if ctl.Replaced && ctl.Running() {
			return false, no("Flux runs in this cluster (%s/%s), and would deliver what is committed", ctl.Namespace, ctl.Name).
				hint("plumb adopt flux takes over first")
		}
	}
	alive, err := c.Alive(ctx)
	return len(alive) > 0, err
}

// gitSecret reads the credentials, in the format in which the cluster gets them.
func (p *program) gitSecret(in io.Reader, opts bootstrapOptions) (map[string][]byte, error) {
	address, err := giturl.Parse(opts.url)
	if err != nil {
		return nil, usage("--url: %w", err).hint("write a URL of Git over https, http or ssh")
	}
	file := func(flag, name string) ([]byte, error) {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, usage("--%s: %w", flag, err)
		}
		return data, nil
	}
	secret := map[string][]byte{}
	if address.Scheme == "ssh" {
		if opts.sshKeyFile == "" {
			return nil, usage("an ssh URL needs --ssh-key-file").hint("make a key for this: ssh-keygen -t ed25519 -N '' -f plumb-key")
		}
		if opts.sshKnownHosts == "" {
			opts.sshKnownHosts = filepath.Join(p.env.Home, ".ssh", "known_hosts")
		}
		if secret["identity"], err = file("ssh-key-file", opts.sshKeyFile); err != nil {
			return nil, err
		}
		secret["known_hosts"], err = file("ssh-known-hosts-file", opts.sshKnownHosts)
		return secret, err
	}
	switch {
	case opts.sshKeyFile != "":
		return nil, usage("--ssh-key-file is for ssh URLs")
	case opts.passwordFile == "" && opts.username != "":
		return nil, usage("--username needs --password-file")
	case opts.passwordFile == "-":
		secret["password"], err = io.ReadAll(io.LimitReader(in, 1<<20))
		if err != nil {
			return nil, usage("--password-file: %w", err)
		}
	case opts.passwordFile != "":
		if secret["password"], err = file("password-file", opts.passwordFile); err != nil {
			return nil, err
		}
	}
	if password, given := secret["password"]; given {
		secret["password"] = []byte(strings.TrimSpace(string(password)))
		secret["username"] = []byte(opts.username)
		if opts.username == "" {
			secret["username"] = []byte("git")
		}
	}
	if opts.caFile != "" {
		if secret["ca.crt"], err = file("ca-file", opts.caFile); err != nil {
			return nil, err
		}
	}
	return secret, nil
}

// awaitBootstrap waits until the cluster is as its directory says.
func (p *program) awaitBootstrap(ctx context.Context, out, stderr io.Writer, opts bootstrapOptions, revision app.Revision) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	source, _ := kindNamed(flux.KindGitRepository)
	kustomization, _ := kindNamed(flux.KindKustomization)
	u, err := c.at(source.resource, bootstrap.Namespace).Get(ctx, bootstrap.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if _, err := c.patch(ctx, target{source, u}, flux.RefreshPatch(p.env.Now().UTC().Format(time.RFC3339Nano), false)); err != nil {
		return err
	}
	if u, err = c.at(kustomization.resource, bootstrap.Namespace).Get(ctx, bootstrap.Name, metav1.GetOptions{}); err != nil {
		return err
	}
	t := target{kustomization, u}
	_, err = c.await(ctx, t, opts.timeout, stderr, func(u *unstructured.Unstructured) waiting {
		v := t.kind.app(u)
		if v.State == app.StateReady && v.Applied.Commit == revision.Commit {
			return waiting{over: true}
		}
		// A failure is not final: sources come, Secrets and dependencies too.
		return waiting{progress: orDash(v.Message), unheard: v.Revision.IsZero() && v.Message == ""}
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is as %s says, at %s\n", t.full(), opts.path, revisionText(revision))
	return nil
}
