package flux

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
)

// TestTokens: what a ConfigMap may say, and what comes of it.
func TestTokens(t *testing.T) {
	const there = "https://10.0.0.1:6443"
	good := func(more ...string) map[string]string {
		out := map[string]string{"provider": "generic", "address": there, "serviceAccountName": "deployer"}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	for _, c := range []struct {
		name      string
		data      map[string]string
		tenancy   Tenancy
		server    string
		account   string // namespace/name; "/" is Plumb's own
		audiences string
		reason    app.Reason // "" is no error
		want      string     // of the error
	}{
		{name: "an account", data: good(), server: there, account: "team/deployer", audiences: there},
		{name: "an address without a port", data: good("address", "https://API.example.org"), server: "https://api.example.org:443", account: "team/deployer", audiences: "https://API.example.org"},
		{name: "an address without a scheme", data: good("address", "10.0.0.1:6443"), server: there, account: "team/deployer", audiences: "10.0.0.1:6443"},
		{name: "an address with a path", data: good("address", there+"/k8s/"), server: there, account: "team/deployer", audiences: there + "/k8s/"},
		{name: "an address of version 6", data: good("address", "https://[::1]"), server: "https://[::1]:443", account: "team/deployer", audiences: "https://[::1]"},
		{name: "audiences", data: good("audiences", " fleet \n\n prod\r\n"), server: there, account: "team/deployer", audiences: "fleet,prod"},
		{name: "no audiences", data: good("audiences", "\n"), server: there, account: "team/deployer", audiences: there},
		{name: "what other providers need", data: good("cluster", "x"), server: there, account: "team/deployer", audiences: there},
		{name: "no account", data: good("serviceAccountName", ""), server: there, account: "/", audiences: there},
		{name: "the tenancy's", data: good("serviceAccountName", ""), tenancy: Tenancy{DefaultServiceAccount: "tenant", DefaultKubeConfigServiceAccount: "way"}, server: there, account: "team/way", audiences: there},
		{name: "the ConfigMap's", data: good(), tenancy: Tenancy{DefaultServiceAccount: "tenant", DefaultKubeConfigServiceAccount: "way"}, server: there, account: "team/deployer", audiences: there},
		{name: "no account for a tenant", data: good("serviceAccountName", ""), tenancy: Tenancy{DefaultServiceAccount: "tenant"}, reason: app.ReasonForbidden, want: "names no serviceAccountName"},
		{name: "an account of elsewhere", data: good("serviceAccountName", "kube-system/admin"), reason: app.ReasonClusterUnknown, want: "is not a name"},
		{name: "a way out of the namespace", data: good("serviceAccountName", "../../kube-system/serviceaccounts/admin"), reason: app.ReasonClusterUnknown, want: "is not a name"},
		{name: "no ConfigMap", reason: app.ReasonClusterUnknown, want: "unable to read KubeConfig ConfigMap 'team/prod': it does not exist"},
		{name: "nothing", data: map[string]string{}, reason: app.ReasonClusterUnknown, want: "does not contain a 'provider' key"},
		{name: "no address", data: good("address", ""), reason: app.ReasonClusterUnknown, want: "does not contain a 'address' key"},
		{name: "http", data: good("address", "http://10.0.0.1:8080"), reason: app.ReasonClusterUnknown, want: "must begin with https://"},
		{name: "credentials in the address", data: good("address", "https://me:secret@host"), reason: app.ReasonClusterUnknown, want: "must not hold credentials"},
		{name: "no URL", data: good("address", "https://%zz"), reason: app.ReasonClusterUnknown, want: "is not a URL"},
		{name: "no host", data: good("address", "https:///x"), reason: app.ReasonClusterUnknown, want: "is not a URL"},
		{name: "many audiences", data: good("audiences", strings.Repeat("x\n", maxAudiences+1)), reason: app.ReasonClusterUnknown, want: "more than 64 audiences"},
		{name: "aws", data: map[string]string{"provider": "aws", "cluster": "arn:aws:eks:eu:1:cluster/x"}, reason: app.ReasonUnsupported, want: "provider aws is not supported yet"},
		{name: "azure", data: map[string]string{"provider": "azure", "cluster": "x"}, reason: app.ReasonUnsupported, want: "provider azure is not supported yet"},
		{name: "gcp", data: map[string]string{"provider": "gcp", "cluster": "x"}, reason: app.ReasonUnsupported, want: "provider gcp is not supported yet"},
		{name: "another provider", data: good("provider", "Generic"), reason: app.ReasonClusterUnknown, want: `"Generic" is not a provider`},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref := KubeConfigRef{Namespace: "team", Name: "prod", ConfigMap: true}
			got := ref.Tokens(c.data, c.tenancy)
			if got.ID != "team/ConfigMap/prod" {
				t.Errorf("ID %q", got.ID)
			}
			if c.reason != "" {
				if got.Err == nil || got.Err.Reason != c.reason || !strings.Contains(got.Err.Error(), c.want) || !strings.Contains(got.Err.Error(), "KubeConfig ConfigMap 'team/prod'") {
					t.Fatalf("%+v, want %s %q", got.Err, c.reason, c.want)
				}
				if got.Access.Tokens != nil || got.Access.Server != "" || strings.Contains(got.Err.Error()+got.Err.Hint, "secret@") {
					t.Errorf("an error comes with a way in, or shows one: %v", got.Err)
				}
				return
			}
			if got.Err != nil {
				t.Fatal(got.Err)
			}
			tokens := got.Access.Tokens
			if is := tokens.Namespace + "/" + tokens.Name; got.Access.Server != c.server || is != c.account || strings.Join(tokens.Audiences, ",") != c.audiences {
				t.Errorf("%s as %s for %q, want %s as %s for %q", got.Access.Server, is, tokens.Audiences, c.server, c.account, c.audiences)
			}
		})
	}
}

// A key that is mistyped is told of, and nothing else is.
func TestTokensWarn(t *testing.T) {
	ref := KubeConfigRef{Namespace: "team", Name: "prod", ConfigMap: true}
	for _, c := range []struct {
		data map[string]string
		want string
	}{
		{map[string]string{"provider": "generic", "address": "https://host", "serviceAccountName": "deployer", "ca.crt": "ca", "audiences": "a"}, ""},
		{map[string]string{"provider": "generic", "address": "https://host", "serviceAccount": "deployer", "cluster": "x"},
			"data.cluster of KubeConfig ConfigMap 'team/prod': has no effect with provider generic\n" +
				"data.serviceAccount of KubeConfig ConfigMap 'team/prod': unknown field, ignored\n"},
		{map[string]string{"provider": "generic", "adress": "https://host"}, "data.adress of KubeConfig ConfigMap 'team/prod': unknown field, ignored\n"},
		{map[string]string{"provider": "aws", "cluster": "x"}, ""},
		{nil, ""},
	} {
		way, got := ref.Tokens(c.data, Tenancy{}), ""
		for _, w := range way.Warnings {
			got += warningLine(w) + "\n"
		}
		if got != c.want {
			t.Errorf("%v:\n%swant\n%s", c.data, got, c.want)
		}
		if way.Err == nil && (len(ref.Account(way, "").Warnings) != len(way.Warnings) || len(ref.Account(way, "1").Warnings) != len(way.Warnings)) {
			t.Errorf("%v: the account changes what is warned of", c.data)
		}
	}
	many := map[string]string{}
	for i := range 100 {
		many[fmt.Sprint(i)] = ""
	}
	if n := len(ref.Tokens(many, Tenancy{}).Warnings); n != maxUnknown {
		t.Errorf("%d warnings", n)
	}
}

// Another account of the same name is another way, and so is another audience.
func TestTokensDiffer(t *testing.T) {
	ref := KubeConfigRef{Namespace: "team", Name: "prod", ConfigMap: true}
	data := map[string]string{"provider": "generic", "address": "https://host", "serviceAccountName": "deployer", "audiences": "a\nb", "ca.crt": "ca"}
	way := ref.Tokens(data, Tenancy{})
	one := ref.Account(way, "1")
	if !one.Same(ref.Account(ref.Tokens(data, Tenancy{}), "1")) {
		t.Error("the same is not the same")
	}
	if way.Access.Tokens.UID != "" || one.Access.Tokens.UID != "1" || string(one.Access.CA) != "ca" {
		t.Errorf("%+v, %+v", way.Access.Tokens, one.Access.Tokens)
	}
	if one.Same(ref.Account(way, "2")) {
		t.Error("another account of the same name is the same")
	}
	data["audiences"] = "b\na"
	if one.Same(ref.Account(ref.Tokens(data, Tenancy{}), "1")) {
		t.Error("other audiences are the same")
	}
	if one.Same(app.Cluster{ID: one.ID, Access: app.Access{Server: one.Access.Server, CA: one.Access.CA}}) {
		t.Error("no tokens are the same as some")
	}
	gone := ref.Account(way, "")
	if gone.Err == nil || gone.Err.Reason != app.ReasonClusterUnknown || !strings.Contains(gone.Err.Error(), "ServiceAccount 'team/deployer'") || gone.Access.Tokens != nil {
		t.Errorf("without the account: %+v", gone)
	}
}

func FuzzTokens(f *testing.F) {
	f.Add("https://10.0.0.1:6443", "a\nb", "deployer")
	f.Add("[::1]:6443", "", "")
	f.Add("http:x", "\r\n", "../x")
	f.Fuzz(func(t *testing.T, address, audiences, account string) {
		got := KubeConfigRef{Namespace: "team", Name: "prod", ConfigMap: true}.Tokens(map[string]string{
			"provider": "generic", "address": address, "audiences": audiences, "serviceAccountName": account}, Tenancy{})
		switch {
		case (got.Err == nil) == (got.Access.Tokens == nil):
			t.Errorf("%+v", got)
		case got.Err == nil && (!strings.HasPrefix(got.Access.Server, "https://") || strings.Count(got.Access.Server, "/") != 2):
			t.Errorf("server %q", got.Access.Server)
		case got.Err == nil && (len(got.Access.Tokens.Audiences) == 0 || slices.Contains(got.Access.Tokens.Audiences, "")):
			t.Errorf("audiences %q", got.Access.Tokens.Audiences)
		case got.Err == nil && strings.ContainsAny(got.Access.Tokens.Name, "/ "):
			t.Errorf("account %q", got.Access.Tokens.Name)
		}
	})
}
