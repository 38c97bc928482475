package up

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"plumb.dev/plumb/api"
	"plumb.dev/plumb/internal/dialect/argo"
	"plumb.dev/plumb/internal/dialect/flux"
)

const (
	// fieldManager is the name under which `up` writes.
	fieldManager = "plumb-up"
	// appliedDigest is an annotation: the digest of the object as `up` last
	// applied it, so that it applies what is new, and nothing else.
	appliedDigest = "plumb.dev/up-digest"

	fluxNamespace = "flux-system"
	argoNamespace = "argocd"

	// servedWithin is how long definitions may take to be served.
	servedWithin = 30 * time.Second
)

var (
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	definitions     = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	gitRepositories = schema.GroupVersionResource{Group: flux.SourceGroup, Version: "v1", Resource: "gitrepositories"}
	kustomizations  = schema.GroupVersionResource{Group: flux.KustomizeGroup, Version: "v1", Resource: "kustomizations"}
	applications    = schema.GroupVersionResource{Group: argo.Group, Version: argo.Version, Resource: "applications"}
)

// cluster is the cluster that is served, as its administrator sees it.
type cluster struct {
	objects  dynamic.Interface
	metadata metadata.Interface
	foreign  bool // it was there before, and others may use it
}

// connect reaches the cluster of a kubeconfig.
func connect(file, context string, foreign bool) (*cluster, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: file},
		&clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	if err != nil {
		return nil, problem("--kubeconfig and --context choose the cluster", "kubeconfig: %w", err)
	}
	config.QPS = -1
	config.Timeout = 30 * time.Second
	config.WarningHandlerWithContext = rest.NoWarnings{}
	if foreign {
		client, err := discovery.NewDiscoveryClientForConfig(config)
		if err == nil {
			_, err = client.ServerVersion()
		}
		if err != nil {
			return nil, problem("is it running? --kubeconfig and --context choose the cluster", "the cluster at %s does not answer: %w", config.Host, err)
		}
	}
	watching := rest.CopyConfig(config)
	watching.Timeout = 0
	objects, err := dynamic.NewForConfig(watching)
	if err != nil {
		return nil, problem("--kubeconfig chooses the cluster", "kubeconfig: %w", err)
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, problem("--kubeconfig chooses the cluster", "kubeconfig: %w", err)
	}
	return &cluster{objects: objects, metadata: meta, foreign: foreign}, nil
}

// define makes the namespaces of the dialects and the definitions of the
// custom resources, and returns when these are served. It returns the names of
// definitions that it left as they were because others have made them.
func (c *cluster) define(ctx context.Context) (kept []string, err error) {
	for _, name := range []string{fluxNamespace, argoNamespace} {
		namespace := object("v1", "Namespace", "", name, nil)
		_, err := c.objects.Resource(namespaces).Create(ctx, namespace, metav1.CreateOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("namespace %s: %w", name, err)
		}
	}
	crds, err := decodeAll(api.CRDs())
	if err != nil {
		return nil, err
	}
	there, err := c.metadata.Resource(definitions).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("custom resource definitions: %w", err)
	}
	digests := map[string]string{}
	for _, d := range there.Items {
		digests[d.Name] = d.Annotations[appliedDigest]
	}
	for _, crd := range crds {
		digest, exists := digests[crd.GetName()]
		switch {
		case exists && digest == "" && c.foreign:
			kept = append(kept, crd.GetName())
		default:
			if err := c.apply(ctx, definitions, crd, digest); err != nil {
				return nil, err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, servedWithin)
	defer cancel()
	for _, crd := range crds {
		if err := c.served(ctx, crd); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// served returns when the objects of a definition can be listed. It is
// established some time before that, and nothing tells the moment.
func (c *cluster) served(ctx context.Context, crd *unstructured.Unstructured) error {
	resource := schema.GroupVersionResource{Version: storedVersion(crd)}
	resource.Group, _, _ = unstructured.NestedString(crd.Object, "spec", "group")
	resource.Resource, _, _ = unstructured.NestedString(crd.Object, "spec", "names", "plural")
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		_, err := c.metadata.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil || !apierrors.IsNotFound(err) && ctx.Err() == nil {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return problem(fmt.Sprintf("kubectl describe crd %s tells why", crd.GetName()),
				"%s is defined, but not served after %s", crd.GetName(), servedWithin)
		}
	}
}

func storedVersion(crd *unstructured.Unstructured) string {
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		if v, ok := v.(map[string]any); ok && v["storage"] == true {
			name, _ := v["name"].(string)
			return name
		}
	}
	return ""
}

// ensure applies an object, unless it is as `up` last applied it.
func (c *cluster) ensure(ctx context.Context, resource schema.GroupVersionResource, want *unstructured.Unstructured) error {
	there, err := c.metadata.Resource(resource).Namespace(want.GetNamespace()).Get(ctx, want.GetName(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s %s: %w", want.GetKind(), want.GetName(), err)
	}
	digest := ""
	if err == nil {
		digest = there.Annotations[appliedDigest]
	}
	return c.apply(ctx, resource, want, digest)
}

func (c *cluster) apply(ctx context.Context, resource schema.GroupVersionResource, want *unstructured.Unstructured, digest string) error {
	data, err := json.Marshal(want)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	now := hex.EncodeToString(sum[:8])
	if now == digest {
		return nil
	}
	annotations := want.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[appliedDigest] = now
	want.SetAnnotations(annotations)
	_, err = c.objects.Resource(resource).Namespace(want.GetNamespace()).
		Apply(ctx, want.GetName(), want, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("%s %s: %w", want.GetKind(), want.GetName(), err)
	}
	return nil
}

func object(apiVersion, kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	u.SetName(name)
	if namespace != "" {
		u.SetNamespace(namespace)
	}
	if spec != nil {
		u.Object["spec"] = spec
	}
	return u
}

func decodeAll(stream []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := decoder.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("custom resource definitions: %w", err)
		}
		if len(u.Object) > 0 {
			out = append(out, u)
		}
	}
}
