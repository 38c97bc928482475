package flux

import (
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"plumb.dev/plumb/internal/app"
)

// maxAudiences bounds those of one token: it goes with every request.
const maxAudiences = 64

// Tokens reads the ConfigMap that the reference names; nil if there is no such.
// What it cannot be used for is told by the Err of the result. Where a service
// account is named, Account has the last word.
//
// The keys are Flux's. audiences has one a line, and is the address, as it is
// written, if there is none. An account that is not named is the tenancy's
// default, or else the one that Plumb runs as: that of another namespace cannot
// be named, and Plumb's own is kept from tenants.
func (r KubeConfigRef) Tokens(data map[string]string, tenancy Tenancy) app.Cluster {
	c := app.Cluster{ID: r.ID(), Warnings: r.warnings(data)}
	fail := func(reason app.Reason, format string, args ...any) *app.Failure {
		return app.Fail(app.StageObserve, reason, "%s "+format, append([]any{r.where()}, args...)...)
	}
	if data == nil {
		c.Err = app.Fail(app.StageObserve, app.ReasonClusterUnknown, "unable to read %s: it does not exist", r.where()).
			WithHint("create it, or correct spec.kubeConfig.configMapRef; what was delivered is left as it is")
		return c
	}
	for _, key := range []string{"provider", "address"} {
		if data[key] == "" && (key == "provider" || data["provider"] == "generic") {
			c.Err = fail(app.ReasonClusterUnknown, "does not contain a '%s' key with data", key)
			return c
		}
	}
	switch provider := data["provider"]; provider {
	case "generic":
	case "aws", "azure", "gcp":
		c.Err = fail(app.ReasonUnsupported, "cannot be used: provider %s is not supported yet", provider).
			WithHint("use provider generic with a cluster that trusts the tokens of this one, or a kubeconfig in a Secret (spec.kubeConfig.secretRef)")
		return c
	default:
		c.Err = fail(app.ReasonClusterUnknown, "cannot be used: %q is not a provider", provider).WithHint("set provider to generic")
		return c
	}
	server, why := clusterAddress(data["address"])
	if why != "" {
		c.Err = fail(app.ReasonClusterUnknown, "cannot be used: address %s", why).WithHint("set it to https://HOST:PORT of the API server")
		return c
	}
	tokens := &app.Tokens{Audiences: lines(data["audiences"])}
	if len(tokens.Audiences) == 0 {
		tokens.Audiences = []string{data["address"]}
	}
	if len(tokens.Audiences) > maxAudiences {
		c.Err = fail(app.ReasonClusterUnknown, "cannot be used: there are more than %d audiences", maxAudiences)
		return c
	}
	name := orElse(data["serviceAccountName"], tenancy.DefaultKubeConfigServiceAccount)
	switch {
	case name != "" && len(validation.IsDNS1123Subdomain(name)) > 0:
		c.Err = fail(app.ReasonClusterUnknown, "cannot be used: serviceAccountName %q is not a name", name)
		return c
	case name != "":
		tokens.Namespace, tokens.Name = r.Namespace, name
	case tenancy.DefaultServiceAccount != "":
		c.Err = fail(app.ReasonForbidden, "names no serviceAccountName, and the account that Plumb runs as is not for tenants").
			WithHint("set serviceAccountName, or start Plumb with --default-kubeconfig-service-account")
		return c
	}
	c.Access = app.Access{Server: server, CA: []byte(data["ca.crt"]), Tokens: tokens}
	return c
}

// warnings are about keys that are not read: a name that is mistyped would
// otherwise count as one that is not set.
func (r KubeConfigRef) warnings(data map[string]string) []app.Warning {
	var out []app.Warning
	for _, key := range sortedKeys(data) {
		message := "unknown field, ignored"
		switch key {
		case "provider", "address", "ca.crt", "audiences", "serviceAccountName":
			continue
		case "cluster":
			if data["provider"] != "generic" {
				continue
			}
			message = "has no effect with provider generic"
		}
		if len(out) < maxUnknown {
			out = append(out, app.Warning{Field: "data." + key + " of " + r.where(), Message: message})
		}
	}
	return out
}

// Account completes what Tokens made of a ConfigMap: uid is that of the
// service account that it names, "" if there is none.
func (r KubeConfigRef) Account(c app.Cluster, uid string) app.Cluster {
	t := *c.Access.Tokens
	if uid == "" {
		return app.Cluster{ID: c.ID, Warnings: c.Warnings, Err: app.Fail(app.StageObserve, app.ReasonClusterUnknown,
			"ServiceAccount '%s/%s', whose tokens %s asks for, does not exist", t.Namespace, t.Name, r.where()).
			WithHint("create it, or correct serviceAccountName; what was delivered is left as it is")}
	}
	t.UID = uid
	c.Access.Tokens = &t
	return c
}

// where names it in messages, as Flux does.
func (r KubeConfigRef) where() string {
	kind := "secret"
	if r.ConfigMap {
		kind = "ConfigMap"
	}
	return "KubeConfig " + kind + " '" + r.Namespace + "/" + r.Name + "'"
}

// clusterAddress is an address as it is used: scheme, host and port alone, as
// in Flux. A token is never sent in the clear.
func clusterAddress(address string) (server, why string) {
	if !strings.HasPrefix(address, "http") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Hostname() == "":
		return "", "is not a URL"
	case u.Scheme != "https":
		return "", "must begin with https://"
	case u.User != nil:
		return "", "must not hold credentials"
	}
	host := strings.ToLower(u.Host)
	if u.Port() == "" {
		host = strings.TrimSuffix(host, ":") + ":443"
	}
	return "https://" + host, ""
}

// lines are those of a text that say something.
func lines(s string) []string {
	out := strings.Split(s, "\n")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return slices.DeleteFunc(out, func(l string) bool { return l == "" })
}
