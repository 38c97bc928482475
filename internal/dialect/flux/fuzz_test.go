package flux

import (
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
)

// Whatever JSON object comes in, it is decoded, and reported on over
// whatever status it holds, without a panic.
func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/decode/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		data, err := yaml.YAMLToJSON(archive.Files[0].Data)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"kind": "Kustomization", "spec": null, "status": {"conditions": [1, {"type": "Ready"}], "plumb": [], "history": {}}}`))
	f.Add([]byte(`{"kind": "GitRepository", "spec": [], "metadata": {"annotations": []}, "status": {"plumb": {"warnings": "x"}, "artifact": 1}}`))
	f.Add([]byte(`{"kind": "Kustomization", "spec": {"interval": -1, "sourceRef": [], "images": {"a": 1}, "selfHeal": {}}, "status": {"history": [1, null]}}`))
	f.Add([]byte(`{"kind": "HelmRelease", "spec": {"chart": {"spec": []}, "values": 1}, "status": {"history": [1, {"testHooks": {"a": 1}}, {"version": "x"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		u := &unstructured.Unstructured{}
		if u.UnmarshalJSON(data) != nil {
			return
		}
		status := section(u.Object, "status")
		source, warnings, failure := DecodeGitRepository(u)
		for _, use := range gitRepositorySecrets(u) {
			use.Into(&source, map[string][]byte{"identity": data})
		}
		artifact, _, refused := DecodeOCIRepository(u)
		for _, use := range ociRepositorySecrets(u) {
			use.Into(&artifact, map[string][]byte{".dockerconfigjson": data, "address": data, "x.pub": data})
		}
		found := app.SourceReport{Of: artifact, Failure: refused, Revision: artifact.Recorded}
		EncodeOCIRepository(found, nil, status)
		OCIRepositoryEvents(found, nil, status)
		for _, k := range SourceKinds() {
			source, warnings, failure := k.Decode(u)
			for _, use := range k.Secrets(u) {
				use.Into(&source, map[string][]byte{"username": data, "password": data, ".dockerconfigjson": data, "ca.crt": data})
			}
			r := app.SourceReport{Of: source, Failure: failure, Revision: source.Recorded, At: time.Unix(0, 0)}
			k.Encode(r, warnings, status)
			k.Events(r, warnings, status)
		}
		spec := DecodeKustomization(u)
		look := app.SourceReport{ID: source.ID, Of: source, Failure: failure, At: time.Unix(0, 0), Revision: ParseRevision(source.URL)}
		EncodeGitRepository(look, warnings, status)
		GitRepositoryEvents(look, warnings, status)
		look.Failure, look.Revision.Parts = nil, []app.Revision{look.Revision}
		EncodeGitRepository(look, warnings, status)
		GitRepositoryEvents(look, warnings, status)
		for _, phase := range []app.Phase{app.PhaseRunning, app.PhaseDone} {
			r := app.Report{App: spec.ID, Phase: phase, Failure: spec.Invalid, Revision: app.Revision{Commit: "c"}, Records: spec.Recorded}
			EncodeKustomization(r, spec, status)
			KustomizationEvents(r, spec, status)
			r.Failure, r.Attempt = nil, &app.SyncAttempt{}
			EncodeKustomization(r, spec, status)
		}
		released := DecodeHelmRelease(u)
		HelmChartOf(u)
		HelmChartOwner(u)
		ViewHelmRelease(u)
		for _, action := range []app.ReleaseAction{app.ReleaseInstall, app.ReleaseTest, app.ReleaseRollback, "other"} {
			r := app.Report{App: released.ID, Phase: app.PhaseDone, Failure: released.Invalid, Records: released.Recorded,
				Release: &app.ReleaseReport{Memory: released.Release.Memory, Running: action, Results: []app.ReleaseResult{{Action: action, Failure: released.Invalid}}}}
			HelmReleaseEvents(r, released, status)
			EncodeHelmRelease(r, released, "a/b", status)
			r.Phase = app.PhaseRunning
			EncodeHelmRelease(r, released, "", status)
		}
	})
}
