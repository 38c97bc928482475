package flux

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"

	"plumb.dev/plumb/internal/app"
)

// ociLooks is the life of an OCIRepository.
func ociLooks() []sourceLook {
	ignore := "*.md"
	plain := app.Source{URL: "oci://ghcr.io/team/app", OCI: &app.OCIArtifact{}}
	chosen := app.Source{URL: plain.URL, Ignore: &ignore, OCI: &app.OCIArtifact{MediaType: "text/plain", Copy: true, Verify: &app.OCIVerification{}}}
	one := app.Revision{Commit: strings.Repeat("1", 64), Ref: "latest", Metadata: map[string]string{
		originSource: "https://github.com/team/app", originRevision: "main@sha1:0123"}}
	two := app.Revision{Commit: strings.Repeat("2", 64), Ref: "v1.0.0", Verified: "verified signature of revision v1.0.0@sha256:2"}
	pinned := app.Revision{Commit: strings.Repeat("3", 64)}
	none := app.Revision{}
	return []sourceLook{
		{"found", sourceAt(0, plain, one, nil), status.CurrentStatus},
		{"nothing new", sourceAt(1, plain, one, nil), status.CurrentStatus},
		{"pull failed", sourceAt(2, plain, one, fetchFailure(app.ReasonRefNotFound, "failed to determine artifact digest: 'oci://x:y'")), status.InProgressStatus},
		{"layer failed", sourceAt(3, plain, one, fetchFailure(app.ReasonBadArtifact, "failed to find layer")), status.InProgressStatus},
		{"credentials", sourceAt(4, plain, one, fetchFailure(app.ReasonAuthentication, "failed to get credential: none")), status.InProgressStatus},
		{"unverified", sourceAt(5, chosen, one, fetchFailure(app.ReasonUnverified, "failed to verify the signature using provider 'cosign': no signatures found")), status.InProgressStatus},
		{"verified", sourceAt(6, chosen, two, nil), status.CurrentStatus},
		{"another is not", sourceAt(7, chosen, two, fetchFailure(app.ReasonUnverified, "no matching signatures")), status.InProgressStatus},
		{"by digest", sourceAt(8, plain, pinned, nil), status.CurrentStatus},
		{"wrong address", sourceAt(9, plain, none, fetchFailure(app.ReasonInvalidSpec, "URL validation failed")), status.FailedStatus},
		{"unsupported", sourceAt(10, plain, none, app.Fail(app.StageSpec, app.ReasonUnsupported, "keyless")), status.FailedStatus},
	}
}

func TestEncodeOCIRepository(t *testing.T) { checkLooks(t, KindOCIRepository, ociLooks()) }

func TestOCIRepositorySecrets(t *testing.T) {
	u := parse(t, []byte(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: OCIRepository
metadata: {name: app, namespace: team}
spec:
  url: oci://ghcr.io/team/app
  secretRef: {name: login}
  serviceAccountName: puller
  certSecretRef: {name: certs}
  proxySecretRef: {name: proxy}
  verify: {provider: cosign, secretRef: {name: keys}}
`))
	take := func(secrets map[string]map[string][]byte) app.Source {
		source, _, failure := DecodeOCIRepository(u)
		if failure != nil {
			t.Fatal(failure)
		}
		if source.OCI.Verify == nil || source.OCI.Verify.Missing == "" {
			t.Error("before the keys are read, something would pass")
		}
		for _, use := range ociRepositorySecrets(u) {
			if use.ServiceAccount != (use.Name == "puller") {
				t.Errorf("%+v", use)
			}
			use.Into(&source, secrets[use.Name])
			if source.Auth.Err != nil {
				break
			}
		}
		return source
	}
	good := func() map[string]map[string][]byte {
		return map[string]map[string][]byte{
			"login":  {".dockerconfigjson": []byte(`{"auths":{"ghcr.io":{"auth":"first"}}}`)},
			"puller": {".dockerconfigjson": []byte(`{"auths":{"ghcr.io":{"auth":"second"},"quay.io":{"auth":"third"}}}`)},
			"certs":  {"ca.crt": []byte("authority")},
			"proxy":  {"address": []byte("http://proxy:3128")},
			"keys":   {"cosign.pub": []byte("key")},
		}
	}
	got := take(good())
	if got.Auth.Err != nil || string(got.Auth.CA) != "authority" || got.Auth.Proxy.URL != "http://proxy:3128" {
		t.Errorf("auth %+v, %v", got.Auth.Proxy, got.Auth.Err)
	}
	if v := got.OCI.Verify; string(v.Files["cosign.pub"]) != "key" || v.Missing != "" {
		t.Errorf("verify %+v", v)
	}
	var config struct {
		Auths map[string]struct{ Auth string }
	}
	if err := json.Unmarshal(got.OCI.Keychain, &config); err != nil || config.Auths["ghcr.io"].Auth != "first" || config.Auths["quay.io"].Auth != "third" {
		t.Errorf("keychain %s, %v", got.OCI.Keychain, err)
	}
	for says, change := range map[string]func(map[string]map[string][]byte){
		"lacks .dockerconfigjson": func(s map[string]map[string][]byte) { s["login"] = map[string][]byte{"username": nil} },
		"no Docker configuration": func(s map[string]map[string][]byte) { s["login"][".dockerconfigjson"] = []byte("s3cret") },
		"together":                func(s map[string]map[string][]byte) { s["certs"]["tls.crt"] = []byte("x") },
		"neither ca.crt":          func(s map[string]map[string][]byte) { s["certs"] = nil },
		"proxy: ":                 func(s map[string]map[string][]byte) { s["proxy"] = nil },
	} {
		secrets := good()
		change(secrets)
		if err := take(secrets).Auth.Err; err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// What an artifact was made of is told with what was delivered of it.
func TestOriginRevision(t *testing.T) {
	rev := app.Revision{Commit: strings.Repeat("1", 64), Ref: "latest", Metadata: map[string]string{originRevision: "main@sha1:0123"}}
	u := parse(t, []byte("{kind: Kustomization, apiVersion: kustomize.toolkit.fluxcd.io/v1, metadata: {name: app, namespace: team}, spec: {interval: 1h, prune: true, sourceRef: {kind: OCIRepository, name: app}}}"))
	spec := DecodeKustomization(u)
	report := app.Report{App: spec.ID, Phase: app.PhaseDone, Generation: 1, Revision: rev, Applied: rev, At: noon,
		Attempt: &app.SyncAttempt{Attempt: app.Attempt{Revision: rev.Commit, Succeeded: true}}}
	status := EncodeKustomization(report, spec, never())
	if got := text(status, "lastAppliedOriginRevision"); got != "main@sha1:0123" {
		t.Errorf("origin %q", got)
	}
	if got := text(list(status, "history")[0].(map[string]any), "metadata", "originRevision"); got != "main@sha1:0123" {
		t.Errorf("history %v", status["history"])
	}
	for _, e := range KustomizationEvents(report, spec, never()) {
		if e.Annotations[KustomizeGroup+"/originRevision"] != "main@sha1:0123" {
			t.Errorf("event %+v", e)
		}
	}
	report.Revision = app.Revision{Commit: strings.Repeat("2", 64), Ref: "latest"}
	report.Failure = app.Fail(app.StageApply, app.ReasonForbidden, "no")
	if got := text(EncodeKustomization(report, spec, status), "lastAppliedOriginRevision"); got != "main@sha1:0123" {
		t.Errorf("of what was not delivered: %q", got)
	}
	report.Applied, report.Failure = report.Revision, nil
	if got := text(EncodeKustomization(report, spec, status), "lastAppliedOriginRevision"); got != "" {
		t.Errorf("of what has none: %q", got)
	}
}
