package argo

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"plumb.dev/plumb/internal/app"
)

// resource is what Plumb reads of an Application. A field that is not here is
// unknown and warned about. Fields of type any are known but not supported:
// all that matters is whether they are set.
type resource struct {
	Spec      applicationSpec `json:"spec"`
	Operation *operation      `json:"operation"`
}

type applicationSpec struct {
	Project              string          `json:"project"`
	Source               *sourceSpec     `json:"source"`
	Sources              []sourceSpec    `json:"sources"`
	SourceHydrator       any             `json:"sourceHydrator"`
	Destination          destinationSpec `json:"destination"`
	SyncPolicy           *syncPolicySpec `json:"syncPolicy"`
	IgnoreDifferences    []ignoreSpec    `json:"ignoreDifferences"`
	Info                 []infoSpec      `json:"info"`
	RevisionHistoryLimit *int64          `json:"revisionHistoryLimit"`
}

type destinationSpec struct {
	Server    string `json:"server"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

type infoSpec struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type sourceSpec struct {
	RepoURL        string         `json:"repoURL"`
	Path           string         `json:"path"`
	TargetRevision string         `json:"targetRevision"`
	TagPrefix      string         `json:"tagPrefix"`
	Chart          string         `json:"chart"`
	Ref            string         `json:"ref"`
	Name           string         `json:"name"`
	Helm           map[string]any `json:"helm"`
	Plugin         map[string]any `json:"plugin"`
	Kustomize      *kustomizeSpec `json:"kustomize"`
	Directory      *directorySpec `json:"directory"`
}

type directorySpec struct {
	Recurse                bool           `json:"recurse"`
	Include                string         `json:"include"`
	Exclude                string         `json:"exclude"`
	DisableExtensionFilter bool           `json:"disableExtensionFilter"`
	Jsonnet                map[string]any `json:"jsonnet"`
}

type kustomizeSpec struct {
	NamePrefix                string            `json:"namePrefix"`
	NameSuffix                string            `json:"nameSuffix"`
	Namespace                 string            `json:"namespace"`
	Images                    []string          `json:"images"`
	Replicas                  []replicaSpec     `json:"replicas"`
	CommonLabels              map[string]string `json:"commonLabels"`
	LabelWithoutSelector      bool              `json:"labelWithoutSelector"`
	LabelIncludeTemplates     bool              `json:"labelIncludeTemplates"`
	ForceCommonLabels         bool              `json:"forceCommonLabels"`
	CommonAnnotations         map[string]string `json:"commonAnnotations"`
	CommonAnnotationsEnvsubst bool              `json:"commonAnnotationsEnvsubst"`
	ForceCommonAnnotations    bool              `json:"forceCommonAnnotations"`
	Patches                   []patchSpec       `json:"patches"`
	Components                []string          `json:"components"`
	IgnoreMissingComponents   bool              `json:"ignoreMissingComponents"`
	Version                   string            `json:"version"`
	KubeVersion               string            `json:"kubeVersion"`
	APIVersions               []string          `json:"apiVersions"`
}

type replicaSpec struct {
	Name  string             `json:"name"`
	Count intstr.IntOrString `json:"count"`
}

type patchSpec struct {
	Path    string          `json:"path"`
	Patch   string          `json:"patch"`
	Target  *selectorSpec   `json:"target"`
	Options map[string]bool `json:"options"`
}

type selectorSpec struct {
	Group              string `json:"group"`
	Version            string `json:"version"`
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	Namespace          string `json:"namespace"`
	LabelSelector      string `json:"labelSelector"`
	AnnotationSelector string `json:"annotationSelector"`
}

type syncPolicySpec struct {
	Automated                *automatedSpec         `json:"automated"`
	SyncOptions              []string               `json:"syncOptions"`
	Retry                    *retrySpec             `json:"retry"`
	ManagedNamespaceMetadata *namespaceMetadataSpec `json:"managedNamespaceMetadata"`
}

type automatedSpec struct {
	Enabled    *bool `json:"enabled"`
	Prune      bool  `json:"prune"`
	SelfHeal   bool  `json:"selfHeal"`
	AllowEmpty bool  `json:"allowEmpty"`
}

type retrySpec struct {
	Limit   int64        `json:"limit"`
	Refresh bool         `json:"refresh"`
	Backoff *backoffSpec `json:"backoff"`
}

type backoffSpec struct {
	Duration    string `json:"duration"`
	Factor      *int64 `json:"factor"`
	MaxDuration string `json:"maxDuration"`
}

type namespaceMetadataSpec struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type ignoreSpec struct {
	Group                 string   `json:"group"`
	Kind                  string   `json:"kind"`
	Name                  string   `json:"name"`
	Namespace             string   `json:"namespace"`
	JSONPointers          []string `json:"jsonPointers"`
	JQPathExpressions     []string `json:"jqPathExpressions"`
	ManagedFieldsManagers []string `json:"managedFieldsManagers"`
}

// operation is a request for one sync, beside the spec.
type operation struct {
	Sync        *syncOperation `json:"sync"`
	InitiatedBy struct {
		Username  string `json:"username"`
		Automated bool   `json:"automated"`
	} `json:"initiatedBy"`
	Info  []infoSpec `json:"info"`
	Retry *retrySpec `json:"retry"`
}

type syncOperation struct {
	Revision              string         `json:"revision"`
	Revisions             []string       `json:"revisions"`
	Prune                 bool           `json:"prune"`
	DryRun                bool           `json:"dryRun"`
	SyncStrategy          *syncStrategy  `json:"syncStrategy"`
	Resources             []resourceSpec `json:"resources"`
	Source                *sourceSpec    `json:"source"`
	Sources               []sourceSpec   `json:"sources"`
	Manifests             []string       `json:"manifests"`
	SyncOptions           []string       `json:"syncOptions"`
	AutoHealAttemptsCount int64          `json:"autoHealAttemptsCount"`
}

type syncStrategy struct {
	Apply *forceSpec `json:"apply"`
	Hook  *forceSpec `json:"hook"`
}

type forceSpec struct {
	Force bool `json:"force"`
}

type resourceSpec struct {
	Group     string `json:"group"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// read reads the spec and the operation of an Application. Unknown fields
// become warnings; a field of the wrong type is a failure that names it.
func read(u *unstructured.Unstructured) (resource, []app.Warning, *app.Failure) {
	content := map[string]any{}
	for _, key := range []string{"spec", "operation"} {
		if v, ok := u.Object[key]; ok && v != nil {
			content[key] = v
		}
	}
	var out resource
	err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(content, &out, true)
	if err == nil {
		return out, nil, nil
	}
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		return out, unknownFields(strict.Errors()), nil
	}
	return resource{}, nil, app.Fail(app.StageSpec, app.ReasonInvalidSpec, "%s", wrongType(content, err))
}

func unknownFields(errs []error) []app.Warning {
	var out []app.Warning
	for _, err := range errs {
		path := strings.TrimSuffix(strings.TrimPrefix(err.Error(), `unknown field "`), `"`)
		out = append(out, app.Warning{Field: path, Message: "unknown field, it has no effect"})
	}
	return out
}

// wrongType says which field could not be read. The converter's error does not
// tell, the JSON decoder's does.
func wrongType(content map[string]any, fallback error) string {
	data, err := json.Marshal(content)
	if err != nil {
		return fallback.Error()
	}
	var typeErr *json.UnmarshalTypeError
	if err := json.Unmarshal(data, &resource{}); errors.As(err, &typeErr) {
		return fmt.Sprintf("%s: want %s, got %s", typeErr.Field, typeErr.Type, typeErr.Value)
	} else if err != nil {
		return err.Error()
	}
	return fallback.Error()
}
