package flux

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// bucketSpec has every field of every version; what this package does not look
// into is any.
type bucketSpec struct {
	Provider           string           `json:"provider"`
	BucketName         string           `json:"bucketName"`
	Endpoint           string           `json:"endpoint"`
	Region             string           `json:"region"`
	Prefix             string           `json:"prefix"`
	Insecure           bool             `json:"insecure"`
	SecretRef          *localRef        `json:"secretRef"`
	ServiceAccountName string           `json:"serviceAccountName"`
	CertSecretRef      *localRef        `json:"certSecretRef"`
	ProxySecretRef     *localRef        `json:"proxySecretRef"`
	STS                map[string]any   `json:"sts"`
	Interval           *metav1.Duration `json:"interval"`
	Timeout            *metav1.Duration `json:"timeout"`
	Ignore             *string          `json:"ignore"`
	Suspend            bool             `json:"suspend"`

	AccessFrom any `json:"accessFrom"` // until v1beta2
}

// DecodeBucket is SourceKind.Decode.
func DecodeBucket(u *unstructured.Unstructured) (app.Source, []app.Warning, *app.Failure) {
	bucket := &app.Bucket{}
	source := app.Source{
		ID:         app.SourceID{Kind: KindBucket, Namespace: u.GetNamespace(), Name: u.GetName()},
		Generation: u.GetGeneration(),
		Bucket:     bucket,
		Interval:   defaultInterval,
		Timeout:    defaultFetchTimeout,
		UseIgnore:  true,
		Handled:    text(u.Object, "status", "lastHandledReconcileAt"),
		Request:    u.GetAnnotations()[RequestedAt],
		Recorded:   recordedArtifact(u),
	}
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
	source.Ignore, source.Suspend = spec.Ignore, spec.Suspend
	if spec.Interval != nil {
		source.Interval = spec.Interval.Duration
	}
	if spec.Timeout != nil {
		source.Timeout = spec.Timeout.Duration
	}
	*bucket = app.Bucket{Name: spec.BucketName, Region: spec.Region, Prefix: spec.Prefix}
	if spec.AccessFrom != nil {
		warnings = append(warnings, app.Warning{Field: "spec.accessFrom", Message: "has no effect, as in Flux"})
	}
	if spec.ServiceAccountName != "" {
		warnings = append(warnings, app.Warning{Field: "spec.serviceAccountName", Message: "has no effect with keys in a Secret"})
	}
	return source, warnings, bucketFailure(spec)
}

// bucketFailure refuses what would deliver something else than asked, or trust
// more than asked.
func bucketFailure(spec bucketSpec) *app.Failure {
	refuse := func(reason app.Reason, hint, format string, args ...any) *app.Failure {
		f := app.Fail(app.StageSpec, reason, format, args...).WithHint("%s", hint)
		f.Retry.Never = true
		return f
	}
	const keys = "make an access key for the S3 interface of the store, put it into a Secret with accesskey and secretkey, and name that in spec.secretRef"
	switch {
	case spec.Interval != nil && spec.Interval.Duration < 0, spec.Timeout != nil && spec.Timeout.Duration < 0:
		return refuse(app.ReasonInvalidSpec, "give a length of time such as 5m", "spec.interval and spec.timeout must not be negative")
	case spec.STS != nil:
		return refuse(app.ReasonUnsupported, keys, "spec.sts is not supported: temporary keys of a token service cannot be had")
	case spec.Provider == "aws" && spec.SecretRef == nil:
		return refuse(app.ReasonUnsupported, keys, "spec.provider: aws without secretRef is not supported: the identity that a cloud gives a workload cannot be used")
	case spec.Provider != "" && spec.Provider != "generic" && spec.Provider != "aws":
		return refuse(app.ReasonUnsupported, keys+"; leave provider out", "spec.provider: %s is not supported: stores are reached by the protocol of S3 alone", spec.Provider)
	case spec.BucketName == "" || strings.ContainsAny(spec.BucketName, "/?#%\\ ") || strings.HasPrefix(spec.BucketName, "."):
		return refuse(app.ReasonInvalidSpec, "correct spec.bucketName", "spec.bucketName: %q is not the name of a bucket", spec.BucketName)
	case spec.Endpoint == "" || strings.ContainsAny(spec.Endpoint, "/?#%@\\ "):
		return refuse(app.ReasonInvalidSpec, "write it as host or host:port, without https://", "spec.endpoint: %q is not the address of a store", spec.Endpoint)
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
	if name := text(u.Object, "spec", "proxySecretRef", "name"); name != "" {
		uses = append(uses, SecretUse{Name: name, Into: func(src *app.Source, data map[string][]byte) {
			if src.Auth.Proxy, src.Auth.Err = ProxyOf(data); src.Auth.Err != nil {
				src.Auth.Err = fmt.Errorf("proxy: %w", src.Auth.Err)
			}
		}})
	}
	return uses
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
