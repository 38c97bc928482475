package cluster

import (
	"errors"
	"net/http"
	"net/url"

	"k8s.io/client-go/rest"

	"plumb.dev/plumb/internal/app"
)

// Config makes a client configuration of an access. Errors do not quote what
// it holds.
func Config(a app.Access) (*rest.Config, error) {
	config := &rest.Config{
		Host:        a.Server,
		Username:    a.Username,
		Password:    a.Password,
		BearerToken: a.BearerToken,
		TLSClientConfig: rest.TLSClientConfig{
			Insecure: a.Insecure, ServerName: a.ServerName, CAData: a.CA, CertData: a.ClientCert, KeyData: a.ClientKey,
		},
		DisableCompression: a.DisableCompression,
		// Not the environment's: a cluster is reached as its Secret says.
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
	if a.Proxy != "" {
		proxy, err := url.Parse(a.Proxy)
		if err != nil {
			return nil, errors.New("the URL of the proxy cannot be parsed")
		}
		config.Proxy = http.ProxyURL(proxy)
	}
	if _, err := rest.TLSConfigFor(config); err != nil {
		return nil, errors.New("its certificates or its key cannot be read, or do not belong together")
	}
	return config, nil
}
