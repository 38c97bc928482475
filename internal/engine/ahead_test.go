package engine

import (
	"context"
	"fmt"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/sandboxtest"
)

// What an app is ahead of is remembered, and only a revision that comes from
// nothing but that very status is held back, of whatever kind the source is.
func TestAhead(t *testing.T) {
	known := func(kind, revision, named string, told bool) sourceNow {
		return sourceNow{of: app.Source{ID: app.SourceID{Kind: kind, Name: "s"}}, revision: app.Revision{Commit: revision}, named: named, told: told}
	}
	newer := app.Ahead{Revision: "b", Of: "a"}
	for _, kind := range []string{"GitRepository", "OCIRepository", "Bucket", "HelmChart"} {
		for name, c := range map[string]struct {
			now    sourceNow
			before app.Ahead
			want   app.Ahead
			held   bool
		}{
			"found, and named":                     {known(kind, "a", "a", false), app.Ahead{}, app.Ahead{}, false},
			"found, and not named yet":             {known(kind, "b", "a", false), app.Ahead{}, newer, false},
			"again, by now named":                  {known(kind, "b", "b", false), newer, newer, false},
			"found, and nothing was ever named":    {known(kind, "a", "", false), app.Ahead{}, app.Ahead{}, false},
			"told, and what was delivered":         {known(kind, "b", "b", true), newer, newer, false},
			"told, and older":                      {known(kind, "a", "a", true), newer, app.Ahead{}, true},
			"told, and made of what is told":       {known(kind, "x", "a", true), newer, app.Ahead{}, true},
			"told, and the status has moved since": {known(kind, "c", "c", true), newer, app.Ahead{}, false},
			"told, and nothing is ahead of it":     {known(kind, "a", "a", true), app.Ahead{}, app.Ahead{}, false},
			"the remote says that it is the older": {known(kind, "a", "b", false), newer, app.Ahead{Revision: "a", Of: "b"}, false},
		} {
			if got := c.now.behind(c.before); (got != nil) != c.held || c.held && got.Reason != app.ReasonSourceNotReady {
				t.Errorf("%s, %s: held back by %v", kind, name, got)
			}
			if got := c.now.ahead(c.before); !c.held && got != c.want {
				t.Errorf("%s, %s: remembered is %+v", kind, name, got)
			}
		}
	}
	if got := known("", "b", "a", false).ahead(app.Ahead{}); got != (app.Ahead{}) {
		t.Errorf("of a source without a status: %+v", got)
	}
}

// What is made of a source that is known by its status only is known no better,
// until that source has been looked at.
func TestToldThroughOthers(t *testing.T) {
	git := sandboxtest.Git(t)
	first := sandboxtest.NewRepo(t, git, "inner").Write(map[string]string{"a": "1"}).Push("first")
	sandboxtest.NewRepo(t, git, "outer").Write(map[string]string{"own": "1"}).Push("first")
	in, out := gitSource("inner", git.RepoURL("inner")), gitSource("outer", git.RepoURL("outer"))
	in.Suspend, in.Recorded = true, app.Revision{Commit: first, Ref: "main"}
	out.Uses, out.Include = []app.SourceID{in.ID}, []app.Include{{Source: in.ID, From: ".", To: "in"}}
	e, _ := looking(t, t.TempDir(), in, out)
	e.Start()
	until := func(told bool) {
		t.Helper()
		sandboxtest.Eventually(t, func(context.Context) error {
			for _, id := range []app.SourceID{in.ID, out.ID} {
				now, _ := e.current(id)
				if now.repo == nil || now.told != told {
					return fmt.Errorf("%s: told is %t", id, now.told)
				}
			}
			return nil
		})
	}
	until(true)
	in.Suspend, in.Generation = false, 2
	e.SetSource(in)
	until(false)
	in.Suspend, in.Generation = true, 3
	e.SetSource(in)
	e.refresh(out.ID)
	until(false)
}
