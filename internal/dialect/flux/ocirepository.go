package flux

import (
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// ociRepositorySpec has every field of every version; what this package does
// not look into is any.
type ociRepositorySpec struct {
	fetching `json:",inline"`

	URL string `json:"url"`
	Ref *struct {
		Tag          string `json:"tag"`
		SemVer       string `json:"semver"`
		SemVerFilter string `json:"semverFilter"`
		Digest       string `json:"digest"`
	} `json:"ref"`
	LayerSelector *struct {
		MediaType string `json:"mediaType"`
		Operation string `json:"operation"`
	} `json:"layerSelector"`
	Provider           string      `json:"provider"`
	SecretRef          *localRef   `json:"secretRef"`
	ServiceAccountName string      `json:"serviceAccountName"`
	CertSecretRef      *localRef   `json:"certSecretRef"`
	ProxySecretRef     *localRef   `json:"proxySecretRef"`
	Insecure           bool        `json:"insecure"`
	Verify             *verifySpec `json:"verify"`
	Ignore             *string     `json:"ignore"`
}

// DecodeOCIRepository is SourceKind.Decode.
func DecodeOCIRepository(u *unstructured.Unstructured) (app.Source, []app.Warning, *app.Failure) {
	source, artifact := sourceOf(u, KindOCIRepository), &app.OCIArtifact{}
	source.OCI, source.UseIgnore = artifact, true
	fields := section(u.Object, "spec")
	var spec ociRepositorySpec
	warnings := unknownFields("spec", fields, reflect.TypeFor[ociRepositorySpec]())
	if f := convert(fields, &spec); f != nil {
		return source, warnings, f
	}
	source.URL, source.Ignore = spec.URL, spec.Ignore
	warnings = append(warnings, spec.set(&source)...)
	artifact.Insecure = spec.Insecure
	if r := spec.Ref; r != nil {
		artifact.Tag, artifact.SemVer, artifact.TagFilter, artifact.Digest = r.Tag, r.SemVer, r.SemVerFilter, r.Digest
	}
	if l := spec.LayerSelector; l != nil {
		artifact.MediaType, artifact.Copy = l.MediaType, l.Operation == copyLayer
	}
	if artifact.Copy {
		source.UseIgnore = false // as it is
	}
	if spec.Verify != nil {
		artifact.Verify = ociVerification(spec.Verify)
	}
	return source, append(warnings, ociRepositoryWarnings(spec)...), ociRepositoryFailure(spec)
}

// copyLayer is the operation of a layerSelector that leaves nothing out.
const copyLayer = "copy"

func ociRepositoryWarnings(spec ociRepositorySpec) []app.Warning {
	var out []app.Warning
	warn := func(when bool, field, message string) {
		if when {
			out = append(out, app.Warning{Field: "spec." + field, Message: message})
		}
	}
	if r := spec.Ref; r != nil {
		warn(r.SemVerFilter != "" && (r.SemVer == "" || r.Digest != ""), "ref.semverFilter", "has no effect without semver")
		warn(r.Tag != "" && (r.SemVer != "" || r.Digest != ""), "ref.tag", "has no effect beside semver or digest")
		warn(r.SemVer != "" && r.Digest != "", "ref.semver", "has no effect beside digest")
	}
	for _, w := range ociVerifyWarnings(spec.Verify) {
		warn(true, w.Field, w.Message)
	}
	return out
}

// ociRepositoryFailure refuses what would deliver something else than asked, or
// trust more than asked.
func ociRepositoryFailure(spec ociRepositorySpec) *app.Failure {
	refuse := func(reason app.Reason, format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, reason, format, args...)
	}
	if f := spec.fetching.failure(); f != nil {
		return f
	}
	if spec.Provider != "" && spec.Provider != "generic" {
		return refuse(app.ReasonUnsupported, "spec.provider: %s is not supported: the identity that a cloud gives a workload cannot be used", spec.Provider).
			WithHint("put a Docker configuration with a token of the registry into a Secret, name it in spec.secretRef, and leave provider out")
	}
	if l := spec.LayerSelector; l != nil && l.Operation != "" && l.Operation != "extract" && l.Operation != copyLayer {
		return refuse(app.ReasonInvalidSpec, "spec.layerSelector.operation: %q is no operation", l.Operation).WithHint("set it to extract or copy")
	}
	return ociVerifyFailure(spec.Verify)
}
