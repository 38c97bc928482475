package flux

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// SourceKind is how one kind of source is read, and told of. All of it is pure.
type SourceKind struct {
	Kind     string
	Resource string // plural, as in the URLs of the API
	// Decode reads a resource of any version. The source comes without what its
	// Secrets hold. A failure says that it cannot be fetched as it is asked for;
	// the other results are then still as complete as can be.
	Decode func(u *unstructured.Unstructured) (app.Source, []app.Warning, *app.Failure)
	// Secrets names the Secrets that a resource refers to.
	Secrets func(u *unstructured.Unstructured) []SecretUse
	// Encode gives the status that tells of r, made from the status before; old
	// stays as it is. A report that says nothing new gives a status equal to old.
	Encode func(r app.SourceReport, warnings []app.Warning, old map[string]any) map[string]any
	// Events are those of a look at a source, given the status before it.
	Events func(r app.SourceReport, warnings []app.Warning, old map[string]any) []app.Event
}

// SecretUse is a Secret in the namespace of a source, and what is made of it.
type SecretUse struct {
	Name string
	// ServiceAccount: Name is not that of a Secret but of a ServiceAccount, and
	// Into is given each of its imagePullSecrets.
	ServiceAccount bool
	// Into takes over what the Secret holds. What is missing or contradictory is
	// then in Auth.Err.
	Into func(src *app.Source, data map[string][]byte)
	// Missing takes over why the Secret cannot be had; nil puts it into Auth.Err.
	Missing func(src *app.Source, err error)
}

// SourceKinds lists the kinds of sources, those that others are made of first.
func SourceKinds() []SourceKind {
	return []SourceKind{
		{KindGitRepository, "gitrepositories", DecodeGitRepository, gitRepositorySecrets, EncodeGitRepository, GitRepositoryEvents},
		{KindOCIRepository, "ocirepositories", DecodeOCIRepository, ociRepositorySecrets, EncodeOCIRepository, OCIRepositoryEvents},
		{KindBucket, "buckets", DecodeBucket, bucketSecrets, EncodeBucket, BucketEvents},
		{KindExternalArtifact, "externalartifacts", DecodeExternalArtifact, externalArtifactSecrets, EncodeExternalArtifact, ExternalArtifactEvents},
		{KindHelmRepository, "helmrepositories", DecodeHelmRepository, helmRepositorySecrets, EncodeHelmRepository, HelmRepositoryEvents},
		{KindHelmChart, "helmcharts", DecodeHelmChart, helmChartSecrets, EncodeHelmChart, HelmChartEvents},
	}
}

// deliverable lists the kinds of sources that a Kustomization delivers from.
func deliverable() []string {
	return []string{
		KindGitRepository,
		KindOCIRepository,
		KindBucket,
		KindExternalArtifact,
	}
}
