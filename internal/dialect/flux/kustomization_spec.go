package flux

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// kustomizationSpec has every field of every version; what this package does
// not look into is any.
type kustomizationSpec struct {
	Path          string           `json:"path"`
	Interval      *metav1.Duration `json:"interval"`
	RetryInterval *metav1.Duration `json:"retryInterval"`
	Timeout       *metav1.Duration `json:"timeout"`
	SourceRef     struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Name       string `json:"name"`
		Namespace  string `json:"namespace"`
	} `json:"sourceRef"`
	Prune              bool          `json:"prune"`
	DeletionPolicy     string        `json:"deletionPolicy"`
	Suspend            bool          `json:"suspend"`
	Force              bool          `json:"force"`
	Wait               bool          `json:"wait"`
	DependsOn          []dependency  `json:"dependsOn"`
	HealthChecks       []healthCheck `json:"healthChecks"`
	HealthCheckExprs   []healthExpr  `json:"healthCheckExprs"`
	ServiceAccountName string        `json:"serviceAccountName"`
	KubeConfig         *kubeConfig   `json:"kubeConfig"`

	TargetNamespace string `json:"targetNamespace"`
	NamePrefix      string `json:"namePrefix"`
	NameSuffix      string `json:"nameSuffix"`
	CommonMetadata  *struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"commonMetadata"`
	Patches []patch `json:"patches"`
	Images  []struct {
		Name    string `json:"name"`
		NewName string `json:"newName"`
		NewTag  string `json:"newTag"`
		Digest  string `json:"digest"`
	} `json:"images"`
	Components              []string        `json:"components"`
	IgnoreMissingComponents bool            `json:"ignoreMissingComponents"`
	BuildMetadata           []string        `json:"buildMetadata"`
	PostBuild               *postBuild      `json:"postBuild"`
	Decryption              *decryptionSpec `json:"decryption"`
	Ignore                  []ignoreRule    `json:"ignore"`

	// Until v1beta2.
	PatchesStrategicMerge []any     `json:"patchesStrategicMerge"`
	PatchesJSON6902       []jsonOps `json:"patchesJson6902"`
	Validation            string    `json:"validation"`
	SelfHeal              any       `json:"selfHeal"` // never existed, but is written in guides
}

type decryptionSpec struct {
	Provider           string    `json:"provider"`
	SecretRef          *localRef `json:"secretRef"`
	ServiceAccountName string    `json:"serviceAccountName"`
}

type dependency struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	ReadyExpr string `json:"readyExpr"`
}

type healthCheck struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
}

type healthExpr struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	InProgress string `json:"inProgress"`
	Failed     string `json:"failed"`
	Current    string `json:"current"`
}

type selector struct {
	Group              string `json:"group"`
	Version            string `json:"version"`
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	Namespace          string `json:"namespace"`
	LabelSelector      string `json:"labelSelector"`
	AnnotationSelector string `json:"annotationSelector"`
}

type ignoreRule struct {
	Paths  []string  `json:"paths"`
	Target *selector `json:"target"`
}

type patch struct {
	Patch   string          `json:"patch"`
	Target  *selector       `json:"target"`
	Options map[string]bool `json:"options"`
}

type jsonOps struct {
	Patch  []any    `json:"patch"`
	Target selector `json:"target"`
}

type postBuild struct {
	Substitute     map[string]string `json:"substitute"`
	SubstituteFrom []struct {
		Kind     string `json:"kind"`
		Name     string `json:"name"`
		Optional bool   `json:"optional"`
	} `json:"substituteFrom"`
	SubstituteStrategy string `json:"substituteStrategy"`
}
