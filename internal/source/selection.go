package source

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/source/remote"
)

// selector is a GitRef whose most specific field has been chosen and checked.
type selector struct {
	kind   refKind
	text   string // as the user wrote it
	branch string // with kindCommit: the branch that must contain it
	// constraint is set for kindSemVer, and for kindAny where the text can be
	// read as one.
	constraint *semver.Constraints
}

type refKind int

const (
	kindAny refKind = iota
	kindBranch
	kindTag
	kindSemVer
	kindName
	kindCommit
)

const (
	headPrefix = "refs/heads/"
	tagPrefix  = "refs/tags/"
	minShort   = 7 // digits of an abbreviated commit id
	fullID     = 40
)

func selection(ref app.GitRef) (selector, error) {
	invalid := func(format string, args ...any) (selector, error) {
		return selector{}, app.Fail(app.StageFetch, app.ReasonInvalidRef, format, args...)
	}
	switch {
	case ref.Commit != "":
		text := strings.ToLower(ref.Commit)
		if !isHex(text) || len(text) < minShort || len(text) > fullID {
			return invalid("ref.commit %q is not a commit id of %d to %d hexadecimal digits", ref.Commit, minShort, fullID)
		}
		return selector{kind: kindCommit, text: text, branch: ref.Branch}, nil
	case ref.Name != "":
		if !strings.HasPrefix(ref.Name, "refs/") && ref.Name != "HEAD" {
			return invalid("ref.name %q is not a full reference name such as refs/heads/main", ref.Name)
		}
		return selector{kind: kindName, text: ref.Name}, nil
	case ref.SemVer != "":
		c, err := semver.NewConstraint(ref.SemVer)
		if err != nil {
			return invalid("ref.semver %q is not a version constraint: %w", ref.SemVer, err)
		}
		return selector{kind: kindSemVer, text: ref.SemVer, constraint: c}, nil
	case ref.Tag != "":
		return selector{kind: kindTag, text: ref.Tag}, nil
	case ref.Branch != "":
		return selector{kind: kindBranch, text: ref.Branch}, nil
	case ref.Any == "":
		return selector{kind: kindAny, text: "HEAD"}, nil
	}
	s := selector{kind: kindAny, text: ref.Any}
	if c, err := semver.NewConstraint(ref.Any); err == nil {
		s.constraint = c
	}
	return s, nil
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

// target is what a selector means in a listing.
type target struct {
	id     plumbing.Hash // a commit, or a tag that leads to one; zero: look for prefix
	prefix string        // of a commit id that the listing does not show
	name   string        // full name of the ref, to be kept as a root; "" for a bare commit
	shown  string        // Revision.Ref
}

// find looks the selector up. Commit ids that no ref shows come back as prefix.
func (s selector) find(l *remote.Listing) (target, error) {
	switch s.kind {
	case kindBranch:
		return s.named(l, headPrefix+s.text, s.text, "branch")
	case kindTag:
		return s.named(l, tagPrefix+s.text, s.text, "tag")
	case kindName:
		if s.text == "HEAD" {
			return s.head(l)
		}
		return s.named(l, s.text, s.text, "reference")
	case kindSemVer:
		if t, ok := s.highest(l, semver.StrictNewVersion); ok {
			return t, nil
		}
		return target{}, s.missing(l, "no tag satisfies the version constraint %q", s.text)
	case kindCommit:
		return s.commit(l, s.text), nil
	}
	return s.any(l)
}

// any follows Argo CD's reading of targetRevision.
func (s selector) any(l *remote.Listing) (target, error) {
	if s.text == "HEAD" {
		return s.head(l)
	}
	text := strings.ToLower(s.text)
	if isHex(text) && len(text) == fullID { // before names: nobody may shadow a commit
		return s.commit(l, text), nil
	}
	for _, prefix := range []string{"", headPrefix, tagPrefix} {
		name := prefix + s.text
		if ref, ok := l.Refs[name]; ok && strings.HasPrefix(name, "refs/") {
			return target{id: ref.Commit(), name: name, shown: s.text}, nil
		}
	}
	if t, ok := s.highest(l, looseVersion); ok {
		return t, nil
	}
	if isHex(text) && len(text) >= minShort {
		return s.commit(l, text), nil
	}
	return target{}, s.missing(l, "%q is no branch, tag or commit, and no tag satisfies it as a version constraint", s.text)
}

// looseVersion reads v1.2 as well as v1.2.3, but not a bare number: a tag such
// as 20240101 would be above every version.
func looseVersion(tag string) (*semver.Version, error) {
	if !strings.Contains(tag, ".") {
		return nil, semver.ErrInvalidSemVer
	}
	return semver.NewVersion(tag)
}

func (s selector) head(l *remote.Listing) (target, error) {
	if l.Head.IsZero() {
		return target{}, s.missing(l, "HEAD of the repository points to no commit")
	}
	t := target{id: l.Head, name: l.HeadRef, shown: "HEAD"}
	if branch, ok := strings.CutPrefix(l.HeadRef, headPrefix); ok {
		t.shown = branch
	}
	return t, nil
}

func (s selector) named(l *remote.Listing, name, shown, what string) (target, error) {
	ref, ok := l.Refs[name]
	if !ok {
		return target{}, s.missing(l, "the repository has no %s %q", what, shown)
	}
	return target{id: ref.Commit(), name: name, shown: shown}, nil
}

// commit finds an id that a ref points to; other ids are left to the caller.
func (s selector) commit(l *remote.Listing, id string) target {
	t := target{prefix: id, shown: s.branch}
	if len(id) == fullID {
		for _, ref := range l.Refs {
			if ref.Commit().String() == id {
				t.id = ref.Commit()
			}
		}
	}
	return t
}

// highest gives the tag with the highest version that satisfies the
// constraint; of equal versions, the one whose name sorts last.
func (s selector) highest(l *remote.Listing, parse func(string) (*semver.Version, error)) (target, bool) {
	if s.constraint == nil {
		return target{}, false
	}
	var best *semver.Version
	var t target
	for name, ref := range l.Refs {
		tag, ok := strings.CutPrefix(name, tagPrefix)
		if !ok {
			continue
		}
		v, err := parse(strings.TrimPrefix(tag, "v"))
		if err != nil || !s.constraint.Check(v) {
			continue
		}
		if best != nil && (v.LessThan(best) || v.Equal(best) && name < t.name) {
			continue
		}
		best, t = v, target{id: ref.Commit(), name: name, shown: tag}
	}
	return t, best != nil
}

// missing is the failure of a ref that is not there.
func (s selector) missing(l *remote.Listing, format string, args ...any) error {
	f := app.Fail(app.StageFetch, app.ReasonRefNotFound, "%w", fmt.Errorf(format, args...))
	if len(l.Refs) == 0 {
		return f.WithHint("The repository is empty: push a first commit.")
	}
	if branch, ok := strings.CutPrefix(l.HeadRef, headPrefix); ok {
		return f.WithHint("The repository's default branch is %q.", branch)
	}
	return f.WithHint("Correct the ref of the source, or push it.")
}
