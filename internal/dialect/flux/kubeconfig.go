package flux

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// kubeConfig is where it says how another cluster is reached.
type kubeConfig struct {
	SecretRef    *keyRef   `json:"secretRef"`
	ConfigMapRef *localRef `json:"configMapRef"`
}

type keyRef struct {
	Name string `json:"name"`
	Key  string `json:"key"`
}

// failure is why it names no cluster; nil if it does, or if there is none.
func (k *kubeConfig) failure() *app.Failure {
	invalid := func(format string, args ...any) *app.Failure {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, format, args...)
	}
	switch {
	case k == nil:
		return nil
	case k.SecretRef != nil && k.ConfigMapRef != nil:
		return invalid("spec.kubeConfig has both secretRef and configMapRef").WithHint("leave one of them out")
	case k.ConfigMapRef != nil && k.ConfigMapRef.Name == "":
		return invalid("spec.kubeConfig.configMapRef.name is missing").WithHint("name the ConfigMap that says how the cluster is reached")
	case k.ConfigMapRef == nil && (k.SecretRef == nil || k.SecretRef.Name == ""):
		return invalid("spec.kubeConfig.secretRef.name is missing").WithHint("name the Secret that holds the kubeconfig")
	}
	return nil
}

// KubeConfigRef names a Secret with a kubeconfig, or a ConfigMap that says
// whose tokens open a cluster.
type KubeConfigRef struct {
	Namespace, Name string
	Key             string // of a Secret; "" is value, or else value.yaml
	ConfigMap       bool
}

// ID is the cluster's name in the engine. No Secret is called ConfigMap: names
// are of small letters.
func (r KubeConfigRef) ID() string {
	switch {
	case r.ConfigMap:
		return r.Namespace + "/ConfigMap/" + r.Name
	case r.Key == "":
		return r.Namespace + "/" + r.Name
	}
	return r.Namespace + "/" + r.Name + "/" + r.Key
}

// KubeConfigOf is what opens the cluster that a Kustomization or a HelmRelease
// goes to, in its own namespace. If it stays in this cluster, or what it says is
// refused, ok is false and the reference zero.
func KubeConfigOf(u *unstructured.Unstructured) (ref KubeConfigRef, ok bool) {
	secret, configMap := section(u.Object, "spec", "kubeConfig", "secretRef"), section(u.Object, "spec", "kubeConfig", "configMapRef")
	ref = KubeConfigRef{Namespace: u.GetNamespace(), ConfigMap: configMap != nil}
	if ref.ConfigMap {
		ref.Name = text(configMap, "name")
	} else {
		ref.Name, ref.Key = text(secret, "name"), text(secret, "key")
	}
	if ref.Name == "" || secret != nil && configMap != nil {
		return KubeConfigRef{}, false
	}
	return ref, true
}

// Cluster reads the Secret that ref names. What it cannot be used for is told
// by the Err of the result, which quotes nothing of it. data is nil if there is
// no such Secret.
func (r KubeConfigRef) Cluster(data map[string][]byte) app.Cluster {
	c := app.Cluster{ID: r.ID()}
	where := r.where()
	fail := func(reason app.Reason, format string, args ...any) *app.Failure {
		return app.Fail(app.StageObserve, reason, format, args...)
	}
	if data == nil {
		c.Err = fail(app.ReasonClusterUnknown, "unable to read %s: it does not exist", where).
			WithHint("create it, or correct spec.kubeConfig.secretRef; what was delivered is left as it is")
		return c
	}
	keys := []string{r.Key}
	if r.Key == "" {
		keys = []string{"value", "value.yaml"}
	}
	content := first(data, keys...)
	if len(content) == 0 {
		c.Err = fail(app.ReasonClusterUnknown, "%s does not contain a '%s' key with data", where, strings.Join(keys, "' or '"))
		return c
	}
	access, err := parseKubeConfig(content)
	if err != nil {
		c.Err = fail(app.ReasonClusterUnknown, "%s cannot be used: %w", where, err)
		return c
	}
	c.Access = access
	return c
}

// maxKubeConfig bounds a kubeconfig, in bytes: a Secret may be larger.
const maxKubeConfig = 256 << 10

// kubeConfigFile is what is read of a kubeconfig.
type kubeConfigFile struct {
	CurrentContext string `yaml:"current-context"`
	Contexts       []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Clusters []struct {
		Name    string            `yaml:"name"`
		Cluster kubeConfigCluster `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string         `yaml:"name"`
		User kubeConfigUser `yaml:"user"`
	} `yaml:"users"`
}

type kubeConfigCluster struct {
	Server     string `yaml:"server"`
	ServerName string `yaml:"tls-server-name"`
	Insecure   bool   `yaml:"insecure-skip-tls-verify"`
	CAFile     string `yaml:"certificate-authority"`
	CA         string `yaml:"certificate-authority-data"`
	Proxy      string `yaml:"proxy-url"`
	NoCompress bool   `yaml:"disable-compression"`
}

type kubeConfigUser struct {
	CertFile     string    `yaml:"client-certificate"`
	Cert         string    `yaml:"client-certificate-data"`
	KeyFile      string    `yaml:"client-key"`
	Key          string    `yaml:"client-key-data"`
	Token        string    `yaml:"token"`
	TokenFile    string    `yaml:"tokenFile"`
	Username     string    `yaml:"username"`
	Password     string    `yaml:"password"`
	As           string    `yaml:"as"`
	AsUID        string    `yaml:"as-uid"`
	AsGroups     []string  `yaml:"as-groups"`
	Exec         yaml.Node `yaml:"exec"`
	AuthProvider yaml.Node `yaml:"auth-provider"`
}

// parseKubeConfig reads the current context. Whoever can write a Secret must
// not be able to run a command, or read a file, where Plumb runs: anything of
// that sort is refused. Errors quote names only.
func parseKubeConfig(data []byte) (app.Access, error) {
	var file kubeConfigFile
	if len(data) > maxKubeConfig {
		return app.Access{}, fmt.Errorf("it is larger than %d KiB", maxKubeConfig>>10)
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return app.Access{}, errors.New("it is not a kubeconfig in YAML") // the parser's error may quote it
	}
	if file.CurrentContext == "" {
		return app.Access{}, errors.New("current-context is not set")
	}
	for _, c := range file.Contexts {
		if c.Name != file.CurrentContext {
			continue
		}
		for _, cluster := range file.Clusters {
			if cluster.Name == c.Context.Cluster {
				for _, user := range file.Users {
					if user.Name == c.Context.User {
						return kubeConfigAccess(cluster.Cluster, user.User)
					}
				}
				return app.Access{}, fmt.Errorf("there is no user %q", c.Context.User)
			}
		}
		return app.Access{}, fmt.Errorf("there is no cluster %q", c.Context.Cluster)
	}
	return app.Access{}, fmt.Errorf("there is no context %q", file.CurrentContext)
}

func kubeConfigAccess(cluster kubeConfigCluster, user kubeConfigUser) (app.Access, error) {
	for _, refused := range []struct {
		set         bool
		field, hint string
	}{
		{set(user.Exec), "exec", "no command is run; use a token or a client certificate"},
		{set(user.AuthProvider), "auth-provider", "use a token or a client certificate"},
		{cluster.CAFile != "", "certificate-authority", "no file is read; use certificate-authority-data"},
		{user.CertFile != "", "client-certificate", "no file is read; use client-certificate-data"},
		{user.KeyFile != "", "client-key", "no file is read; use client-key-data"},
		{user.TokenFile != "", "tokenFile", "no file is read; use token"},
		{cluster.Insecure, "insecure-skip-tls-verify", "use certificate-authority-data"},
		{user.As != "" || user.AsUID != "" || len(user.AsGroups) > 0, "as", "use spec.serviceAccountName"},
	} {
		if refused.set {
			return app.Access{}, fmt.Errorf("%s is refused: %s", refused.field, refused.hint)
		}
	}
	if err := checkAddress("server", cluster.Server, "https", "http"); err != nil {
		return app.Access{}, err
	}
	if cluster.Proxy != "" {
		if err := checkAddress("proxy-url", cluster.Proxy, "https", "http", "socks5"); err != nil {
			return app.Access{}, err
		}
	}
	a := app.Access{Server: strings.TrimRight(cluster.Server, "/"), ServerName: cluster.ServerName, Username: user.Username, Password: user.Password,
		BearerToken: user.Token, Proxy: cluster.Proxy, DisableCompression: cluster.NoCompress}
	for _, encoded := range []struct {
		field, text string
		into        *[]byte
	}{
		{"certificate-authority-data", cluster.CA, &a.CA},
		{"client-certificate-data", user.Cert, &a.ClientCert},
		{"client-key-data", user.Key, &a.ClientKey},
	} {
		decoded, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded.text), ""))
		if err != nil {
			return app.Access{}, fmt.Errorf("%s is not base64", encoded.field)
		}
		*encoded.into = decoded
	}
	return a, nil
}

func set(n yaml.Node) bool { return !n.IsZero() && n.Tag != "!!null" }

// checkAddress reports what is wrong with a URL, without quoting it.
func checkAddress(field, address string, schemes ...string) error {
	u, err := url.Parse(address)
	switch {
	case address == "":
		return fmt.Errorf("%s is not set", field)
	case err != nil || u.Host == "":
		return fmt.Errorf("%s is not a URL", field)
	case u.User != nil && field == "server":
		return fmt.Errorf("%s must not hold credentials", field)
	}
	for _, s := range schemes {
		if u.Scheme == s {
			return nil
		}
	}
	return fmt.Errorf("%s: the scheme must be one of %s", field, strings.Join(schemes, ", "))
}
