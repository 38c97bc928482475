package cli

import (
	"context"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/dialect/flux"
)

// standing is how an app stands with Plumb.
type standing struct {
	view  app.View
	taken bool // Plumb has said something about it
	gone  bool
	// failed: it had failed under Flux.
	failed bool
}

// settled reports whether there is nothing to wait for.
func (s standing) settled() bool {
	return s.gone || s.view.Suspended || s.taken && (s.view.State == app.StateReady || s.view.State == app.StateFailed)
}

func (s standing) ready() bool {
	return s.gone || s.view.Suspended || s.taken && s.view.State == app.StateReady
}

// await follows the apps that were compared until Plumb has taken up all, and
// each is ready or has failed. Progress goes to standard error.
func (a *adoption) await(ctx context.Context) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	place := map[app.ID]int{}
	a.standings = make([]standing, len(a.apps))
	for i, compared := range a.apps {
		place[compared.App] = i
		a.standings[i] = standing{view: app.View{ID: compared.App, Suspended: compared.Suspended}, failed: compared.Failed}
	}
	see := func(k kind, u *unstructured.Unstructured, gone bool) {
		view := k.app(u)
		if i, asked := place[view.ID]; asked {
			before := a.standings[i]
			a.standings[i] = standing{view: view, taken: flux.IsPlumbs(u), gone: gone, failed: before.failed}
		}
	}
	var streams []stream
	for _, name := range []string{flux.KindKustomization, flux.KindHelmRelease} {
		k, _ := kindNamed(name)
		s := stream{kind: k, from: c.at(k.resource, "")}
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
		waiting := slices.DeleteFunc(slices.Clone(a.standings), standing.settled)
		if len(waiting) == 0 {
			return errOver
		}
		if text := a.progress(waiting); text != said {
			said = text
			fmt.Fprintln(a.stderr, text)
		}
		return nil
	}
	if err = look(); err == nil {
		err = followAll(ctx, streams, func(ch change) error {
			see(ch.kind, ch.object, ch.gone)
			return look()
		})
	}
	if err == errOver {
		return nil
	}
	if ctx.Err() != nil {
		waiting := slices.DeleteFunc(slices.Clone(a.standings), standing.settled)
		return fmt.Errorf("not all was taken up within %s: %s: %w", a.opts.timeout, a.progress(waiting), context.Cause(ctx))
	}
	return err
}

// progress is a line about those that are waited for.
func (a *adoption) progress(waiting []standing) string {
	all := len(a.standings)
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
	case untaken == all && len(a.alive) == 0:
		return "waiting for Plumb to begin"
	case untaken > 0:
		return fmt.Sprintf("%d of %d taken up by Plumb, %d settled; waiting for %s%s", all-untaken, all, all-len(waiting), first, more)
	}
	return fmt.Sprintf("all %d taken up by Plumb, %d settled; waiting for %s%s", all, all-len(waiting), first, more)
}

// verdict is what came of it.
func (a *adoption) verdict() error {
	bad := slices.DeleteFunc(slices.Clone(a.standings), standing.ready)
	if len(bad) == 0 {
		return nil
	}
	return no("Plumb delivers, and %d of %d are not ready", len(bad), len(a.standings)).
		hint("plumb events %s tells more", appWords(bad[0].view.ID))
}

// showStandings prints a line for each app.
func (a *adoption) showStandings() {
	table := newTable(a.out, a.color(), "APP", "PLUMB", "REVISION", "MESSAGE")
	var rows [][]cell
	for _, s := range a.standings {
		word, message := standingWords(s)
		rows = append(rows, []cell{text(appWords(s.view.ID)), word, text(revisionText(s.view.Applied)), messageCell(message)})
	}
	if len(rows) > 0 {
		a.say("")
	}
	table.print(rows...)
}

func standingWords(s standing) (cell, string) {
	message := s.view.Message
	if s.failed && !s.ready() {
		message += " (and was not ready under Flux)"
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

// outcomes tells of all comparisons what Plumb says of them, for -o json.
func (a *adoption) outcomes() map[app.ID]standing {
	out := map[app.ID]standing{}
	for _, s := range a.standings {
		out[s.view.ID] = s
	}
	return out
}
