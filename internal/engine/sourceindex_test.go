package engine

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/render"
	"plumb.dev/plumb/internal/source"
)

func sortedSources(ids []app.SourceID) []app.SourceID {
	slices.SortFunc(ids, func(a, b app.SourceID) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return slices.Compact(ids)
}

// TestSourceIndex files, changes and drops sources at random, and compares what
// the index finds with what looking at every source finds. Nothing may be left
// in the end.
func TestSourceIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	pick := func(all ...string) string { return all[rnd.IntN(len(all))] }
	repos := []string{"a", "b", "charts"}
	spell := func(repo string) string {
		return pick("https://git.example.com/team/"+repo, "https://GIT.example.com/team/"+repo+".git", "git@git.example.com:team/"+repo,
			"oci://registry.example.com/"+repo, "oci://registry.example.com/"+repo+"/", "no address of "+repo)
	}
	id := func() app.SourceID {
		return app.SourceID{Kind: pick("Git", "Helm", "Chart"), Name: pick("x", "y", "z")}
	}
	x := newSourceIndex()
	sources := map[app.SourceID]app.Source{}
	address := func(src app.Source) string {
		if src.HelmChart == nil || len(src.Uses) != 1 {
			return source.Canonical(src.URL)
		}
		registry, there := sources[src.Uses[0]]
		if !there || !registry.Static() {
			return ""
		}
		return source.Canonical(strings.TrimSuffix(registry.URL, "/") + "/" + src.HelmChart.Chart)
	}
	for i := range 5000 {
		src := app.Source{ID: id()}
		switch {
		case rnd.IntN(4) == 0:
			x.drop(src.ID)
			delete(sources, src.ID)
		default:
			switch src.ID.Kind {
			case "Git":
				src.URL = spell(pick(repos...))
				for range rnd.IntN(3) {
					src.Uses = append(src.Uses, id())
				}
			case "Helm":
				src.URL, src.HelmRepository = spell(pick(repos...)), &app.HelmRepository{OCI: rnd.IntN(3) > 0}
			case "Chart":
				src.HelmChart, src.Uses = &app.HelmChart{Chart: pick("a", "b", "deep/c")}, []app.SourceID{id()}
			}
			x.file(src)
			sources[src.ID] = src
		}
		for _, kind := range []string{"Git", "Helm", "Chart"} {
			for _, name := range []string{"x", "y", "z"} {
				on := app.SourceID{Kind: kind, Name: name}
				var want []app.SourceID
				for id, src := range sources {
					if slices.Contains(src.Uses, on) {
						want = append(want, id)
					}
				}
				if got := x.usersOf(on); !slices.Equal(sortedSources(got), sortedSources(want)) {
					t.Fatalf("step %d: made of %s: %v, want %v", i, on, got, want)
				}
			}
		}
		wanted := map[string]bool{source.Canonical(spell(pick(repos...))): true, source.Canonical(spell(pick(repos...)) + pick("/a", "/b", "/deep/c")): true}
		delete(wanted, "")
		var want []app.SourceID
		for id, src := range sources {
			if wanted[address(src)] {
				want = append(want, id)
			}
		}
		if got := x.of(wanted); !slices.Equal(sortedSources(got), sortedSources(want)) {
			t.Fatalf("step %d: at %v: %v, want %v", i, slices.Collect(maps.Keys(wanted)), got, want)
		}
	}
	for id := range sources {
		x.drop(id)
	}
	if len(x.filed)+len(x.users)+len(x.at) > 0 {
		t.Errorf("left: %+v", x)
	}
}

// TestBaseUsers is the same for the remote bases that apps build on.
func TestBaseUsers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	u := newBaseUsers()
	users := map[app.ID]baseUser{}
	urls := []string{"https://example.com/a", "https://example.com/a.git", "git@example.com:a", "https://example.com/b"}
	for i := range 2000 {
		user, from := id(fmt.Sprint("app", rnd.IntN(5))), app.SourceID{Name: fmt.Sprint("src", rnd.IntN(3))}
		var used []base
		for range rnd.IntN(3) {
			used = append(used, base{Remote: render.Remote{URL: urls[rnd.IntN(len(urls))]}})
		}
		wantLeft := slices.ContainsFunc(users[user].bases, func(b base) bool {
			return !slices.ContainsFunc(used, func(now base) bool { return now.URL == b.URL })
		})
		if left := u.set(user, from, used); left != wantLeft {
			t.Fatalf("step %d: left %v, want %v", i, left, wantLeft)
		}
		if users[user] = (baseUser{from, used}); len(used) == 0 {
			delete(users, user)
		}
		address := source.Canonical(urls[rnd.IntN(len(urls))])
		of, pushed := map[app.ID]int{}, map[app.SourceID]bool{}
		for id, user := range users {
			if user.source == from {
				of[id] = len(user.bases)
			}
			if slices.ContainsFunc(user.bases, func(b base) bool { return source.Canonical(b.URL) == address }) {
				pushed[user.source] = true
			}
		}
		got := map[app.ID]int{}
		for id, bases := range u.of(from) {
			got[id] = len(bases)
		}
		if !maps.Equal(got, of) || !maps.Equal(u.pushed(map[string]bool{address: true}), pushed) {
			t.Fatalf("step %d: of %s: %v, want %v; at %s: %v, want %v", i, from, got, of, address, u.pushed(map[string]bool{address: true}), pushed)
		}
	}
	for user := range users {
		u.set(user, app.SourceID{}, nil)
	}
	if len(u.users)+len(u.from)+len(u.at) > 0 {
		t.Errorf("left: %+v", u)
	}
}

// BenchmarkPushed is one push among many repositories.
func BenchmarkPushed(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			e := New(Options{Log: slog.New(slog.DiscardHandler)})
			for i := range n {
				e.SetSource(app.Source{ID: app.SourceID{Kind: "GitRepository", Name: fmt.Sprint(i)}, URL: fmt.Sprintf("https://example.com/team/%d", i)})
			}
			for b.Loop() {
				if found := e.Pushed("git@example.com:team/7.git"); found != 1 {
					b.Fatalf("%d look", found)
				}
			}
		})
	}
}
