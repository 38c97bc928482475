package flux

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// helmReleaseSpec has every field of every version; what this package does not
// look into is any.
type helmReleaseSpec struct {
	Chart    *chartTemplate `json:"chart"`
	ChartRef *sourceRef     `json:"chartRef"`

	Interval           *metav1.Duration `json:"interval"`
	Timeout            *metav1.Duration `json:"timeout"`
	Suspend            bool             `json:"suspend"`
	ReleaseName        string           `json:"releaseName"`
	TargetNamespace    string           `json:"targetNamespace"`
	StorageNamespace   string           `json:"storageNamespace"`
	MaxHistory         *int             `json:"maxHistory"`
	DependsOn          []dependency     `json:"dependsOn"`
	ServiceAccountName string           `json:"serviceAccountName"`
	KubeConfig         *kubeConfig      `json:"kubeConfig"`
	PersistentClient   *bool            `json:"persistentClient"`

	Values     any               `json:"values"`
	ValuesFrom []valuesReference `json:"valuesFrom"`

	Install        *installSpec   `json:"install"`
	Upgrade        *upgradeSpec   `json:"upgrade"`
	Test           *testSpec      `json:"test"`
	Rollback       *rollbackSpec  `json:"rollback"`
	Uninstall      *uninstallSpec `json:"uninstall"`
	DriftDetection *struct {
		Mode   string       `json:"mode"`
		Ignore []ignoreRule `json:"ignore"`
	} `json:"driftDetection"`

	PostRenderers      []postRenderer `json:"postRenderers"`
	PostRenderStrategy string         `json:"postRenderStrategy"`
	CommonMetadata     *struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"commonMetadata"`
	WaitStrategy *struct {
		Name string `json:"name"`
	} `json:"waitStrategy"`
	HealthCheckExprs []healthExpr `json:"healthCheckExprs"`
}

type sourceRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Namespace  string `json:"namespace"`
}

// chartTemplate is what a HelmRelease says of its HelmChart.
type chartTemplate struct {
	Metadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		Chart                    string           `json:"chart"`
		Version                  string           `json:"version"`
		SourceRef                sourceRef        `json:"sourceRef"`
		Interval                 *metav1.Duration `json:"interval"`
		ReconcileStrategy        string           `json:"reconcileStrategy"`
		ValuesFiles              []string         `json:"valuesFiles"`
		ValuesFile               string           `json:"valuesFile"` // until v2beta2
		IgnoreMissingValuesFiles bool             `json:"ignoreMissingValuesFiles"`
		Verify                   *struct {
			Provider  string    `json:"provider"`
			SecretRef *localRef `json:"secretRef"`
		} `json:"verify"`
	} `json:"spec"`
}

type valuesReference struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	ValuesKey  string `json:"valuesKey"`
	TargetPath string `json:"targetPath"`
	Optional   bool   `json:"optional"`
	Literal    bool   `json:"literal"`
}

type releaseStrategy struct {
	Name          string           `json:"name"`
	RetryInterval *metav1.Duration `json:"retryInterval"`
}

type remediation struct {
	Retries              int   `json:"retries"`
	IgnoreTestFailures   *bool `json:"ignoreTestFailures"`
	RemediateLastFailure *bool `json:"remediateLastFailure"`
}

type installSpec struct {
	Timeout                  *metav1.Duration `json:"timeout"`
	Strategy                 *releaseStrategy `json:"strategy"`
	Remediation              *remediation     `json:"remediation"`
	CRDs                     string           `json:"crds"`
	CreateNamespace          bool             `json:"createNamespace"`
	DisableWait              bool             `json:"disableWait"`
	DisableWaitForJobs       bool             `json:"disableWaitForJobs"`
	DisableHooks             bool             `json:"disableHooks"`
	DisableOpenAPIValidation bool             `json:"disableOpenAPIValidation"`
	DisableSchemaValidation  bool             `json:"disableSchemaValidation"`
	DisableTakeOwnership     bool             `json:"disableTakeOwnership"`
	Replace                  bool             `json:"replace"`
	SkipCRDs                 bool             `json:"skipCRDs"` // until v2beta2
	ServerSideApply          *bool            `json:"serverSideApply"`
}

type upgradeSpec struct {
	Timeout     *metav1.Duration `json:"timeout"`
	Strategy    *releaseStrategy `json:"strategy"`
	Remediation *struct {
		Retries              int    `json:"retries"`
		IgnoreTestFailures   *bool  `json:"ignoreTestFailures"`
		RemediateLastFailure *bool  `json:"remediateLastFailure"`
		Strategy             string `json:"strategy"`
	} `json:"remediation"`
	CRDs                     string `json:"crds"`
	DisableWait              bool   `json:"disableWait"`
	DisableWaitForJobs       bool   `json:"disableWaitForJobs"`
	DisableHooks             bool   `json:"disableHooks"`
	DisableOpenAPIValidation bool   `json:"disableOpenAPIValidation"`
	DisableSchemaValidation  bool   `json:"disableSchemaValidation"`
	DisableTakeOwnership     bool   `json:"disableTakeOwnership"`
	Force                    bool   `json:"force"`
	PreserveValues           bool   `json:"preserveValues"`
	CleanupOnFail            bool   `json:"cleanupOnFail"`
	ServerSideApply          string `json:"serverSideApply"`
	ChartNameChangeStrategy  string `json:"chartNameChangeStrategy"`
}

type testSpec struct {
	Enable         bool             `json:"enable"`
	Timeout        *metav1.Duration `json:"timeout"`
	IgnoreFailures bool             `json:"ignoreFailures"`
	Filters        []struct {
		Name    string `json:"name"`
		Exclude bool   `json:"exclude"`
	} `json:"filters"`
}

type rollbackSpec struct {
	Timeout            *metav1.Duration `json:"timeout"`
	DisableWait        bool             `json:"disableWait"`
	DisableWaitForJobs bool             `json:"disableWaitForJobs"`
	DisableHooks       bool             `json:"disableHooks"`
	Recreate           bool             `json:"recreate"`
	Force              bool             `json:"force"`
	CleanupOnFail      bool             `json:"cleanupOnFail"`
	ServerSideApply    string           `json:"serverSideApply"`
}

type uninstallSpec struct {
	Timeout             *metav1.Duration `json:"timeout"`
	DisableHooks        bool             `json:"disableHooks"`
	KeepHistory         bool             `json:"keepHistory"`
	DisableWait         bool             `json:"disableWait"`
	DeletionPropagation string           `json:"deletionPropagation"`
}

type postRenderer struct {
	Kustomize *struct {
		Patches               []patch   `json:"patches"`
		PatchesStrategicMerge []any     `json:"patchesStrategicMerge"` // until v2beta2
		PatchesJSON6902       []jsonOps `json:"patchesJson6902"`       // until v2beta2
		Images                []struct {
			Name    string `json:"name"`
			NewName string `json:"newName"`
			NewTag  string `json:"newTag"`
			Digest  string `json:"digest"`
		} `json:"images"`
	} `json:"kustomize"`
}
