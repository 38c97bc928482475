package flux

import (
	"reflect"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"

	"plumb.dev/plumb/internal/app"
)

// helmRepositoryLooks is the life of a HelmRepository.
func helmRepositoryLooks() []sourceLook {
	of := app.Source{URL: "https://me:secret@charts.example.org/stable", HelmRepository: &app.HelmRepository{}}
	one, two := app.Revision{Commit: strings.Repeat("1", 64)}, app.Revision{Commit: strings.Repeat("2", 64)}
	return []sourceLook{
		{"found", sourceAt(0, of, one, nil), status.CurrentStatus},
		{"nothing new", sourceAt(1, of, one, nil), status.CurrentStatus},
		{"away", sourceAt(2, of, one, fetchFailure(app.ReasonUnreachable, "no route to host")), status.InProgressStatus},
		{"no index", sourceAt(3, of, one, fetchFailure(app.ReasonCorrupt, "index.yaml: it is a web page")), status.InProgressStatus},
		{"credentials", sourceAt(4, of, one, fetchFailure(app.ReasonAuthentication, "HTTP 401")), status.InProgressStatus},
		{"another", sourceAt(5, of, two, nil), status.CurrentStatus},
		{"wrong address", sourceAt(6, of, two, fetchFailure(app.ReasonInvalidSpec, "spec.url names no host")), status.FailedStatus},
		{"unsupported", sourceAt(7, of, two, app.Fail(app.StageSpec, app.ReasonUnsupported, "spec.provider")), status.FailedStatus},
	}
}

// helmChartLooks is the life of a HelmChart.
func helmChartLooks() []sourceLook {
	of := app.Source{HelmChart: &app.HelmChart{Chart: "web"}}
	index := app.Revision{Commit: strings.Repeat("a", 64)}
	rev := func(digit, version string, chart app.ChartRevision) app.Revision {
		chart.Name = "web"
		return app.Revision{Commit: strings.Repeat(digit, 64), Ref: version, Chart: &chart}
	}
	one := rev("1", "6.0.3", app.ChartRevision{Source: index})
	moved := rev("1", "6.0.3", app.ChartRevision{Source: app.Revision{Commit: strings.Repeat("b", 64)}})
	replaced := rev("3", "6.0.3", app.ChartRevision{Source: index})
	merged := rev("4", "6.0.3+2", app.ChartRevision{Source: index, Packed: true, ValuesFiles: []string{"values.yaml", "prod.yaml"}})
	git := rev("5", "1.0.0", app.ChartRevision{Source: rev1, Packed: true})
	signed := rev("6", "6.0.4", app.ChartRevision{})
	signed.Verified = "verified signature of version 6.0.4"
	return []sourceLook{
		{"found", sourceAt(0, of, one, nil), status.CurrentStatus},
		{"the index moved", sourceAt(1, of, moved, nil), status.CurrentStatus},
		{"replaced", sourceAt(2, of, replaced, nil), status.CurrentStatus},
		{"values files", sourceAt(3, of, merged, nil), status.CurrentStatus},
		{"no values file", sourceAt(4, of, merged, fetchFailure(app.ReasonPathNotFound, "no values file found at path 'x'")), status.FailedStatus},
		{"no such version", sourceAt(5, of, merged, fetchFailure(app.ReasonRefNotFound, "no 'web' chart with version matching '9.x' found")), status.FailedStatus},
		{"pull failed", sourceAt(6, of, merged, fetchFailure(app.ReasonCorrupt, "its digest is another")), status.InProgressStatus},
		{"no source", sourceAt(7, of, merged, fetchFailure(app.ReasonSourceNotFound, "source HelmRepository/team/x not found")), status.InProgressStatus},
		{"source not ready", sourceAt(8, of, merged, fetchFailure(app.ReasonSourceNotReady, "artifact not found")), status.InProgressStatus},
		{"dependency", sourceAt(9, of, merged, fetchFailure(app.ReasonDependency, "dependency redis: away")), status.InProgressStatus},
		{"packaging", sourceAt(10, of, merged, fetchFailure(app.ReasonBuild, "a file is too large")), status.InProgressStatus},
		{"of Git", sourceAt(11, of, git, nil), status.CurrentStatus},
		{"unverified", sourceAt(12, of, git, fetchFailure(app.ReasonUnverified, "no signatures found")), status.InProgressStatus},
		{"verified", sourceAt(13, of, signed, nil), status.CurrentStatus},
		{"invalid", sourceAt(14, of, signed, app.Fail(app.StageSpec, app.ReasonInvalidSpec, "spec.chart is missing")), status.FailedStatus},
	}
}

func TestEncodeHelmRepository(t *testing.T) {
	checkLooks(t, KindHelmRepository, helmRepositoryLooks())
}

func TestEncodeHelmChart(t *testing.T) {
	checkLooks(t, KindHelmChart, helmChartLooks())
}

// What a status tells of is what the next process begins with.
func TestChartIsRecorded(t *testing.T) {
	k := kindOf(t, KindHelmChart)
	want := helmChartLooks()[3].report.Revision
	status := k.Encode(helmChartLooks()[3].report, nil, never())
	got := recordedChart(status)
	want.Chart.Packed = false // only matters when it is told of
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v %+v, want %+v %+v", got, got.Chart, want, want.Chart)
	}
	for _, artifact := range []map[string]any{nil, {"revision": "1.0.0"}, {"revision": "1.0.0", "digest": "sha256:xyz"}, {"revision": "1.0.0", "digest": "sha512:" + strings.Repeat("a", 64)}} {
		if got := recordedChart(map[string]any{"artifact": artifact}); !got.IsZero() {
			t.Errorf("%v is %+v", artifact, got)
		}
	}
}

func TestHelmRepositorySecrets(t *testing.T) {
	u := parse(t, []byte(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {name: charts, namespace: team}
spec: {url: "https://h/c", secretRef: {name: login}, certSecretRef: {name: certs}}
`))
	take := func(login, certs map[string][]byte) app.Source {
		source, _, failure := DecodeHelmRepository(u)
		if failure != nil {
			t.Fatal(failure)
		}
		uses := helmRepositorySecrets(u)
		if len(uses) != 2 || uses[0].Name != "login" || uses[1].Name != "certs" {
			t.Fatalf("%+v", uses)
		}
		if uses[0].Into(&source, login); source.Auth.Err == nil {
			uses[1].Into(&source, certs)
		}
		return source
	}
	login := map[string][]byte{"username": []byte("alice\n"), "password": []byte("pw")}
	got := take(login, map[string][]byte{"ca.crt": []byte("ca"), "tls.crt": []byte("c"), "tls.key": []byte("k")}).Auth
	if got.Err != nil || got.Username != "alice" || got.Password != "pw" || string(got.CA) != "ca" || string(got.ClientKey) != "k" {
		t.Errorf("got %q %v", got.Username, got.Err)
	}
	for name, got := range map[string]app.Source{
		"half a pair":      take(login, map[string][]byte{"tls.crt": []byte("c")}),
		"nothing":          take(login, map[string][]byte{}),
		"password alone":   take(map[string][]byte{"password": []byte("pw")}, nil),
		"user without any": take(map[string][]byte{"username": []byte("alice")}, nil),
	} {
		if got.Auth.Err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	u.Object["spec"].(map[string]any)["type"] = "oci"
	u.Object["spec"].(map[string]any)["url"] = "oci://h/c"
	oci := take(map[string][]byte{".dockerconfigjson": []byte(`{"auths":{}}`)}, map[string][]byte{"ca.crt": []byte("ca")})
	if !oci.Static() || string(oci.HelmRepository.Keychain) == "" || oci.Auth.Err != nil || string(oci.Auth.CA) != "ca" {
		t.Errorf("got %+v", oci.HelmRepository)
	}
}
