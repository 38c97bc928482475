package release

import (
	"context"
	"io"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// catalog is what the API server says it serves.
type catalog struct {
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.RESTMapper
}

func newCatalog(config *rest.Config) (*catalog, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	dc, err := discovery.NewDiscoveryClientForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, client)
	if err != nil {
		return nil, err
	}
	return &catalog{discovery: memory.NewMemCacheClient(dc), mapper: mapper}, nil
}

// connection is how Helm gets at the cluster during one action.
type connection struct {
	config    *rest.Config
	catalog   *catalog
	namespace string // where objects go that name none
}

func (c *connection) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(c.config), nil }

func (c *connection) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return c.catalog.discovery, nil
}

func (c *connection) ToRESTMapper() (meta.RESTMapper, error) { return c.catalog.mapper, nil }

// ToRawKubeConfigLoader serves the one question that is asked of it: which
// namespace is the default.
func (c *connection) ToRawKubeConfigLoader() clientcmd.ClientConfig {
	return clientcmd.NewDefaultClientConfig(clientcmdapi.Config{}, &clientcmd.ConfigOverrides{
		Context: clientcmdapi.Context{Namespace: c.namespace},
	})
}

// until gives a configuration whose requests end with ctx. Helm makes its
// requests without a context, so that this is the one way to stop it.
func (c *Client) until(ctx context.Context) *rest.Config {
	config := rest.CopyConfig(c.config)
	config.Transport = &tether{base: c.transport, ctx: ctx}
	return config
}

// grace is how long after its context an action may still write down in Helm's
// storage that it failed.
const grace = 10 * time.Second

// lingering gives a context that ends a grace after ctx, and at the latest with
// end.
func lingering(ctx context.Context) (late context.Context, end context.CancelFunc) {
	late, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, func() { cancel(context.Cause(ctx)) })
		context.AfterFunc(late, func() { timer.Stop() })
	})
	return late, func() { stop(); cancel(context.Canceled) }
}

// tether ends requests, and what is still being read of their answers, when ctx
// does.
type tether struct {
	base http.RoundTripper
	ctx  context.Context
}

func (t *tether) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.ctx.Err() != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, context.Cause(t.ctx)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })
	end := func() { stop(); cancel(nil) }
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		end()
		return nil, err
	}
	resp.Body = &tetheredBody{ReadCloser: resp.Body, end: end}
	return resp, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (t *tether) WrappedRoundTripper() http.RoundTripper { return t.base }

type tetheredBody struct {
	io.ReadCloser
	end func()
}

func (b *tetheredBody) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
