// Package faultproxy stands between a client and a server and makes things go
// wrong on purpose: answers that are slow, refused, cut short or lost,
// connections that are reset or silent, a server that is gone. For tests with
// real servers: the Kubernetes API (ForCluster), Git and the like over HTTP
// (ForURL), anything over TCP (ForTCP).
//
// Only tests import it.
package faultproxy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Proxy passes HTTP requests on to a server, as far as no fault is set. The
// embedded Line brings about the faults of the network.
type Proxy struct {
	*Line
	target    *url.URL
	authority []byte // its own certificate, PEM; nil if it serves plain HTTP
	transport http.RoundTripper
	reverse   *httputil.ReverseProxy
	server    *http.Server

	mu      sync.Mutex
	faults  []*active
	cleared chan struct{} // closed and renewed when the faults are set anew
	watches map[*watchBody]struct{}
	log     []Request
}

// Request is one that reached the proxy.
type Request struct {
	Method, Path, Query, UserAgent string
	At                             time.Time
}

// String is "METHOD path".
func (r Request) String() string { return r.Method + " " + r.Path }

// ForCluster stands before an API server. Requests arrive there under the
// identity of config, over HTTP/2 if the client speaks it; Config and
// WriteKubeconfig give what a client needs to go through the proxy.
func ForCluster(config *rest.Config) (*Proxy, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	transport, err := rest.TransportFor(config)
	if err != nil {
		return nil, err
	}
	target, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	return start(target, transport, true)
}

// ForURL stands before an HTTP server, itself without TLS.
func ForURL(target string) (*Proxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	return start(u, transport, false)
}

func start(target *url.URL, transport http.RoundTripper, secure bool) (*Proxy, error) {
	line, err := newLine()
	if err != nil {
		return nil, err
	}
	p := &Proxy{Line: line, target: target, transport: transport, cleared: make(chan struct{}), watches: map[*watchBody]struct{}{}}
	quiet := log.New(io.Discard, "", 0)
	p.reverse = &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      transport,
		FlushInterval:  -1,
		ErrorLog:       quiet,
		ModifyResponse: p.noteWatch,
		// A server that is away looks no better through the proxy.
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, _ error) { abort(r) },
	}
	p.server = &http.Server{Handler: p, ErrorLog: quiet, ConnContext: func(ctx context.Context, c net.Conn) context.Context {
		if t, ok := c.(*tls.Conn); ok {
			c = t.NetConn()
		}
		return context.WithValue(ctx, connKey{}, c)
	}}
	if !secure {
		go p.server.Serve(acceptor{line})
		return p, nil
	}
	var certificate tls.Certificate
	if certificate, p.authority, err = selfSigned(); err != nil {
		line.close()
		return nil, err
	}
	p.server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	go p.server.ServeTLS(acceptor{line}, "", "")
	return p, nil
}

// connKey finds the connection of a request in its context.
type connKey struct{}

// URL is where the proxy is to be found.
func (p *Proxy) URL() string {
	if p.authority == nil {
		return "http://" + p.Addr()
	}
	return "https://" + p.Addr()
}

// Config reaches the cluster through the proxy.
func (p *Proxy) Config() *rest.Config {
	return &rest.Config{Host: p.URL(), QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: p.authority}}
}

// WriteKubeconfig writes a kubeconfig that reaches the cluster through the
// proxy.
func (p *Proxy) WriteKubeconfig(file string) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["proxy"] = &clientcmdapi.Cluster{Server: p.URL(), CertificateAuthorityData: p.authority}
	config.AuthInfos["proxy"] = &clientcmdapi.AuthInfo{}
	config.Contexts["proxy"] = &clientcmdapi.Context{Cluster: "proxy", AuthInfo: "proxy"}
	config.CurrentContext = "proxy"
	return clientcmd.WriteToFile(*config, file)
}

// Set makes faults the ones that happen from now on, instead of those set
// before. To each request the first that applies happens.
func (p *Proxy) Set(faults ...Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
	for _, f := range faults {
		p.faults = append(p.faults, &active{Fault: f})
	}
	close(p.cleared)
	p.cleared = make(chan struct{})
}

// Clear ends all faults that Set set. Those of the Line are ended by Thaw and
// Up.
func (p *Proxy) Clear() { p.Set() }

// EndWatches ends all watches that run, as the API server does after a while.
// ResetConnections ends them harder.
func (p *Proxy) EndWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for w := range p.watches {
		w.end()
	}
}

// Requests gives the requests that came since the last call.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.log
	p.log = nil
	return out
}

// Close ends the proxy and resets its connections.
func (p *Proxy) Close() {
	p.Clear()
	p.Line.close()
	p.server.Close()
	if t, ok := p.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault, cleared := p.meet(r)
	if fault.Delay > 0 {
		wait(r, fault.Delay)
	}
	switch do := fault.Do; do.kind {
	case pass:
		p.reverse.ServeHTTP(w, r)
	case answer:
		refuse(w, do)
	case reset:
		abort(r)
	case lose:
		p.reverse.ServeHTTP(&nowhere{header: http.Header{}}, r)
		abort(r)
	case cut, stall, slow:
		p.reverse.ServeHTTP(&limited{ResponseWriter: w, request: r, do: do, left: do.bytes, cleared: cleared}, r)
		if do.kind == cut {
			abort(r) // the answer was shorter, or empty
		}
	case hang:
		select {
		case <-r.Context().Done():
		case <-cleared:
			abort(r)
		}
	}
}

// meet notes a request and finds what happens to it.
func (p *Proxy) meet(r *http.Request) (Fault, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log = append(p.log, Request{r.Method, r.URL.Path, r.URL.RawQuery, r.UserAgent(), time.Now()})
	for _, f := range p.faults {
		if f.happens(r) {
			return f.Fault, p.cleared
		}
	}
	return Fault{}, p.cleared
}

// abort resets the connection of a request and ends its handler.
func abort(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.reset()
	}
	panic(http.ErrAbortHandler)
}

func wait(r *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// refuse answers as the API server would.
func refuse(w http.ResponseWriter, do Action) {
	reasons := map[int]metav1.StatusReason{
		http.StatusUnauthorized: metav1.StatusReasonUnauthorized, http.StatusForbidden: metav1.StatusReasonForbidden,
		http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusConflict: metav1.StatusReasonConflict,
		http.StatusGone: metav1.StatusReasonExpired, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
		http.StatusInternalServerError: metav1.StatusReasonInternalError, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
		http.StatusGatewayTimeout: metav1.StatusReasonTimeout,
	}
	status := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure,
		Code: int32(do.code), Reason: reasons[do.code], Message: fmt.Sprintf("%s, on purpose", http.StatusText(do.code))}
	w.Header().Set("Content-Type", "application/json")
	if seconds := int(do.after / time.Second); seconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: int32(seconds)}
	}
	w.WriteHeader(do.code)
	json.NewEncoder(w).Encode(status)
}
