package flux

import (
	"reflect"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"

	"plumb.dev/plumb/internal/app"
)

func TestEncodeBucket(t *testing.T) {
	ignore := "*.md"
	plain := app.Source{URL: "https://minio.example.com", Bucket: &app.Bucket{Name: "config"}}
	ignoring := plain
	ignoring.Ignore = &ignore
	one, two := app.Revision{Commit: strings.Repeat("1", 64)}, app.Revision{Commit: strings.Repeat("2", 64)}
	at := func(hours int, of app.Source, rev app.Revision, f *app.Failure) app.SourceReport {
		r := sourceAt(hours, of, rev, f)
		if f == nil {
			path := "bucket/team/config/"
			r.Artifact = &app.Artifact{URL: "http://plumb.example./" + path + rev.Commit + ".tar.gz", Path: path + rev.Commit + ".tar.gz",
				Latest: "http://plumb.example./" + path + "latest.tar.gz", Digest: "sha256:" + rev.Commit[:4], Size: 4}
		}
		return r
	}
	fail := func(stage app.Stage, reason app.Reason, message string) *app.Failure {
		return app.Fail(stage, reason, "%s", message)
	}
	checkLooks(t, KindBucket, []sourceLook{
		{"unsupported", at(0, plain, app.Revision{}, fail(app.StageSpec, app.ReasonUnsupported, "spec.sts is not supported")), status.FailedStatus},
		{"no secret", at(1, plain, app.Revision{}, fail(app.StageFetch, app.ReasonAuthentication, "failed to get secret 'team/keys'")), status.InProgressStatus},
		{"no bucket", at(2, plain, app.Revision{}, fail(app.StageFetch, app.ReasonRepoNotFound, "bucket 'config' not found")), status.InProgressStatus},
		{"found", at(3, plain, one, nil), status.CurrentStatus},
		{"nothing new", at(4, plain, one, nil), status.CurrentStatus},
		{"away", at(5, plain, one, fail(app.StageFetch, app.ReasonUnreachable, "no route to host")), status.InProgressStatus},
		{"new", at(6, ignoring, two, nil), status.CurrentStatus},
		{"cannot be packed", at(7, ignoring, two, fail(app.StageArchive, app.ReasonInternal, "no space left on device")), status.InProgressStatus},
		{"bad endpoint", at(8, plain, two, fail(app.StageFetch, app.ReasonInvalidSpec, "the endpoint is not the address of a host")), status.FailedStatus},
	})
}

func TestBucketSecrets(t *testing.T) {
	secure := "secretRef: {name: keys}, certSecretRef: {name: certs}, proxySecretRef: {name: proxy}"
	take := func(spec string, secrets map[string]map[string][]byte) app.Source {
		u := parse(t, []byte("apiVersion: source.toolkit.fluxcd.io/v1\nkind: Bucket\nmetadata: {name: app, namespace: team}\nspec: {bucketName: a, endpoint: b, "+spec+"}"))
		source, _, failure := DecodeBucket(u)
		if failure != nil {
			t.Fatal(failure)
		}
		for _, use := range bucketSecrets(u) {
			if use.Into(&source, secrets[use.Name]); source.Auth.Err != nil {
				break
			}
		}
		return source
	}
	good := func() map[string]map[string][]byte {
		return map[string]map[string][]byte{
			"keys":  {"accesskey": []byte("id\n"), "secretkey": []byte("s3cret\n")},
			"certs": {"ca.crt": []byte("authority")},
			"proxy": {"address": []byte("http://proxy:3128")},
		}
	}
	got := take(secure, good())
	if a := got.Auth; a.Err != nil || a.Username != "id" || a.Password != "s3cret" || string(a.CA) != "authority" || a.Proxy.URL != "http://proxy:3128" {
		t.Errorf("got %+v, %v", got.Auth.Proxy, got.Auth.Err)
	}
	for says, c := range map[string]struct {
		spec   string
		change func(map[string]map[string][]byte)
	}{
		"required fields 'accesskey' and 'secretkey'": {secure, func(s map[string]map[string][]byte) { delete(s["keys"], "secretkey") }},
		"together":        {secure, func(s map[string]map[string][]byte) { s["certs"]["tls.crt"] = []byte("x") }},
		"there is no TLS": {"insecure: true, certSecretRef: {name: certs}", func(map[string]map[string][]byte) {}},
		"proxy: ":         {secure, func(s map[string]map[string][]byte) { s["proxy"] = nil }},
	} {
		secrets := good()
		c.change(secrets)
		if err := take(c.spec, secrets).Auth.Err; err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}

// What someone else writes stays as it is.
func TestForeignStatusIsKept(t *testing.T) {
	old := map[string]any{"artifact": map[string]any{"revision": "x"}}
	for _, k := range SourceKinds() {
		if !Foreign(k.Kind) {
			continue
		}
		for _, f := range []*app.Failure{nil, app.Fail(app.StageFetch, app.ReasonUnreachable, "away")} {
			r := app.SourceReport{Revision: app.Revision{Commit: "1"}, Failure: f, Handled: "t"}
			if got := k.Encode(r, nil, old); !reflect.DeepEqual(got, old) {
				t.Errorf("%s: %v", k.Kind, got)
			}
			if told := len(k.Events(r, nil, old)) > 0; told != (f != nil) {
				t.Errorf("%s: event %v for %v", k.Kind, told, f)
			}
		}
	}
}
