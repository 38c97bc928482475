package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// takeup is the wait, after the deliverer has changed, until the new one has
// taken up what it is to work on, and each is ready or has failed.
type takeup struct {
	*handover
	by    string // who delivers now
	after string // who did before
	// begun: who delivers now is known to be there.
	begun bool
	// taken reports whether who delivers now has said something about a resource.
	taken     func(*unstructured.Unstructured, app.View) bool
	standings []standing
}

// standing is how an app, or a source, stands with who delivers now.
type standing struct {
	view  app.View
	taken bool
	gone  bool
	// failed: it had failed under who delivered before.
	failed bool
}

// settled reports whether there is nothing to wait for.
func (s standing) settled() bool {
	return s.gone || s.view.Suspended || s.taken && (s.view.State == app.StateReady || s.view.State == app.StateFailed)
}

func (s standing) ready() bool {
	return s.gone || s.view.Suspended || s.taken && s.view.State == app.StateReady
}

// viewed is what a person is shown of an app; of a source, as much of it as
// sources have.
func (k kind) viewed(u *unstructured.Unstructured) app.View {
	if k.app != nil {
		return k.app(u)
	}
	s := k.source(u)
	return app.View{ID: app.ID(s.ID), Suspended: s.Suspended, State: s.State, Message: s.Message, Handled: s.Handled}
}

// await follows the standings, which are of these kinds, until all are settled.
// Progress goes to standard error.
func (t *takeup) await(ctx context.Context, c *cluster, kinds ...string) error {
	place := map[app.ID]int{}
	for i, s := range t.standings {
		place[s.view.ID] = i
	}
	see := func(k kind, u *unstructured.Unstructured, gone bool) {
		view := k.viewed(u)
		if i, asked := place[view.ID]; asked {
			s := &t.standings[i]
			s.view, s.taken, s.gone = view, t.taken(u, view), gone
		}
	}
	var streams []stream
	for _, name := range kinds {
		k, _ := kindNamed(name)
		s := stream{kind: k, from: c.at(k.resource, "")}
		var err error
		switch s.start, err = list(ctx, s.from, metav1.ListOptions{}); {
		case err == errNotServed:
			continue
		case err != nil:
			return err
		}
		for _, u := range s.start.items {
			see(k, u, false)
		}
		streams = append(streams, s)
	}
	said := ""
	look := func() error {
		waiting := slices.DeleteFunc(slices.Clone(t.standings), standing.settled)
		if len(waiting) == 0 {
			return errOver
		}
		if text := t.progress(waiting); text != said {
			said = text
			fmt.Fprintln(t.stderr, text)
		}
		return nil
	}
	err := look()
	if err == nil {
		err = followAll(ctx, streams, func(ch change) error {
			see(ch.kind, ch.object, ch.gone)
			return look()
		})
	}
	if err == errOver {
		return nil
	}
	if ctx.Err() != nil {
		waiting := slices.DeleteFunc(slices.Clone(t.standings), standing.settled)
		return fmt.Errorf("not all was taken up within %s: %s: %w", t.opts.timeout, t.progress(waiting), context.Cause(ctx))
	}
	return err
}

// progress is a line about those that are waited for.
func (t *takeup) progress(waiting []standing) string {
	all := len(t.standings)
	untaken := 0
	for _, s := range waiting {
		if !s.taken {
			untaken++
		}
	}
	first := appWords(waiting[0].view.ID)
	more := ""
	if len(waiting) > 1 {
		more = fmt.Sprintf(" and %d more", len(waiting)-1)
	}
	switch {
	case untaken == all && !t.begun:
		return "waiting for " + t.by + " to begin"
	case untaken > 0:
		return fmt.Sprintf("%d of %d taken up by %s, %d settled; waiting for %s%s", all-untaken, all, t.by, all-len(waiting), first, more)
	}
	return fmt.Sprintf("all %d taken up by %s, %d settled; waiting for %s%s", all, t.by, all-len(waiting), first, more)
}

// ready reports whether all is taken up and ready.
func (t *takeup) ready() bool {
	return !slices.ContainsFunc(t.standings, func(s standing) bool { return !s.ready() })
}

// verdict is what came of it.
func (t *takeup) verdict() error {
	bad := slices.DeleteFunc(slices.Clone(t.standings), standing.ready)
	if len(bad) == 0 {
		return nil
	}
	return no("%s delivers, and %d of %d are not ready", t.by, len(bad), len(t.standings)).
		hint("plumb events %s tells more", appWords(bad[0].view.ID))
}

// show prints a line for each app.
func (t *takeup) show() {
	table := newTable(t.out, t.color(), "APP", strings.ToUpper(t.by), "REVISION", "MESSAGE")
	var rows [][]cell
	for _, s := range t.standings {
		word, message := t.words(s)
		rows = append(rows, []cell{text(appWords(s.view.ID)), word, text(revisionText(s.view.Applied)), messageCell(message)})
	}
	if len(rows) > 0 {
		t.say("")
	}
	table.print(rows...)
}

func (t *takeup) words(s standing) (cell, string) {
	message := s.view.Message
	if s.failed && !s.ready() {
		message += " (and was not ready under " + t.after + ")"
	}
	switch {
	case s.gone:
		return cell{"gone", faint}, "was deleted meanwhile"
	case s.view.Suspended:
		return cell{"suspended", faint}, ""
	case !s.taken:
		return cell{"not taken up", bad}, ""
	case s.view.State == app.StateReady:
		return cell{"ready", good}, ""
	case s.view.State == app.StateFailed:
		return cell{"failed", bad}, message
	}
	return cell{"not ready", busy}, message
}
