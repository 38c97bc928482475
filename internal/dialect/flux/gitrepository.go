package flux

import (
	"io/fs"
	"net/url"
	"path"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

const (
	// defaultInterval stands in where old versions allow an interval to be
	// left out.
	defaultInterval = 5 * time.Minute
	// defaultFetchTimeout is of a GitRepository.
	defaultFetchTimeout = 60 * time.Second
	// defaultBranch is what Flux follows if nothing is said; it is not HEAD.
	defaultBranch = "master"

	providerGitHub = "github"
)

// gitRepositorySpec has every field of every version; what this package does
// not look into is any.
type gitRepositorySpec struct {
	fetching `json:",inline"`

	URL string `json:"url"`
	Ref *struct {
		Branch string `json:"branch"`
		Tag    string `json:"tag"`
		SemVer string `json:"semver"`
		Name   string `json:"name"`
		Commit string `json:"commit"`
	} `json:"ref"`
	SecretRef          *localRef `json:"secretRef"`
	Provider           string    `json:"provider"`
	ServiceAccountName string    `json:"serviceAccountName"`
	Verify             *struct {
		Mode      string    `json:"mode"`
		SecretRef *localRef `json:"secretRef"`
	} `json:"verify"`
	ProxySecretRef    *localRef `json:"proxySecretRef"`
	Ignore            *string   `json:"ignore"`
	RecurseSubmodules bool      `json:"recurseSubmodules"`
	Include           []include `json:"include"`
	SparseCheckout    []string  `json:"sparseCheckout"`

	GitImplementation string `json:"gitImplementation"` // until v1beta2
}

type include struct {
	Repository *localRef `json:"repository"`
	FromPath   string    `json:"fromPath"`
	ToPath     string    `json:"toPath"`
}

type localRef struct {
	Name string `json:"name"`
}

// DecodeGitRepository reads a GitRepository of any version. The source comes
// without what Secrets hold: AddSecrets fills it in. A failure says that the source cannot be fetched as it is asked
// for; the other results are then still as complete as can be.
func DecodeGitRepository(u *unstructured.Unstructured) (app.Source, []app.Warning, *app.Failure) {
	source := sourceOf(u, KindGitRepository)
	source.UseIgnore = true
	fields := section(u.Object, "spec")
	var spec gitRepositorySpec
	warnings := unknownFields("spec", fields, reflect.TypeFor[gitRepositorySpec]())
	if f := convert(fields, &spec); f != nil {
		return source, warnings, f
	}
	source.URL, source.Ignore = spec.URL, spec.Ignore
	warnings = append(warnings, spec.set(&source)...)
	if r := spec.Ref; r != nil {
		source.Ref = app.GitRef{Branch: r.Branch, Tag: r.Tag, SemVer: r.SemVer, Name: r.Name, Commit: r.Commit}
	}
	if source.Ref == (app.GitRef{}) {
		source.Ref.Branch = defaultBranch
	}
	warnings = append(warnings, gitRepositoryWarnings(spec)...)
	failure := gitRepositoryFailure(spec)
	source.Submodules = spec.RecurseSubmodules
	if f := composition(spec, &source); f != nil {
		failure = f
	}
	if v := spec.Verify; v != nil {
		mode, ok := verifyModes[v.Mode]
		if !ok || v.SecretRef == nil || v.SecretRef.Name == "" {
			failure = app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.verify needs a mode of HEAD, Tag or TagAndHEAD, and a secretRef")
		}
		source.Verify = &mode
	}
	return source, warnings, failure
}

// composition says what of other repositories is put in, and which directories
// are shown.
func composition(spec gitRepositorySpec, source *app.Source) *app.Failure {
	invalid := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, format, args...)
	}
	for i, in := range spec.Include {
		if in.Repository == nil || in.Repository.Name == "" {
			return invalid("spec.include[%d] names no repository", i)
		}
		to := in.ToPath
		if to == "" {
			to = in.Repository.Name
		}
		from, okFrom := within(in.FromPath)
		to, okTo := within(to)
		if !okFrom || !okTo || to == "." {
			return invalid("spec.include[%d]: fromPath and toPath must be directories below the root, without ..", i)
		}
		id := app.SourceID{Kind: KindGitRepository, Namespace: source.ID.Namespace, Name: in.Repository.Name}
		source.Include = append(source.Include, app.Include{Source: id, From: from, To: to})
		if !slices.Contains(source.Uses, id) {
			source.Uses = append(source.Uses, id)
		}
	}
	for i, dir := range spec.SparseCheckout {
		clean, ok := within(dir)
		if !ok {
			return invalid("spec.sparseCheckout[%d] must be a directory of the repository, without ..", i)
		}
		source.Sparse = append(source.Sparse, clean)
	}
	return nil
}

// within cleans a path below a root, which a slash at its beginning may mean;
// "" is the root. ok is false if it leads out.
func within(name string) (clean string, ok bool) {
	clean = path.Clean(strings.TrimLeft(name, "/"))
	return clean, fs.ValidPath(clean)
}

// verifyModes are the values of spec.verify.mode.
var verifyModes = map[string]app.Verification{
	"": {Commit: true}, "HEAD": {Commit: true}, "head": {Commit: true}, // the last until v1beta2
	"Tag": {Tag: true}, "TagAndHEAD": {Tag: true, Commit: true},
}

func gitRepositoryWarnings(spec gitRepositorySpec) []app.Warning {
	var out []app.Warning
	warn := func(when bool, field, message string) {
		if when {
			out = append(out, app.Warning{Field: "spec." + field, Message: message})
		}
	}
	warn(spec.GitImplementation != "", "gitImplementation", "has no effect, there is one implementation")
	if u, err := url.Parse(spec.URL); err == nil && u.User != nil {
		_, secret := u.User.Password()
		warn(secret, "url", "holds a password that everyone who may read this resource can see; use secretRef")
	}
	return out
}

// gitRepositoryFailure refuses what would deliver something else than asked,
// or trust more than asked.
func gitRepositoryFailure(spec gitRepositorySpec) *app.Failure {
	if f := spec.fetching.failure(); f != nil {
		return f
	}
	switch {
	case spec.Provider == providerGitHub && (spec.SecretRef == nil || spec.SecretRef.Name == ""):
		return app.Fail(app.StageSpec, app.ReasonProvider, "spec.provider is github, and there is no spec.secretRef that has the GitHub App")
	case spec.Provider != "" && spec.Provider != "generic" && spec.Provider != providerGitHub:
		return app.Fail(app.StageSpec, app.ReasonUnsupported, "spec.provider: %s is not supported: the identity service of a cloud cannot be asked", spec.Provider).
			WithHint("use a token or an SSH key in a Secret, with provider generic")
	case spec.ServiceAccountName != "":
		return app.Fail(app.StageSpec, app.ReasonUnsupported, "spec.serviceAccountName is for providers aws and azure, which are not supported").
			WithHint("remove it, and use a token or an SSH key in a Secret")
	}
	return checkURL(spec.URL)
}

// checkURL is of StageFetch: it is the address that is wrong.
func checkURL(raw string) *app.Failure {
	fail := func(what string) *app.Failure {
		return app.Fail(app.StageFetch, app.ReasonInvalidSpec, "spec.url %s", what).
			WithHint("write it as https://host/path or ssh://git@host/path")
	}
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return fail("is missing")
	case err != nil:
		return fail("cannot be parsed") // the error quotes the URL, which may hold a password
	case u.Scheme == "file":
		return nil // whether directories of this machine may be read is for who fetches to say
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "ssh":
		return fail("has the scheme \"" + u.Scheme + "\"")
	case u.Host == "":
		return fail("names no host")
	}
	return nil
}
