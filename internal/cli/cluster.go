package cli

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// fieldManager is the name under which commands write to custom resources.
const fieldManager = "plumb-cli"

// dialTimeout bounds the wait for an address that does not answer at all.
const dialTimeout = 10 * time.Second

// pageSize bounds one answer of the API server.
const pageSize = 500

// cluster is a connection to the Kubernetes API.
type cluster struct {
	dynamic.Interface
	config *rest.Config
}

// connect reads the kubeconfig; it does not talk to the cluster yet.
func (p *program) connect() (*cluster, error) {
	config, err := p.restConfig()
	if err != nil {
		return nil, err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fail(ExitUnreachable, "kubeconfig: %w", err)
	}
	return &cluster{Interface: client, config: config}, nil
}

// looking is what commands begin with that list what there is: how it is
// printed, in which namespace it is, "" for all, and in which cluster.
func (p *program) looking(formats ...string) (format, namespace string, c *cluster, err error) {
	if format, err = p.format(formats...); err != nil {
		return "", "", nil, err
	}
	if namespace, err = p.scope(); err != nil {
		return "", "", nil, err
	}
	c, err = p.connect()
	return format, namespace, c, err
}

// restConfig is what the kubeconfig says of the cluster.
func (p *program) restConfig() (*rest.Config, error) {
	rules := p.kubeconfigRules()
	overrides := &clientcmd.ConfigOverrides{CurrentContext: p.context}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		e := fail(ExitUnreachable, "kubeconfig: %w", err)
		if clientcmd.IsEmptyConfig(err) {
			e = fail(ExitUnreachable, "no kubeconfig was found")
		}
		return nil, e.hint("give --kubeconfig FILE or set KUBECONFIG; `plumb up` prints the path of the one that it makes")
	}
	config.UserAgent = "plumb/" + p.build.Version
	config.QPS, config.Burst = 100, 200
	config.WarningHandler = rest.NoWarnings{}
	config.Dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	return config, nil
}

// kubeconfigRules say which files count.
func (p *program) kubeconfigRules() *clientcmd.ClientConfigLoadingRules {
	return &clientcmd.ClientConfigLoadingRules{ExplicitPath: p.kubeconfig, Precedence: p.kubeconfigFiles()}
}

// contexts lists the contexts of the kubeconfig, nothing if it cannot be read.
func (p *program) contexts() []string {
	config, err := p.kubeconfigRules().Load()
	if err != nil {
		return nil
	}
	return slices.Sorted(maps.Keys(config.Contexts))
}

// mapper finds out how kinds are served; it asks the cluster once.
func (c *cluster) mapper() (*restmapper.DeferredDiscoveryRESTMapper, error) {
	client, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return nil, err
	}
	return restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client)), nil
}

// at is one kind of resource in one namespace, "" for all.
func (c *cluster) at(resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return c.Resource(resource)
	}
	return c.Resource(resource).Namespace(namespace)
}

// errNotServed: the cluster does not know the kind at all.
var errNotServed = errors.New("the cluster does not serve this kind")

// snapshot is a list at one moment.
type snapshot struct {
	items   []*unstructured.Unstructured
	version string
}

// list reads all pages. It fails with errNotServed if the kind is unknown.
func list(ctx context.Context, from dynamic.ResourceInterface, opts metav1.ListOptions) (snapshot, error) {
	var out snapshot
	opts.Limit = pageSize
	for {
		page, err := from.List(ctx, opts)
		if apierrors.IsNotFound(err) {
			return snapshot{}, errNotServed
		}
		if err != nil {
			return snapshot{}, err
		}
		for i := range page.Items {
			out.items = append(out.items, &page.Items[i])
		}
		out.version = page.GetResourceVersion()
		if opts.Continue = page.GetContinue(); opts.Continue == "" {
			return out, nil
		}
	}
}

// notInstalled is what to say if none of Plumb's kinds is served.
func notInstalled() error {
	return notFound("Plumb is not installed in this cluster: it serves none of the kinds that Plumb delivers").
		hint("plumb install | kubectl apply -f -, or choose another --context")
}
