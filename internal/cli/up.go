package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"plumb.dev/plumb/internal/up"
)

type upOptions struct {
	data                              string
	repo, path                        string
	noSample, remoteBases             bool
	pprof                             string // of the engine
	gitPort, httpPort, kubernetesPort int
	renderWorkers                     int
}

func upCommand(p *program) *cobra.Command {
	var opts upOptions
	cmd := &cobra.Command{
		Use:     "up",
		Short:   "Bring up Kubernetes, a Git server and Plumb on this machine",
		GroupID: groupRun,
		Long: `Bring up a Kubernetes, a Git server and Plumb's engine on this machine, deliver a
sample repository, and show what happens until interrupted. It needs nothing
but git. Containers do not run: a simulated node says that they do.

Everything is kept in a directory, and the next up on that directory goes on
where this one ended. Remove the directory to begin anew.

--kubeconfig uses an existing cluster in place of the embedded Kubernetes, and
--repo delivers a repository of yours in place of the sample. $KUBECONFIG is
not looked at.`,
		Example: `  plumb up
  plumb up --repo . --path deploy/production
  plumb up --kubeconfig ~/.kube/config --context kind-test --no-sample`,
		Args:              arguments(0, 0),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.up(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.data, "data", ".plumb", "`DIR` that keeps everything")
	flags.StringVar(&opts.repo, "repo", "", "`PATH-OR-URL` of a repository to deliver in place of the sample")
	flags.StringVar(&opts.path, "path", "", "`DIR` in that repository (default: its root)")
	flags.BoolVar(&opts.noSample, "no-sample", false, "deliver nothing to begin with")
	flags.BoolVar(&opts.remoteBases, "allow-remote-bases", false, "allow kustomizations to build on other Git repositories, and fetch those without credentials")
	flags.IntVar(&opts.gitPort, "git-port", 0, "`PORT` of the Git server (default: the one of before, or a free one)")
	flags.IntVar(&opts.httpPort, "http-port", 0, "`PORT` of the engine's health, metrics and webhooks (default: likewise)")
	flags.IntVar(&opts.kubernetesPort, "kubernetes-port", 0, "`PORT` of the Kubernetes API (default: likewise)")
	flags.StringVar(&opts.pprof, "pprof", "", "loopback `ADDRESS` for profiles of the engine")
	_ = flags.MarkHidden("pprof")
	flags.IntVar(&opts.renderWorkers, "render-workers", 0, "render in up to `N` processes at a time (default: one for each CPU, 2 to 4)")
	_ = cmd.MarkFlagDirname("data")
	return cmd
}

func (p *program) up(ctx context.Context, out, stderr io.Writer, opts upOptions) error {
	format, err := p.format("json")
	if err != nil {
		return err
	}
	if p.context != "" && p.kubeconfig == "" {
		return usage("--context is one of a kubeconfig").hint("give --kubeconfig FILE too, or leave --context out")
	}
	if opts.path != "" && opts.repo == "" {
		return usage("--path is a directory of the repository that --repo names").hint("give --repo too")
	}
	if err := checkRenderWorkers(opts.renderWorkers); err != nil {
		return err
	}
	if opts.repo != "" && opts.noSample {
		return usage("--repo and --no-sample exclude each other").hint("--repo alone leaves the sample out")
	}
	if p.env.Executable == "" {
		return fail(ExitOther, "the path of this program is unknown, and it is to be started again").hint("run plumb by its full path")
	}
	live := &liveEvents{out: out, color: p.color(), now: p.env.Now}
	if format == "json" {
		live.out, live.color = stderr, p.env.ErrorTerminal && !p.env.NoColor
	}
	running, err := up.Start(ctx, up.Options{
		Executable: p.env.Executable, Data: opts.data, Repo: opts.repo, Path: opts.path, NoSample: opts.noSample, RemoteBases: opts.remoteBases,
		Kubeconfig: p.kubeconfig, Context: p.context,
		RenderWorkers: opts.renderWorkers,
		GitPort:       opts.gitPort, HTTPPort: opts.httpPort, KubernetesPort: opts.kubernetesPort, Pprof: opts.pprof,
		Progress: stderr, Terminal: p.env.ErrorTerminal, Notice: live.notice,
	})
	if problem := (*up.Problem)(nil); errors.As(err, &problem) {
		return &Error{Code: ExitOther, Err: err, Hint: problem.Hint}
	}
	if err != nil {
		return err
	}
	defer running.Close()
	if format == "json" {
		if err := json.NewEncoder(out).Encode(running.State()); err != nil {
			return err
		}
	} else {
		fmt.Fprint(out, p.summary(running))
	}
	p.kubeconfig = running.State().Kubeconfig
	if err := p.live(ctx, live); ctx.Err() == nil {
		live.notice(fmt.Sprintf("events cannot be shown: %v", err))
		<-ctx.Done()
	}
	fmt.Fprintln(stderr, "\nstopping; plumb up on the same directory goes on")
	return nil
}

// summary tells where everything is and what to try.
func (p *program) summary(running *up.Up) string {
	s := running.State()
	var b strings.Builder
	fmt.Fprintf(&b, "\n  kubeconfig  %s\n  Git         %s/NAME.git (push to a new name to create it)\n  HTTP        %s\n  data        %s\n",
		s.Kubeconfig, s.Git, s.HTTP, s.Data)
	kind, address := running.Content()
	b.WriteString("\nTry, in another terminal:\n\n")
	fmt.Fprintf(&b, "  export KUBECONFIG=%s\n", shellWord(s.Kubeconfig))
	if !p.env.OnPath {
		fmt.Fprintf(&b, "  alias plumb=%s\n", shellWord(p.env.Executable))
	}
	b.WriteByte('\n')
	switch kind {
	case "sample":
		fmt.Fprintf(&b, `  # a commit is delivered
  git clone %s && cd sample
  sed -i.bak s/1.9.0-rc.1/1.9.0/ apps/shop/overlays/dev/kustomization.yaml
  git commit -am 'shop 1.9.0 to dev' && git push

  # drift is undone
  kubectl -n shop-dev scale deployment web --replicas=5

  # drift is reported where it is not to be undone
  kubectl -n guestbook scale deployment guestbook --replicas=3
  plumb diff guestbook
`, address)
	case "repo":
		fmt.Fprintf(&b, `  # a commit is delivered: %s
  git commit -am 'a change'

  # drift is undone
  kubectl scale deployment NAME --replicas=5

  # what there is, and what differs
  plumb get && plumb diff repo
`, address)
	default:
		fmt.Fprintf(&b, `  # push a repository
  git push %s/NAME.git HEAD:main

  # deliver it: write a GitRepository and a Kustomization, or an Application
  kubectl apply -f app.yaml

  # what there is
  plumb get --watch
`, s.Git)
	}
	b.WriteString("\nEvents follow. Ctrl-C ends this.\n\n")
	return b.String()
}

// shellWord quotes a path where a shell needs that.
func shellWord(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(filepath.ToSlash(path), "'", `'\''`) + "'"
}

// liveEvents prints events as they come.
type liveEvents struct {
	color bool
	now   func() time.Time

	mu  sync.Mutex
	out io.Writer
}

// notice is told what happens to Plumb's own processes.
func (l *liveEvents) notice(text string) {
	l.line(l.now(), "plumb", "", text, busy)
}

func (l *liveEvents) event(e corev1.Event) {
	tone := plain
	if e.Type == corev1.EventTypeWarning {
		tone = busy
	}
	of := e.InvolvedObject
	l.line(lastSeen(e), of.Kind+"/"+of.Name, e.Reason, e.Message, tone)
}

func (l *liveEvents) line(at time.Time, who, reason, message string, t tone) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for part := range strings.Lines(strings.TrimSpace(message)) {
		lines = append(lines, messageCell(part).text)
	}
	text := strings.TrimSpace(oneLine(reason) + " " + strings.Join(lines, "\n          "))
	if t != plain && l.color {
		who = string(t) + who + reset
	}
	fmt.Fprintf(l.out, "%s  %s  %s\n", at.Local().Format(time.TimeOnly), who, text)
}

// live prints the events of all apps and sources from now on, until ctx ends.
func (p *program) live(ctx context.Context, l *liveEvents) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	subjects, err := c.subjects(ctx, "", nil, "")
	if err != nil {
		return err
	}
	var streams []stream
	known := map[types.UID]int32{}
	for _, s := range subjects {
		st := stream{
			from: c.at(corev1.SchemeGroupVersion.WithResource("events"), ""),
			opts: metav1.ListOptions{FieldSelector: s.selector()},
		}
		if st.start, err = list(ctx, st.from, st.opts); err != nil {
			return err
		}
		for _, u := range st.start.items {
			if e, ok := eventFrom(u); ok {
				known[e.UID] = timesSeen(e)
			}
		}
		streams = append(streams, st)
	}
	return followAll(ctx, streams, func(c change) error {
		e, ok := eventFrom(c.object)
		if c.gone || !ok || known[e.UID] == timesSeen(e) {
			return nil
		}
		known[e.UID] = timesSeen(e)
		l.event(e)
		return nil
	})
}
