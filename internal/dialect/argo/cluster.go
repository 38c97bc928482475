package argo

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Cluster is a registered cluster, as its Secret describes it. Its ID is the
// address of its API server; that of the cluster that Plumb serves is "".
type Cluster struct {
	app.Cluster
	Secret  string // the name of the Secret
	Name    string
	Server  string
	Project string // that it is scoped to; "" for none
	// Namespaces, if there are any, are the only ones that may be delivered
	// to; cluster-scoped objects then need ClusterResources.
	Namespaces       []string
	ClusterResources bool
	// Skip: its Applications are left alone.
	Skip bool
}

// clusterConfig is the key config of a cluster Secret.
type clusterConfig struct {
	Username           string          `json:"username"`
	Password           string          `json:"password"`
	BearerToken        string          `json:"bearerToken"`
	TLS                clusterTLS      `json:"tlsClientConfig"`
	AWS                json.RawMessage `json:"awsAuthConfig"`
	Exec               json.RawMessage `json:"execProviderConfig"`
	DisableCompression bool            `json:"disableCompression"`
	ProxyURL           string          `json:"proxyUrl"`
}

type clusterTLS struct {
	Insecure   bool   `json:"insecure"`
	ServerName string `json:"serverName"`
	CA         []byte `json:"caData"`
	Cert       []byte `json:"certData"`
	Key        []byte `json:"keyData"`
}

// here is the cluster that Plumb serves, which needs no Secret.
func here() Cluster {
	return Cluster{Name: localName, Server: localServer}
}

// IsCluster reports whether a Secret registers a cluster.
func (s SecretData) IsCluster() bool { return s.Labels[LabelSecretType] == "cluster" }

// Clusters reads the Secrets that register clusters, in the order of their
// names.
func Clusters(secrets []SecretData) []Cluster {
	var out []Cluster
	for _, s := range slices.SortedFunc(slices.Values(secrets), func(x, y SecretData) int { return strings.Compare(x.Name, y.Name) }) {
		if s.IsCluster() {
			out = append(out, s.cluster())
		}
	}
	return out
}

// cluster reads a Secret. What it cannot be used for is told by Err, which
// quotes nothing of it.
func (s SecretData) cluster() Cluster {
	c := Cluster{
		Secret: s.Name, Name: s.text("name"), Server: strings.TrimRight(s.text("server"), "/"), Project: s.text("project"),
		ClusterResources: s.text("clusterResources") == "true", Skip: s.Annotations[annotationSkip] == "true",
	}
	for ns := range strings.SplitSeq(s.text("namespaces"), ",") {
		if ns = strings.TrimSpace(ns); ns != "" {
			c.Namespaces = append(c.Namespaces, ns)
		}
	}
	if c.Server == localServer {
		if c.Name == "" {
			c.Name = localName
		}
		return c // it is reached as Plumb itself reaches it
	}
	fail := func(format string, args ...any) Cluster {
		c.Err = app.Fail(app.StageObserve, app.ReasonClusterUnknown, "cluster Secret %s cannot be used: %s", s.Name, fmt.Sprintf(format, args...))
		return c
	}
	u, err := url.Parse(c.Server)
	switch {
	case c.Server == "":
		return fail("it has no server")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		c.Server = ""
		return fail("server is not a URL of http or https")
	case u.User != nil:
		c.Server = ""
		return fail("server must not hold credentials; put them into config")
	}
	c.ID = c.Server
	if c.Name == "" {
		c.Name = c.Server
	}
	var config clusterConfig
	if data := s.Data["config"]; len(data) > 0 {
		if err := json.Unmarshal(data, &config); err != nil {
			return fail("config is not JSON of the right form") // the parser's error may quote it
		}
	}
	switch {
	case given(config.Exec):
		return fail("execProviderConfig is refused, as no command is run; use bearerToken or tlsClientConfig")
	case given(config.AWS):
		return fail("awsAuthConfig is not supported by this version of Plumb; use bearerToken or tlsClientConfig")
	case len(config.TLS.Cert) > 0 != (len(config.TLS.Key) > 0):
		return fail("tlsClientConfig must hold certData and keyData together")
	}
	if config.ProxyURL != "" {
		if p, err := url.Parse(config.ProxyURL); err != nil || p.Host == "" {
			return fail("proxyUrl is not a URL")
		}
	}
	c.Access = app.Access{Server: c.Server, ServerName: config.TLS.ServerName, CA: config.TLS.CA, ClientCert: config.TLS.Cert,
		ClientKey: config.TLS.Key, Insecure: config.TLS.Insecure, Username: config.Username, Password: config.Password,
		BearerToken: config.BearerToken, Proxy: config.ProxyURL, DisableCompression: config.DisableCompression}
	return c
}

func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// Destination finds the cluster that an Application goes to: by its address,
// or by its name, never by both.
func Destination(u *unstructured.Unstructured, clusters []Cluster) (Cluster, *app.Failure) {
	server := strings.TrimRight(text(u.Object, "spec", "destination", "server"), "/")
	name := text(u.Object, "spec", "destination", "name")
	fail := func(format string, args ...any) (Cluster, *app.Failure) {
		return Cluster{}, app.Fail(app.StageSpec, app.ReasonClusterUnknown, format, args...)
	}
	if (server == "") == (name == "") {
		return fail("application destination must name a server or a name, and not both") // decoding says so already
	}
	var found []Cluster
	for _, c := range clusters {
		if server != "" && c.Server == server || name != "" && c.Name == name {
			found = append(found, c)
		}
	}
	switch {
	case len(found) == 0 && (server == localServer || name == localName):
		return here(), nil
	case len(found) == 0 && name != "":
		f := app.Fail(app.StageSpec, app.ReasonClusterUnknown, "there are no clusters with this name: %s", name)
		return Cluster{}, f.WithHint("register it by a Secret with the label %s: cluster", LabelSecretType)
	case len(found) == 0:
		f := app.Fail(app.StageSpec, app.ReasonClusterUnknown, "cluster %q is not registered", server)
		return Cluster{}, f.WithHint("register it by a Secret with the label %s: cluster", LabelSecretType)
	case len(found) > 1 && name != "":
		var servers []string
		for _, c := range found {
			servers = append(servers, c.Server)
		}
		return fail("there are %d clusters with the same name: %s", len(found), servers)
	}
	if found[0].ID == "" && found[0].Server != localServer {
		return Cluster{}, found[0].Err // it has no address: it is not the one that Plumb serves
	}
	return found[0], nil
}

// Place says where an Application goes: it completes the spec by what its
// cluster's Secret says. If the cluster cannot be told, the Application stays
// where it was and is not run; if it is being deleted, what it delivered is left
// there, as Argo CD does.
func Place(spec *app.Spec, u *unstructured.Unstructured, clusters []Cluster) Cluster {
	at, left, known := recordedAt(u)
	spec.Left = left
	dest, failure := Destination(u, clusters)
	if failure == nil {
		spec.Target.Cluster = dest.ID
		spec.Suspend = spec.Suspend || dest.Skip
	} else {
		if known {
			spec.Target.Cluster = at
		}
		if spec.Invalid == nil {
			spec.Invalid = failure
		}
		if spec.Deletion != nil {
			del := *spec.Deletion
			del.Prune = false
			spec.Deletion = &del
		}
	}
	spec.RecordedAt = spec.Target.Cluster // what Argo CD recorded
	if known {
		spec.RecordedAt = at
	}
	return dest
}

// Permits says why an object may not be delivered to the cluster; nil if it
// may.
func (c Cluster) Permits(ref object.Ref, namespaced bool) *app.Failure {
	switch {
	case len(c.Namespaces) == 0:
		return nil
	case !namespaced && !c.ClusterResources:
		return app.Fail(app.StageApply, app.ReasonForbidden,
			"%s: cluster %s takes no cluster-scoped objects: its Secret lists namespaces and does not set clusterResources", ref, c.Name)
	case namespaced && !slices.Contains(c.Namespaces, ref.Namespace):
		return app.Fail(app.StageApply, app.ReasonForbidden,
			"%s: namespace %s is not among those that the Secret of cluster %s lists", ref, ref.Namespace, c.Name)
	}
	return nil
}

// Limits identifies what the cluster permits, and to whom.
func (c Cluster) Limits() string {
	if len(c.Namespaces) == 0 {
		return c.Project
	}
	return c.Project + token([]any{c.Namespaces, c.ClusterResources})
}
