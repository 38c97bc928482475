package flux

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// bucketSpec has every field of every version; what this package does not look
// into is any.
type bucketSpec struct {
	fetching `json:",inline"`

	Provider           string         `json:"provider"`
	BucketName         string         `json:"bucketName"`
	Endpoint           string         `json:"endpoint"`
	Region             string         `json:"region"`
	Prefix             string         `json:"prefix"`
	Insecure           bool           `json:"insecure"`
	SecretRef          *localRef      `json:"secretRef"`
	ServiceAccountName string         `json:"serviceAccountName"`
	CertSecretRef      *localRef      `json:"certSecretRef"`
	ProxySecretRef     *localRef      `json:"proxySecretRef"`
	STS                map[string]any `json:"sts"`
	Ignore             *string        `json:"ignore"`
}

// DecodeBucket is SourceKind.Decode.
func DecodeBucket(u *unstructured.Unstructured) (app.Source, []app.Warning, *app.Failure) {
	source, bucket := sourceOf(u, KindBucket), &app.Bucket{}
	source.Bucket, source.UseIgnore = bucket, true
	fields := section(u.Object, "spec")
	var spec bucketSpec
	warnings := unknownFields("spec", fields, reflect.TypeFor[bucketSpec]())
	if f := convert(fields, &spec); f != nil {
		return source, warnings, f
	}
	source.URL = "https://" + spec.Endpoint
	if spec.Insecure {
		source.URL = "http://" + spec.Endpoint
	}
	source.Ignore = spec.Ignore
	warnings = append(warnings, spec.set(&source)...)
	*bucket = app.Bucket{Name: spec.BucketName, Region: spec.Region, Prefix: spec.Prefix}
	if spec.ServiceAccountName != "" {
		warnings = append(warnings, app.Warning{Field: "spec.serviceAccountName", Message: "has no effect with keys in a Secret"})
	}
	return source, warnings, bucketFailure(spec)
}

// bucketFailure refuses what would deliver something else than asked, or trust
// more than asked.
func bucketFailure(spec bucketSpec) *app.Failure {
	const keys = "make an access key for the S3 interface of the store, put it into a Secret with accesskey and secretkey, and name that in spec.secretRef"
	unsupported := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonUnsupported, format, args...).WithHint(keys)
	}
	invalid := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, format, args...)
	}
	if f := spec.fetching.failure(); f != nil {
		return f
	}
	switch {
	case spec.STS != nil:
		return unsupported("spec.sts is not supported: temporary keys of a token service cannot be had")
	case spec.Provider == "aws" && spec.SecretRef == nil:
		return unsupported("spec.provider: aws without secretRef is not supported: the identity that a cloud gives a workload cannot be used")
	case spec.Provider != "" && spec.Provider != "generic" && spec.Provider != "aws":
		return unsupported("spec.provider: %s is not supported: stores are reached by the protocol of S3 alone", spec.Provider).WithHint(keys + "; leave provider out")
	case spec.BucketName == "" || strings.ContainsAny(spec.BucketName, "/?#%\\ ") || strings.HasPrefix(spec.BucketName, "."):
		return invalid("spec.bucketName: %q is not the name of a bucket", spec.BucketName).WithHint("correct spec.bucketName")
	case spec.Endpoint == "" || strings.ContainsAny(spec.Endpoint, "/?#%@\\ "):
		return invalid("spec.endpoint: %q is not the address of a store", spec.Endpoint).WithHint("write it as host or host:port, without https://")
	}
	return nil
}

// bucketSecrets is SourceKind.Secrets.
func bucketSecrets(u *unstructured.Unstructured) []SecretUse {
	var uses []SecretUse
	if name := text(u.Object, "spec", "secretRef", "name"); name != "" {
		uses = append(uses, SecretUse{Name: name, Into: func(src *app.Source, data map[string][]byte) {
			src.Auth.Username, src.Auth.Password = line(data["accesskey"]), line(data["secretkey"])
			if src.Auth.Username == "" || src.Auth.Password == "" {
				src.Auth.Err = fmt.Errorf("invalid '%s' secret data: required fields 'accesskey' and 'secretkey'", name)
			}
		}})
	}
	if name := text(u.Object, "spec", "certSecretRef", "name"); name != "" {
		uses = append(uses, SecretUse{Name: name, Into: func(src *app.Source, data map[string][]byte) {
			if text(u.Object, "spec", "endpoint") != "" && section(u.Object, "spec")["insecure"] == true {
				src.Auth.Err = errors.New("certSecretRef cannot be used together with insecure: there is no TLS")
				return
			}
			addCertificates(src, data)
		}})
	}
	return append(uses, proxySecret(u)...)
}

// EncodeBucket is SourceKind.Encode.
func EncodeBucket(r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any {
	status := encodeSource(bucketWords(), r, warnings, old)
	if r.Failure == nil {
		delete(status, "observedIgnore")
		if r.Of.Ignore != nil {
			status["observedIgnore"] = *r.Of.Ignore
		}
	}
	return status
}

// BucketEvents is SourceKind.Events.
func BucketEvents(r app.SourceReport, warnings []app.Warning, old map[string]any) []app.Event {
	return sourceEvents(bucketWords(), r, warnings, old)
}

func bucketWords() sourceWords {
	stored := func(r app.Revision) string { return "stored artifact: revision '" + FormatRevision(r) + "'" }
	return sourceWords{
		revision: FormatRevision,
		stored:   stored,
		news:     stored,
		latest:   true,
		reasons: []translation{
			{app.StageFetch, app.ReasonInvalidSpec, outcome{"URLInvalid", true}},
			{"", app.ReasonInvalidSpec, outcome{"InvalidSpec", true}},
			{"", app.ReasonUnsupported, outcome{"Unsupported", true}},
			{"", app.ReasonAuthentication, outcome{"AuthenticationFailed", false}},
			{"", "", outcome{"BucketOperationFailed", false}},
		},
	}
}
