package helmchart

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/sandbox/ociserver"
	"plumb.dev/plumb/internal/source/oci"
)

// Dependencies come from a registry, by TLS and without credentials.
func TestDependenciesOfRegistries(t *testing.T) {
	registry := ociserver.New()
	server := httptest.NewTLSServer(registry)
	defer server.Close()
	at := ociserver.Host(server.URL)
	push := ociserver.Client{Transport: server.Client().Transport}
	for tag, name := range map[string]string{"7.0.0": "redis", "7.1.0_build.5": "redis", "8.0.0": "redis", "9.0.0": "mysql"} {
		data := archive(t, entry{name: name + "/Chart.yaml", data: "apiVersion: v2\nname: " + name + "\nversion: " + strings.ReplaceAll(tag, "_", "+") + "\n"})
		if _, err := push.Push(t.Context(), at+"/charts/redis:"+tag, ociserver.Artifact{
			Config: ociserver.HelmConfig, Layers: []ociserver.Layer{{Type: archiveType, Data: data}}}); err != nil {
			t.Fatal(err)
		}
	}
	chart := func(version, address string, transport *http.Transport) *Upstream {
		u := fromFiles(mapped(source(nil)), app.HelmChart{Chart: "charts/web"})
		files := source(nil)
		files["charts/web/Chart.yaml"] += "dependencies:\n- {name: redis, version: " + version + ", repository: 'oci://" + address + "'}\n"
		u.Files = mapped(files)
		u.Registries = oci.NewClient(oci.Options{Transport: func(auth app.Credentials) (*http.Transport, error) {
			if auth.Username != "" {
				t.Error("credentials are sent")
			}
			return transport, nil
		}})
		return u
	}
	trusting := server.Client().Transport.(*http.Transport)
	for version, want := range map[string]string{"7.x": "7.1.0+build.5", "7.0.0": "7.0.0", "'*'": "9.0.0"} {
		u := chart(version, at+"/charts", trusting)
		rev, err := u.Find(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		files, err := u.make(t.Context(), rev)
		if want == "9.0.0" { // it is another chart
			if err == nil || !strings.Contains(err.Error(), `the archive holds the chart "mysql"`) {
				t.Errorf("another chart: %v", err)
			}
			continue
		}
		if got := string(files["charts/redis/Chart.yaml"]); err != nil || !strings.Contains(got, "version: "+want) {
			t.Errorf("%s: %q, %v", version, got, err)
		}
	}
	plain := httptest.NewServer(registry)
	defer plain.Close()
	for name, c := range map[string]struct {
		u    *Upstream
		want string
	}{
		"none in the range": {chart("6.x", at+"/charts", trusting), "could not locate a version matching provided version string 6.x"},
		"no such chart":     {chart("7.x", at+"/elsewhere", trusting), "elsewhere"},
		"no authority":      {chart("7.x", at+"/charts", &http.Transport{}), "not trusted"},
		"without TLS":       {chart("7.x", ociserver.Host(plain.URL)+"/charts", trusting), "TLS"},
	} {
		registry.Requests()
		rev, err := c.u.Find(t.Context())
		if err != nil {
			t.Fatal(name, err)
		}
		_, err = c.u.make(t.Context(), rev)
		if f := app.AsFailure(err, ""); f == nil || f.Reason != app.ReasonDependency || !strings.Contains(f.Error(), "dependency redis") || !strings.Contains(f.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if asked := registry.Requests(); name == "without TLS" && len(asked) > 0 {
			t.Errorf("asked without TLS: %q", asked)
		}
	}
	registry.Private("alice", "letmein")
	u := chart("7.x", at+"/charts", trusting)
	rev, err := u.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.make(t.Context(), rev); app.AsFailure(err, "").Reason != app.ReasonDependency {
		t.Errorf("a registry that asks for a password: %v", err)
	}
}
