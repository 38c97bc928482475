package flux

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
)

// kubeconfigWith makes a kubeconfig of the fields of a cluster and a user.
func kubeconfigWith(cluster, user string) string {
	return `
apiVersion: v1
kind: Config
current-context: there
contexts:
- {name: elsewhere, context: {cluster: x, user: x}}
- {name: there, context: {cluster: c, user: u}}
clusters: [{name: c, cluster: {` + cluster + `}}]
users: [{name: u, user: {` + user + `}}]
`
}

const server = `server: "https://10.0.0.1:6443/"`

// TestKubeConfig: the current context is read; whatever would run a command,
// read a file, widen rights or trust anyone is refused, and so is what cannot
// be understood. No message quotes a credential.
func TestKubeConfig(t *testing.T) {
	const canary = "c4n4ry-c4n4ry"
	for _, c := range []struct {
		name, config, want string // want of the error; "" is none
	}{
		{"a token", kubeconfigWith(server, "token: "+canary), ""},
		{"a user and a password", kubeconfigWith(server, "username: me, password: "+canary), ""},
		{"a certificate", kubeconfigWith(server+", certificate-authority-data: Y2E=, tls-server-name: k8s, proxy-url: 'http://me:"+canary+"@proxy:3128'",
			"client-certificate-data: Y2VydA==, client-key-data: a2V5"), ""},
		{"null is nothing", kubeconfigWith(server, "token: "+canary+", exec: null"), ""},
		{"exec", kubeconfigWith(server, "token: "+canary+", exec: {command: sh, args: ["+canary+"]}"), "exec is refused"},
		{"auth provider", kubeconfigWith(server, "auth-provider: {name: gcp, config: {x: "+canary+"}}"), "auth-provider is refused"},
		{"a file of an authority", kubeconfigWith(server+", certificate-authority: /"+canary, "token: x"), "certificate-authority is refused"},
		{"a file of a certificate", kubeconfigWith(server, "client-certificate: /"+canary), "client-certificate is refused"},
		{"a file of a key", kubeconfigWith(server, "client-key: /"+canary), "client-key is refused"},
		{"a file of a token", kubeconfigWith(server, "tokenFile: /var/run/secrets/"+canary), "tokenFile is refused"},
		{"anybody's certificate", kubeconfigWith(server+", insecure-skip-tls-verify: true", "token: "+canary), "insecure-skip-tls-verify is refused"},
		{"someone else", kubeconfigWith(server, "token: "+canary+", as: system:admin"), "as is refused"},
		{"no server", kubeconfigWith("proxy-url: 'http://p'", "token: "+canary), "server is not set"},
		{"no URL", kubeconfigWith("server: "+canary, "token: x"), "server is not a URL"},
		{"another scheme", kubeconfigWith("server: file://"+canary+"/x", "token: x"), "the scheme must be one of"},
		{"a path", kubeconfigWith("server: unix:///"+canary, "token: x"), "server is not a URL"},
		{"credentials in the address", kubeconfigWith("server: 'https://me:"+canary+"@host'", ""), "server must not hold credentials"},
		{"no base64", kubeconfigWith(server+", certificate-authority-data: '"+canary+"!'", ""), "certificate-authority-data is not base64"},
		{"no YAML", "{" + canary + ": [", "not a kubeconfig in YAML"},
		{"a list", "- " + canary, "not a kubeconfig in YAML"},
		{"no context", strings.Replace(kubeconfigWith(server, "token: "+canary), "current-context: there", "", 1), "current-context is not set"},
		{"another context", strings.Replace(kubeconfigWith(server, "token: "+canary), "current-context: there", "current-context: here", 1), `there is no context "here"`},
		{"no such user", kubeconfigWith(server, "")[:strings.Index(kubeconfigWith(server, ""), "users:")], `there is no user "u"`},
		{"no such cluster", strings.Replace(kubeconfigWith(server, ""), "clusters: [{name: c", "clusters: [{name: d", 1), `there is no cluster "c"`},
		{"large", kubeconfigWith(server, "token: "+strings.Repeat("x", maxKubeConfig)), "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ref := KubeConfigRef{Namespace: "team", Name: "prod"}
			got := ref.Cluster(map[string][]byte{"value": []byte(c.config)})
			switch {
			case c.want == "" && got.Err != nil:
				t.Fatal(got.Err)
			case c.want != "" && (got.Err == nil || !strings.Contains(got.Err.Error(), c.want)):
				t.Fatalf("%v, want %q", got.Err, c.want)
			case c.want == "" && got.Access.Server != "https://10.0.0.1:6443":
				t.Errorf("server %q", got.Access.Server)
			}
			data, err := json.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			shown := fmt.Sprintf("%v %+v %#v %s", got, got, got.Access, data)
			if got.Err != nil {
				shown += got.Err.Error() + got.Err.Hint
			}
			if strings.Contains(shown, canary) {
				t.Errorf("it shows a credential: %s", shown)
			}
		})
	}
}

func TestKubeConfigKeys(t *testing.T) {
	good := []byte(kubeconfigWith(server, "token: x"))
	for _, c := range []struct {
		name, key string
		data      map[string][]byte
		want      string
	}{
		{"value", "", map[string][]byte{"value": good}, ""},
		{"value.yaml", "", map[string][]byte{"value.yaml": good}, ""},
		{"value comes first", "", map[string][]byte{"value": good, "value.yaml": []byte("no")}, ""},
		{"the key that is named", "mine", map[string][]byte{"mine": good, "value": []byte("no")}, ""},
		{"the key that is named is missing", "mine", map[string][]byte{"value": good}, "does not contain a 'mine' key"},
		{"no key", "", map[string][]byte{"kubeconfig": good}, "does not contain a 'value' or 'value.yaml' key"},
		{"no data", "", map[string][]byte{}, "does not contain"},
		{"no Secret", "", nil, "it does not exist"},
	} {
		got := KubeConfigRef{Namespace: "team", Name: "prod", Key: c.key}.Cluster(c.data)
		if c.want == "" && got.Err != nil || c.want != "" && (got.Err == nil || !strings.Contains(got.Err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, got.Err, c.want)
		}
		if got.Err != nil && !strings.Contains(got.Err.Error(), "KubeConfig secret 'team/prod'") {
			t.Errorf("%s: %v does not name the Secret", c.name, got.Err)
		}
	}
}

func FuzzKubeConfig(f *testing.F) {
	f.Add([]byte(kubeconfigWith(server, "token: x")))
	f.Add([]byte(kubeconfigWith(server+", certificate-authority-data: Y2E=", "exec: {command: x}")))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		access, err := parseKubeConfig(data)
		if err != nil && access.Server != "" {
			t.Error("an error comes with an access")
		}
	})
}

// A status knows of which cluster it tells, and what a move left behind.
func TestLeft(t *testing.T) {
	record := func(name string) app.Record {
		r, err := app.ParseRecord("ns_" + name + "__ConfigMap v1 d o")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := app.Report{Phase: app.PhaseDone, Sync: app.Unknown, Cluster: "team/b", Records: nil,
		Failure: app.Fail(app.StageObserve, app.ReasonClusterDown, "away"),
		Left:    []app.Left{{Cluster: "team/a", Records: []app.Record{record("y"), record("x")}}, {Records: []app.Record{record("z")}, More: 7}}}
	first := app.Report{Phase: app.PhaseDone, Sync: app.Synced, Cluster: "team/a", Records: []app.Record{record("x"), record("y")},
		LastSync: &app.Attempt{Succeeded: true}}
	old := EncodeKustomization(first, app.Spec{}, nil)
	if at, left := decodeLeft(old, "team/b"); at != "team/a" || len(left) != 0 {
		t.Errorf("at %q, left %v", at, left)
	}
	status := EncodeKustomization(r, app.Spec{}, old)
	at, left := decodeLeft(status, "team/c")
	if at != "team/b" || len(left) != 2 || left[0].Cluster != "team/a" || len(left[0].Records) != 2 || left[0].More != 0 || left[1].Cluster != "" || left[1].More != 7 || left[0].Records[0] != record("x") {
		t.Errorf("at %q, left %+v", at, left)
	}
	if records, _ := recorded(status); len(records) != 0 {
		t.Errorf("what is elsewhere counts as being here: %v", records)
	}
	if at, _ := decodeLeft(map[string]any{"inventory": map[string]any{}}, "team/b"); at != "team/b" {
		t.Errorf("what Flux wrote is of cluster %q", at)
	}
}
