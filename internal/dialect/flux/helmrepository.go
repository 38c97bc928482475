package flux

import (
	"errors"
	"net/url"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// defaultIndexInterval is that of a HelmRepository, as in Flux.
const defaultIndexInterval = time.Minute

// helmRepositorySpec has every field of every version.
type helmRepositorySpec struct {
	fetching `json:",inline"`

	URL             string    `json:"url"`
	Type            string    `json:"type"`
	SecretRef       *localRef `json:"secretRef"`
	CertSecretRef   *localRef `json:"certSecretRef"`
	PassCredentials bool      `json:"passCredentials"`
	Insecure        bool      `json:"insecure"`
	Provider        string    `json:"provider"`
}

// DecodeHelmRepository is SourceKind.Decode.
func DecodeHelmRepository(u *unstructured.Unstructured) (app.Source, []app.Warning, *app.Failure) {
	source := sourceOf(u, KindHelmRepository)
	source.Interval, source.HelmRepository = defaultIndexInterval, &app.HelmRepository{}
	fields := section(u.Object, "spec")
	var spec helmRepositorySpec
	warnings := unknownFields("spec", fields, reflect.TypeFor[helmRepositorySpec]())
	if f := convert(fields, &spec); f != nil {
		return source, warnings, f
	}
	source.URL = spec.URL
	warnings = append(warnings, spec.set(&source)...)
	*source.HelmRepository = app.HelmRepository{OCI: spec.Type == "oci", PassCredentials: spec.PassCredentials, Insecure: spec.Insecure}
	warn := func(when bool, field, message string) {
		if when {
			warnings = append(warnings, app.Warning{Field: "spec." + field, Message: message})
		}
	}
	warn(spec.Insecure && spec.Type != "oci", "insecure", "has no effect except with type oci")
	warn(spec.PassCredentials && spec.Type == "oci", "passCredentials", "has no effect with type oci")
	if u, err := url.Parse(spec.URL); err == nil && u.User != nil {
		_, secret := u.User.Password()
		warn(secret, "url", "holds a password that everyone who may read this resource can see; use secretRef")
	}
	return source, warnings, helmRepositoryFailure(spec)
}

func helmRepositoryFailure(spec helmRepositorySpec) *app.Failure {
	scheme := "https"
	if spec.Type == "oci" {
		scheme = "oci"
	}
	invalid := func(what string) *app.Failure {
		return app.Fail(app.StageFetch, app.ReasonInvalidSpec, "spec.url %s", what).WithHint("write it as %s://host/path", scheme)
	}
	if f := spec.fetching.failure(); f != nil {
		return f
	}
	u, err := url.Parse(spec.URL)
	switch {
	case spec.Type != "" && spec.Type != "default" && spec.Type != "oci":
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.type is %q", spec.Type).WithHint("set it to default or oci")
	case spec.Provider != "" && spec.Provider != "generic":
		return app.Fail(app.StageSpec, app.ReasonUnsupported, "spec.provider: %s is not supported yet", spec.Provider).
			WithHint("use credentials in a Secret, with provider generic")
	case spec.URL == "":
		return invalid("is missing")
	case err != nil:
		return invalid("cannot be parsed") // the error quotes the URL, which may hold a password
	case u.Scheme != scheme && (scheme != "https" || u.Scheme != "http"):
		return invalid("has the scheme \"" + u.Scheme + "\"")
	case u.Host == "":
		return invalid("names no host")
	}
	return nil
}

func helmRepositorySecrets(u *unstructured.Unstructured) []SecretUse {
	var out []SecretUse
	if name := text(u.Object, "spec", "secretRef", "name"); name != "" {
		out = append(out, SecretUse{Name: name, Into: func(src *app.Source, data map[string][]byte) {
			if config := data[dockerConfigKey]; len(config) > 0 && src.HelmRepository.OCI {
				src.HelmRepository.Keychain = config
				return
			}
			src.Auth = Credentials(data, src.URL)
			switch a := src.Auth; {
			case a.Err != nil:
			case a.Username != "" && a.Password == "":
				src.Auth.Err = errors.New("the Secret holds username without password")
			case a.Username == "" && len(a.CA) == 0 && len(a.ClientCert) == 0:
				src.Auth.Err = errors.New("the Secret holds no username and password")
			}
		}})
	}
	if name := text(u.Object, "spec", "certSecretRef", "name"); name != "" {
		out = append(out, SecretUse{Name: name, Into: addCertificates})
	}
	return out
}

// EncodeHelmRepository is SourceKind.Encode.
func EncodeHelmRepository(r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any {
	return encodeSource(helmRepositoryWords(r), r, warnings, old)
}

// HelmRepositoryEvents is SourceKind.Events.
func HelmRepositoryEvents(r app.SourceReport, warnings []app.Warning, old map[string]any) []app.Event {
	return sourceEvents(helmRepositoryWords(r), r, warnings, old)
}

func helmRepositoryWords(r app.SourceReport) sourceWords {
	return sourceWords{
		revision: FormatRevision,
		stored:   func(rev app.Revision) string { return "stored artifact: revision '" + FormatRevision(rev) + "'" },
		news: func(rev app.Revision) string {
			return "stored fetched index of revision '" + FormatRevision(rev) + "' from '" + app.ViewURL(r.Of.URL) + "'"
		},
		reasons: helmRepositoryReasons(),
	}
}

func helmRepositoryReasons() []translation {
	return []translation{
		{app.StageFetch, app.ReasonInvalidSpec, outcome{"URLInvalid", true}},
		{"", app.ReasonInvalidSpec, outcome{"InvalidSpec", true}},
		{"", app.ReasonUnsupported, outcome{"Unsupported", true}},
		{"", app.ReasonAuthentication, outcome{"AuthenticationFailed", false}},
		{"", app.ReasonCorrupt, outcome{"IndexationFailed", false}},
		{"", "", outcome{"Failed", false}},
	}
}
