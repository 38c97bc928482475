package argo

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

func clusterSecret(name string, data map[string]string) SecretData {
	s := SecretData{Name: name, Labels: map[string]string{LabelSecretType: "cluster"}, Data: map[string][]byte{}}
	for k, v := range data {
		s.Data[k] = []byte(v)
	}
	return s
}

func TestClusterSecret(t *testing.T) {
	const canary = "c4n4ry-c4n4ry"
	for _, c := range []struct {
		name string
		data map[string]string
		want string // of the error; "" is none
	}{
		{"token", map[string]string{"name": "prod", "server": "https://prod:6443/", "config": `{"bearerToken":"` + canary + `"}`}, ""},
		{"certificate", map[string]string{"server": "https://prod:6443", "config": `{"tlsClientConfig":{"caData":"Y2E=","certData":"Yw==","keyData":"aw==","serverName":"x"}}`}, ""},
		{"no verification, as an administrator may ask", map[string]string{"server": "https://prod:6443", "config": `{"username":"u","password":"` + canary + `","tlsClientConfig":{"insecure":true}}`}, ""},
		{"no config", map[string]string{"server": "https://prod:6443"}, ""},
		{"exec", map[string]string{"server": "https://prod:6443", "config": `{"execProviderConfig":{"command":"` + canary + `"}}`}, "execProviderConfig is refused"},
		{"aws", map[string]string{"server": "https://prod:6443", "config": `{"awsAuthConfig":{"clusterName":"` + canary + `"}}`}, "awsAuthConfig is not supported"},
		{"null is nothing", map[string]string{"server": "https://prod:6443", "config": `{"execProviderConfig":null,"awsAuthConfig":null}`}, ""},
		{"half a certificate", map[string]string{"server": "https://prod:6443", "config": `{"tlsClientConfig":{"certData":"Yw=="}}`}, "certData and keyData together"},
		{"no JSON", map[string]string{"server": "https://prod:6443", "config": canary}, "config is not JSON"},
		{"no server", map[string]string{"name": "prod"}, "it has no server"},
		{"no URL", map[string]string{"server": canary}, "server is not a URL"},
		{"credentials in the address", map[string]string{"server": "https://me:" + canary + "@prod"}, "server must not hold credentials"},
		{"proxy", map[string]string{"server": "https://prod", "config": `{"proxyUrl":"` + canary + `"}`}, "proxyUrl is not a URL"},
	} {
		got := Clusters([]SecretData{clusterSecret("s", c.data)})[0]
		if c.want == "" && got.Err != nil || c.want != "" && (got.Err == nil || !strings.Contains(got.Err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, got.Err, c.want)
		}
		if c.want == "" && (got.ID != strings.TrimRight(c.data["server"], "/") || got.Access.Server != got.ID) {
			t.Errorf("%s: id %q, server %q", c.name, got.ID, got.Access.Server)
		}
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		shown := fmt.Sprintf("%v %+v %s", got, got, data)
		if got.Err != nil {
			shown += got.Err.Error()
		}
		if strings.Contains(shown, canary) {
			t.Errorf("%s: a credential is shown: %s", c.name, shown)
		}
	}
}

func TestDestination(t *testing.T) {
	clusters := Clusters([]SecretData{
		clusterSecret("a", map[string]string{"name": "prod", "server": "https://prod:6443", "project": "p"}),
		clusterSecret("b", map[string]string{"name": "twin", "server": "https://one:6443"}),
		clusterSecret("c", map[string]string{"name": "twin", "server": "https://two:6443"}),
		clusterSecret("d", map[string]string{"name": "home", "server": "https://kubernetes.default.svc", "namespaces": "x, y"}),
		clusterSecret("f", map[string]string{"name": "broken", "server": "no address"}),
		clusterSecret("g", map[string]string{"name": "empty"}),
		{Name: "e", Labels: map[string]string{LabelSecretType: "repository"}, Data: map[string][]byte{"name": []byte("repo")}},
	})
	for _, c := range []struct{ destination, id, want string }{
		{`server: "https://prod:6443"`, "https://prod:6443", ""},
		{`server: "https://prod:6443/"`, "https://prod:6443", ""},
		{`name: prod`, "https://prod:6443", ""},
		{`name: in-cluster`, "", ""},
		{`server: "https://kubernetes.default.svc"`, "", ""},
		{`name: home`, "", ""},
		{`name: prod, server: "https://prod:6443"`, "", "not both"},
		{`namespace: x`, "", "must name a server or a name"},
		{`name: gone`, "", "there are no clusters with this name: gone"},
		{`name: twin`, "", "there are 2 clusters with the same name: [https://one:6443 https://two:6443]"},
		{`server: "https://gone"`, "", `cluster "https://gone" is not registered`},
		{`name: broken`, "", "server is not a URL"},
		{`name: empty`, "", "it has no server"},
		{`name: repo`, "", "there are no clusters with this name: repo"},
	} {
		got, failure := Destination(parse(t, `{kind: Application, metadata: {name: a}, spec: {destination: {`+c.destination+`}}}`), clusters)
		if c.want == "" && (failure != nil || got.ID != c.id) || c.want != "" && (failure == nil || !strings.Contains(failure.Error(), c.want)) {
			t.Errorf("%s: %q %v, want %q %q", c.destination, got.ID, failure, c.id, c.want)
		}
	}
}

// What a project permits counts for the cluster that is meant, however it is
// named, and what a cluster permits counts besides.
func TestProjectsAndClusters(t *testing.T) {
	clusters := Clusters([]SecretData{
		clusterSecret("a", map[string]string{"name": "prod-1", "server": "https://prod:6443"}),
		clusterSecret("b", map[string]string{"name": "own", "server": "https://own:6443", "project": "p"}),
		clusterSecret("c", map[string]string{"name": "narrow", "server": "https://narrow:6443", "namespaces": "shop"}),
		clusterSecret("d", map[string]string{"name": "in-cluster", "server": "https://false:6443"}),
	})
	for _, c := range []struct{ destination, project, want string }{
		{`server: "https://prod:6443"`, `destinations: [{name: "prod-*", namespace: "*"}]`, ""},
		{`name: prod-1`, `destinations: [{server: "https://prod:*", namespace: "*"}]`, ""},
		{`name: prod-1`, `destinations: [{name: "*", namespace: "*"}, {server: "!https://prod:6443", namespace: "*"}]`, "do not match"},
		{`name: own`, `destinations: []`, ""},
		{`name: own`, `permitOnlyProjectScopedClusters: true, destinations: [{name: "*", namespace: "*"}]`, ""},
		{`name: prod-1`, `permitOnlyProjectScopedClusters: true, destinations: [{name: "*", namespace: "*"}]`, "not a cluster of project 'p'"},
		{`name: in-cluster`, `destinations: [{server: "https://kubernetes.default.svc", namespace: "*"}]`, "do not match"},
	} {
		u := parse(t, `{kind: Application, metadata: {name: a, namespace: argocd}, spec: {project: p, source: {repoURL: "https://r"}, destination: {`+c.destination+`, namespace: shop}}}`)
		project := parse(t, `{kind: AppProject, metadata: {name: p}, spec: {sourceRepos: ["*"], `+c.project+`}}`)
		to, failure := Destination(u, clusters)
		if failure != nil {
			t.Fatal(failure)
		}
		failure = CheckProject(u, project, to, Options{})
		if c.want == "" && failure != nil || c.want != "" && (failure == nil || !strings.Contains(failure.Error(), c.want)) {
			t.Errorf("%s, %s: %v, want %q", c.destination, c.project, failure, c.want)
		}
	}
	narrow := clusters[2]
	for ref, want := range map[object.Ref]bool{
		{Kind: "ConfigMap", Namespace: "shop", Name: "x"}:  true,
		{Kind: "ConfigMap", Namespace: "other", Name: "x"}: false,
		{Kind: "Namespace", Name: "shop"}:                  false,
	} {
		if failure := narrow.Permits(ref, ref.Namespace != ""); (failure == nil) != want {
			t.Errorf("%s: %v", ref, failure)
		}
	}
}

// An Application whose cluster is not known stays where it was, and deletes
// nothing.
func TestPlace(t *testing.T) {
	u := parse(t, `{kind: Application, metadata: {name: a}, spec: {destination: {name: gone}}, status: {plumb: {cluster: "https://was", left: [{objects: ["ns_x__ConfigMap v1 d o"]}]}}}`)
	spec := app.Spec{Target: app.Target{Cluster: "gone"}, Deletion: &app.Deletion{Prune: true}}
	Place(&spec, u, nil)
	if spec.Target.Cluster != "https://was" || spec.RecordedAt != "https://was" || spec.Invalid == nil || spec.Deletion.Prune || len(spec.Left) != 1 {
		t.Errorf("%+v", spec)
	}
	spec = app.Spec{}
	Place(&spec, u, Clusters([]SecretData{clusterSecret("s", map[string]string{"name": "gone", "server": "https://new"})}))
	if spec.Target.Cluster != "https://new" || spec.RecordedAt != "https://was" || spec.Invalid != nil {
		t.Errorf("%+v", spec)
	}
}

// What was recorded of one cluster is not taken for what is in another.
func TestMoveForgetsWhatIsElsewhere(t *testing.T) {
	u := parse(t, `{kind: Application, metadata: {name: a}, spec: {destination: {name: in-cluster}}, status: {
		resources: [{kind: ConfigMap, namespace: ns, name: x, version: v1, status: Synced}], plumb: {cluster: "https://was", objects: ["ns_x__ConfigMap v1 d o"]}}}`)
	r := app.Report{Phase: app.PhaseDone, Sync: app.Unknown, Failure: app.Fail(app.StageObserve, app.ReasonClusterDown, "away"),
		Left: []app.Left{{Cluster: "https://was", Records: recorded(u), More: 7}}}
	applyMergePatch(u.Object, EncodeApplication(r, u, Options{}))
	at, left, known := recordedAt(u)
	if at != "" || !known || len(left) != 1 || len(left[0].Records) != 1 || left[0].More != 7 || len(recorded(u)) != 0 {
		t.Errorf("at %q, left %v, recorded %v", at, left, recorded(u))
	}
}
