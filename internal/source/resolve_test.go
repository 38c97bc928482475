package source

import (
	"strings"
	"testing"
	"time"

	"plumb.dev/plumb/internal/app"
)

// history is one repository with every kind of ref.
func history(t *testing.T) (o *origin, ids map[string]string) {
	o = newOrigin(t)
	ids = map[string]string{}
	ids["first"] = o.commit("First\n\nwith a body", map[string]string{"a": "1"})
	o.run("tag", "v1.0.0")
	ids["second"] = o.commit("Second", map[string]string{"a": "2"})
	o.run("tag", "--annotate", "--message", "annotated", "v1.1.0")
	o.run("tag", "--annotate", "--message", "a tag of a tag", "double", "v1.1.0")
	ids["third"] = o.commit("Third", map[string]string{"a": "3"})
	o.run("tag", "2.0.0-rc.1")
	o.run("tag", "20240101")
	o.run("checkout", "--quiet", "-b", "feature/x", ids["first"])
	ids["feature"] = o.commit("Feature", map[string]string{"b": "1"})
	o.run("tag", "both")
	o.run("checkout", "--quiet", "-b", "both", ids["second"])
	ids["both"] = o.commit("Both", map[string]string{"c": "1"})
	o.run("checkout", "--quiet", "main")
	blob := o.run("rev-parse", "HEAD:a")
	o.run("tag", "of-a-file", blob)
	o.push("--all")
	o.push("--tags")
	runGit(t, o.bare, "update-ref", "refs/pull/7/head", ids["feature"])
	return o, ids
}

func TestResolveRefs(t *testing.T) {
	o, ids := history(t)
	for _, test := range []struct {
		name   string
		ref    app.GitRef
		commit string // key of ids
		shown  string
	}{
		{"nothing", app.GitRef{}, "third", "main"},
		{"HEAD", app.GitRef{Any: "HEAD"}, "third", "main"},
		{"branch", app.GitRef{Branch: "feature/x"}, "feature", "feature/x"},
		{"tag", app.GitRef{Tag: "v1.0.0"}, "first", "v1.0.0"},
		{"annotated tag", app.GitRef{Tag: "v1.1.0"}, "second", "v1.1.0"},
		{"tag of a tag", app.GitRef{Tag: "double"}, "second", "double"},
		{"name of a branch", app.GitRef{Name: "refs/heads/main"}, "third", "refs/heads/main"},
		{"name of a pull request", app.GitRef{Name: "refs/pull/7/head"}, "feature", "refs/pull/7/head"},
		{"semver", app.GitRef{SemVer: ">=1.0.0"}, "second", "v1.1.0"},
		{"semver with prerelease", app.GitRef{SemVer: ">=1.0.0-0"}, "third", "2.0.0-rc.1"},
		{"semver exact", app.GitRef{SemVer: "1.0.x"}, "first", "v1.0.0"},
		{"full commit", app.GitRef{Commit: "first"}, "first", ""},
		{"short commit", app.GitRef{Commit: "feature:8"}, "feature", ""},
		{"commit in a branch", app.GitRef{Branch: "main", Commit: "first"}, "first", "main"},
		{"precedence of commit", app.GitRef{Commit: "first", Tag: "v1.1.0", SemVer: "*"}, "first", ""},
		{"precedence of name", app.GitRef{Name: "refs/tags/v1.0.0", SemVer: "*", Tag: "v1.1.0"}, "first", "refs/tags/v1.0.0"},
		{"precedence of semver", app.GitRef{SemVer: "1.0.0", Tag: "v1.1.0", Branch: "main"}, "first", "v1.0.0"},
		{"precedence of tag", app.GitRef{Tag: "v1.0.0", Branch: "main", Any: "feature/x"}, "first", "v1.0.0"},
		{"any branch", app.GitRef{Any: "feature/x"}, "feature", "feature/x"},
		{"any branch before tag", app.GitRef{Any: "both"}, "both", "both"},
		{"any tag", app.GitRef{Any: "v1.0.0"}, "first", "v1.0.0"},
		{"any full name", app.GitRef{Any: "refs/tags/both"}, "feature", "refs/tags/both"},
		{"any full commit", app.GitRef{Any: "second"}, "second", ""},
		{"any short commit", app.GitRef{Any: "second:7"}, "second", ""},
		{"any constraint", app.GitRef{Any: "v1.*"}, "second", "v1.1.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fill := func(s *string) {
				key, cut, short := strings.Cut(*s, ":")
				if id, ok := ids[key]; ok && *s != "both" {
					if *s = id; short {
						*s = id[:int(cut[0]-'0')]
					}
				}
			}
			fill(&test.ref.Commit)
			fill(&test.ref.Any)
			for _, any := range []string{"true", "false"} { // whether the server gives any commit
				runGit(t, o.bare, "config", "uploadpack.allowAnySHA1InWant", any)
				s := newStore(t)
				rev, _ := resolve(t, s, o.source(test.ref))
				if rev.Commit != ids[test.commit] || rev.Ref != test.shown {
					t.Errorf("got %s as %q, want %s as %q", rev.Commit, rev.Ref, ids[test.commit], test.shown)
				}
			}
		})
	}
}

func TestResolveDescribesTheCommit(t *testing.T) {
	o, _ := history(t)
	rev, _ := resolve(t, newStore(t), o.source(app.GitRef{Tag: "v1.0.0"}))
	if rev.Subject != "First" || rev.Author != "Ada <ada@example.org>" || time.Since(rev.Time) > time.Hour {
		t.Errorf("got %+v", rev)
	}
}

func TestResolveMissing(t *testing.T) {
	o, ids := history(t)
	nowhere := strings.Repeat("ab", 20)
	for name, ref := range map[string]app.GitRef{
		"branch":             {Branch: "nope"},
		"tag":                {Tag: "nope"},
		"tag of a file":      {Tag: "of-a-file"},
		"semver":             {SemVer: ">=3.0.0"},
		"name":               {Name: "refs/heads/nope"},
		"commit":             {Commit: nowhere},
		"short commit":       {Commit: nowhere[:10]},
		"commit off branch":  {Branch: "main", Commit: ids["feature"]},
		"commit, no branch":  {Branch: "nope", Commit: ids["feature"]},
		"any":                {Any: "nope"},
		"any short":          {Any: nowhere[:8]},
		"any commit":         {Any: nowhere},
		"any unmet semver":   {Any: ">=3.0.0"},
		"no short any digit": {Any: "abc"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, any := range []string{"true", "false"} {
				runGit(t, o.bare, "config", "uploadpack.allowAnySHA1InWant", any)
				f := wantFailure(t, resolveError(t, newStore(t), o.source(ref)), app.ReasonRefNotFound)
				if f.Hint == "" || !strings.Contains(f.Error(), o.url()) {
					t.Errorf("no hint or no URL: %v (%s)", f, f.Hint)
				}
			}
		})
	}
}

func TestResolveInvalid(t *testing.T) {
	s := newStore(t)
	for name, src := range map[string]app.Source{
		"semver":       {URL: "https://example.org/x", Ref: app.GitRef{SemVer: "not a version"}},
		"commit":       {URL: "https://example.org/x", Ref: app.GitRef{Commit: "xyz"}},
		"tiny commit":  {URL: "https://example.org/x", Ref: app.GitRef{Commit: "abcdef"}},
		"name":         {URL: "https://example.org/x", Ref: app.GitRef{Name: "main"}},
		"scheme":       {URL: "ftp://example.org/x"},
		"no URL":       {},
		"unreadable":   {URL: "https://user:hunter2@exa mple.org/x"},
		"port":         {URL: "https://user:hunter2@example.org:x/y"},
		"slash in pw":  {URL: "https://user:hunter2/more@example.org/y"},
		"local":        {URL: "file:///etc"},
		"local path":   {URL: "/etc"},
		"no path":      {URL: "https://user:hunter2@example.org"},
		"query":        {URL: "https://example.org/x?token=hunter2"},
		"scp password": {URL: "user:hunter2@example.org:x"},
	} {
		t.Run(name, func(t *testing.T) {
			want := app.ReasonInvalidSpec
			if src.Ref != (app.GitRef{}) {
				want = app.ReasonInvalidRef
			}
			_, _, err := s.Resolve(t.Context(), src, time.Time{})
			wantFailure(t, err, want, "hunter2")
		})
	}
}

func TestResolveEmptyRepository(t *testing.T) {
	o := newOrigin(t)
	for _, ref := range []app.GitRef{{}, {Branch: "main"}, {Commit: strings.Repeat("ab", 20)}} {
		f := wantFailure(t, resolveError(t, newStore(t), o.source(ref)), app.ReasonRefNotFound)
		if ref.Commit == "" && !strings.Contains(f.Hint, "empty") {
			t.Errorf("hint %q does not say that the repository is empty", f.Hint)
		}
	}
	s := newStore(t)
	resolveError(t, s, o.source(app.GitRef{}))
	id := o.commit("First", map[string]string{"a": "1"})
	o.push("main")
	if rev, _ := resolve(t, s, o.source(app.GitRef{})); rev.Commit != id {
		t.Errorf("got %s, want %s", rev.Commit, id)
	}
}
