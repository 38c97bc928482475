package flux

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

var (
	noon = time.Date(2024, 5, 1, 12, 0, 0, 0, time.UTC)

	rev1 = app.Revision{Ref: "main", Commit: strings.Repeat("1", 40), Subject: "First"}
	rev2 = app.Revision{Ref: "main", Commit: strings.Repeat("2", 40), Subject: "Second"}

	api    = object.Ref{Group: "apps", Kind: "Deployment", Namespace: "web", Name: "api"}
	reader = object.Ref{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "system:reader"}
	space  = object.Ref{Kind: "Namespace", Name: "web"}
)

// never is a status as the API server first makes it.
func never() map[string]any { return map[string]any{"observedGeneration": int64(-1)} }

func records(refs ...object.Ref) []app.Record {
	var out []app.Record
	for i, r := range refs {
		out = append(out, app.Record{Ref: r, Version: "v1", Desired: fmt.Sprintf("d%d", i), Owned: fmt.Sprintf("o%d", i)})
	}
	return out
}

// step is one report in the life of a resource.
type step struct {
	name   string
	report app.Report
	wait   bool
	// kstatus is what a client makes of the status.
	kstatus status.Status
}

func done(after time.Duration, rev app.Revision) app.Report {
	return app.Report{
		Generation: 1, Phase: app.PhaseDone, Started: noon.Add(after), At: noon.Add(after + 1500*time.Millisecond),
		Revision: rev, Applied: rev,
	}
}

func failed(after time.Duration, rev app.Revision, f *app.Failure) app.Report {
	r := done(after, rev)
	r.Applied, r.Failure = app.Revision{}, f
	return r
}

func runningAt(after time.Duration, rev app.Revision, stage app.Stage) app.Report {
	r := done(after, rev)
	r.Applied, r.Phase, r.Stage = app.Revision{}, app.PhaseRunning, stage
	return r
}

func with(r app.Report, change func(*app.Report)) app.Report {
	change(&r)
	return r
}

// lives are sequences of reports; each status is made from the one before.
func lives() map[string][]step {
	synced := func(r *app.Report) {
		r.Records = records(space, api, reader)
		r.Attempt = &app.SyncAttempt{Attempt: app.Attempt{
			Revision: r.Revision.Commit, SpecHash: "h", Started: r.Started, Finished: r.At, Succeeded: true,
		}}
		r.Objects = []app.ObjectReport{
			{Ref: space, Action: app.ActionUnchanged}, {Ref: api, Action: app.ActionCreated}, {Ref: reader, Action: app.ActionConfigured},
		}
	}
	quiet := func(r *app.Report) { r.Records = records(space, api, reader) }
	asked := func(token string) func(*app.Report) { return func(r *app.Report) { r.Handled = token } }
	both := func(fs ...func(*app.Report)) func(*app.Report) {
		return func(r *app.Report) {
			for _, f := range fs {
				f(r)
			}
		}
	}
	fail := func(stage app.Stage, reason app.Reason, text string) *app.Failure {
		return app.Fail(stage, reason, "%s", text)
	}
	const (
		working = status.InProgressStatus
		current = status.CurrentStatus
		broken  = status.FailedStatus
	)
	return map[string][]step{
		"success": {
			{"fetching", runningAt(0, rev1, app.StageFetch), false, working},
			{"applying", runningAt(0, rev1, app.StageApply), false, working},
			{"done", with(done(0, rev1), both(synced, asked("t1"))), false, current},
			{"looked again", with(done(time.Hour, rev1), both(quiet, asked("t1"))), false, current},
			{"drift", with(done(2*time.Hour, rev1), both(synced, func(r *app.Report) {
				r.Attempt.Heals = 1
				r.Objects = []app.ObjectReport{{Ref: api, Action: app.ActionConfigured}}
				r.Drift = []app.Drift{
					{Ref: api, At: noon.Add(2 * time.Hour), By: "kubectl", Subresource: "scale", Fields: []string{".spec.replicas"}, Restored: true, RestoredAt: r.At},
					{Ref: reader, At: noon.Add(2 * time.Hour), Deleted: true},
				}
			})), false, current},
		},
		"wait": {
			{"waiting", runningAt(0, rev1, app.StageHealth), true, working},
			{"timed out", with(failed(0, rev1, fail(app.StageHealth, app.ReasonTimeout, "timeout waiting for: [Deployment/web/api status: 'InProgress']")), synced), true, working},
			{"recovered", with(done(time.Minute, rev1), both(synced, func(r *app.Report) { r.WaitedForHealth = true })), true, current},
			{"still healthy", with(done(time.Hour, rev1), both(quiet, func(r *app.Report) { r.WaitedForHealth = true })), true, current},
			{"overtaken", with(failed(2*time.Hour, rev2, fail(app.StageHealth, app.ReasonSuperseded, "canceled by a new revision")), quiet), true, working},
			{"no longer waited for", with(done(3*time.Hour, rev2), synced), false, current},
		},
		"failures": {
			{"no source", failed(0, app.Revision{}, fail(app.StageFetch, app.ReasonSourceNotFound, "GitRepository team/repo not found")), false, working},
			{"dependency", with(failed(time.Minute, rev1, fail(app.StageDepends, app.ReasonDependency, "dependency 'team/infra' is not ready")),
				func(r *app.Report) { r.RetryAt = r.At.Add(30 * time.Second) }), false, working},
			{"dependency still", failed(2*time.Minute, rev1, fail(app.StageDepends, app.ReasonDependency, "dependency 'team/infra' is not ready")), false, working},
			{"no path", failed(3*time.Minute, rev1, fail(app.StageRender, app.ReasonPathNotFound, "kustomization path not found: deploy").WithHint("the tree has: apps, infra")), false, working},
			{"build", failed(4*time.Minute, rev1, fail(app.StageRender, app.ReasonBuild, "deploy/a.yaml:3: not YAML")), false, working},
			{"apply", with(failed(5*time.Minute, rev1, fail(app.StageApply, app.ReasonForbidden, "Deployment/web/api: forbidden")), func(r *app.Report) {
				r.Records = records(space)
				r.Handled = "t2"
				r.Objects = []app.ObjectReport{{Ref: space, Action: app.ActionCreated}, {Ref: api, Action: app.ActionFailed}}
			}), false, working},
			{"fixed", with(done(6*time.Minute, rev2), synced), false, current},
			{"build broken again", failed(7*time.Minute, rev2, fail(app.StageRender, app.ReasonBuild, "deploy/a.yaml:3: not YAML")), false, working},
			{"prune", with(failed(8*time.Minute, rev2, fail(app.StagePrune, app.ReasonForbidden, "Namespace/web: forbidden")), synced), false, working},
			{"overtaken", failed(9*time.Minute, rev2, fail(app.StageApply, app.ReasonSuperseded, "a newer revision")), false, working},
		},
		"stalled": {
			{"unsupported", failed(0, app.Revision{}, fail(app.StageSpec, app.ReasonUnsupported, "spec.kubeConfig is not supported yet")), false, broken},
			{"new spec is seen", with(done(time.Hour, rev1), both(synced, func(r *app.Report) { r.Generation = 2 })), false, current},
			{"access denied", with(failed(2*time.Hour, rev1, fail(app.StageSpec, app.ReasonForbidden, "cross-namespace reference")), func(r *app.Report) { r.Generation = 2 }), false, broken},
		},
		"resume": {
			{"done", with(done(0, rev1), synced), false, current},
			{"after suspend and resume", with(done(time.Hour, rev1), both(quiet, func(r *app.Report) { r.Generation = 3 })), false, current},
		},
		"empty": {
			{"delivered", with(done(0, rev1), synced), false, current},
			{"all gone", with(done(time.Hour, rev2), both(synced, func(r *app.Report) {
				r.Records = nil
				r.Objects = []app.ObjectReport{{Ref: api, Action: app.ActionPruned}, {Ref: reader, Action: app.ActionPruned}}
			})), false, current},
		},
	}
}

func specFor(s step) app.Spec {
	return app.Spec{
		Warnings: []app.Warning{{Field: "spec.selfHeal", Message: "has no effect"}},
		Policy:   app.Policy{Wait: s.wait, Interval: 5 * time.Minute, Timeout: 4*time.Minute + 30*time.Second},
	}
}

// statusGolden is the archive that holds the statuses and events of a life; an
// empty one where it is to be made.
func statusGolden(t *testing.T, name string) (file string, archive *txtar.Archive) {
	t.Helper()
	file = filepath.Join("testdata", "status", name+".txtar")
	archive, err := txtar.ParseFile(file)
	switch {
	case err != nil && !*update:
		t.Fatal(err)
	case err != nil:
		archive = &txtar.Archive{}
	}
	return file, archive
}

func TestEncodeKustomization(t *testing.T) {
	for _, name := range sortedKeys(lives()) {
		t.Run(name, func(t *testing.T) {
			file, archive := statusGolden(t, name)
			old := never()
			for i, s := range lives()[name] {
				before := runtime.DeepCopyJSON(old)
				events := KustomizationEvents(s.report, specFor(s), old)
				next := EncodeKustomization(s.report, specFor(s), old)
				if !reflect.DeepEqual(old, before) {
					t.Errorf("%s: the status before was changed", s.name)
				}
				checkGolden(t, file, archive, fmt.Sprintf("%d %s: status", i+1, s.name), dump(t, next))
				checkGolden(t, file, archive, fmt.Sprintf("%d %s: events", i+1, s.name), dumpEvents(events))
				checkStatus(t, s, next)
				old = next
			}
		})
	}
}

// checkStatus holds what clients of Flux rely on.
func checkStatus(t *testing.T, s step, got map[string]any) {
	t.Helper()
	checkStatusOf(t, s.name, s.report.Generation, s.kstatus, got)
}

func checkStatusOf(t *testing.T, name string, generation int64, want status.Status, got map[string]any) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
		"metadata": map[string]any{"name": "a", "generation": generation}, "status": runtime.DeepCopyJSON(got),
	}}
	result, err := status.Compute(u)
	if err != nil || result.Status != want {
		t.Errorf("%s: to kstatus it is %v (%v), want %s", name, result, err, want)
	}
	for _, item := range list(got, "conditions") {
		c := item.(map[string]any)
		kind, state := text(c, "type"), text(c, "status")
		if kind != condReady && kind != condHealthy && kind != condSourceVerified && state != "True" {
			t.Errorf("%s: %s is %s, it should be gone", name, kind, state)
		}
		if c["observedGeneration"] != generation && kind == condReady {
			t.Errorf("%s: Ready is of generation %v", name, c["observedGeneration"])
		}
		if text(c, "reason") == "" {
			t.Errorf("%s: %s has no reason", name, kind)
		}
	}
}

func dump(t *testing.T, status map[string]any) string {
	t.Helper()
	data, err := yaml.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func dumpEvents(events []app.Event) string {
	var out strings.Builder
	for _, e := range events {
		kind := "Normal"
		if e.Warning {
			kind = "Warning"
		}
		fmt.Fprintf(&out, "%s %s %s\n", kind, e.Reason, strings.ReplaceAll(e.Message, "\n", `\n`))
		for _, k := range sortedKeys(e.Annotations) {
			fmt.Fprintf(&out, "  %s: %s\n", k, e.Annotations[k])
		}
	}
	return out.String()
}

// A second look that finds the same gives the same status: no write.
func TestEncodeIsQuiet(t *testing.T) {
	for name, steps := range lives() {
		old := never()
		for _, s := range steps {
			old = EncodeKustomization(s.report, specFor(s), old)
			again := s.report
			again.Attempt, again.Drift, again.Objects = nil, nil, nil
			again.At = again.At.Add(time.Hour)
			if next := EncodeKustomization(again, specFor(s), old); !reflect.DeepEqual(next, old) {
				t.Errorf("%s, %s: the same report gives another status:\n%s\n---\n%s", name, s.name, dump(t, old), dump(t, next))
			}
			if s.report.Failure == nil && s.report.Phase == app.PhaseDone {
				if events := KustomizationEvents(again, specFor(s), old); len(events) > 0 {
					t.Errorf("%s, %s: the same report gives events:\n%s", name, s.name, dumpEvents(events))
				}
			}
		}
	}
}

// What a status records is what a later decode finds.
func TestRecordsSurvive(t *testing.T) {
	s := step{report: with(done(0, rev1), func(r *app.Report) {
		r.Records = append(records(space, api, reader), app.Record{Ref: object.Ref{Kind: "Service", Namespace: "web", Name: "api"}, Version: "v1"})
		r.Attempt = &app.SyncAttempt{Attempt: app.Attempt{
			Revision: "c", SpecHash: "h", Started: noon, Finished: noon.Add(time.Second), Succeeded: true, Heals: 3, Retries: 4,
		}}
		r.Ahead = app.Ahead{Revision: "c", Of: "b"}
	})}
	got := EncodeKustomization(s.report, specFor(s), never())
	spec := DecodeKustomization(&unstructured.Unstructured{Object: map[string]any{"status": got}})
	byRef := func(a, b app.Record) int { return a.Ref.Compare(b.Ref) }
	slices.SortFunc(spec.Recorded, byRef)
	want := slices.SortedFunc(slices.Values(s.report.Records), byRef)
	if !reflect.DeepEqual(spec.Recorded, want) {
		t.Errorf("recorded %+v, want %+v", spec.Recorded, want)
	}
	for _, item := range list(got, "inventory", "entries") {
		// As the tools of Flux parse it: the name of an RBAC object has its
		// colon as two underscores.
		if id := text(item.(map[string]any), "id"); strings.Contains(id, "system") && id != "_system__reader_rbac.authorization.k8s.io_ClusterRole" {
			t.Errorf("inventory id %q", id)
		}
	}
	if spec.LastSync == nil || *spec.LastSync != s.report.Attempt.Attempt {
		t.Errorf("last sync %+v, want %+v", spec.LastSync, s.report.Attempt.Attempt)
	}
	if spec.Ahead != s.report.Ahead {
		t.Errorf("ahead %+v, want %+v", spec.Ahead, s.report.Ahead)
	}
	s.report.Ahead = app.Ahead{}
	if got := section(EncodeKustomization(s.report, specFor(s), got), "plumb", "ahead"); got != nil {
		t.Errorf("ahead is still %v", got)
	}
}

// A run that does not get as far as pruning never takes anything out of the
// inventory, whatever its report holds; one that writes adds to it.
func TestInventoryIsKept(t *testing.T) {
	s := step{report: with(done(0, rev1), func(r *app.Report) { r.Records = records(space, api) })}
	old := EncodeKustomization(s.report, specFor(s), never())
	partly := func(r *app.Report) { r.Records = records(reader) }
	for name, r := range map[string]app.Report{
		"running":   with(runningAt(time.Hour, rev2, app.StageApply), partly),
		"failed":    with(failed(time.Hour, rev2, app.Fail(app.StageApply, app.ReasonForbidden, "x")), partly),
		"overtaken": with(failed(time.Hour, rev2, app.Fail(app.StagePrune, app.ReasonSuperseded, "x")), partly),
	} {
		got := list(EncodeKustomization(r, specFor(s), old), "inventory", "entries")
		if len(got) != 3 {
			t.Errorf("%s: inventory %v", name, got)
		}
	}
	final := with(done(time.Hour, rev2), partly)
	if got := list(EncodeKustomization(final, specFor(s), old), "inventory", "entries"); len(got) != 1 {
		t.Errorf("done: inventory %v", got)
	}
	for _, stage := range []app.Stage{app.StageSpec, app.StageDepends, app.StageFetch, app.StageRender, app.StageObserve, app.StagePlan} {
		s := step{report: with(done(0, rev1), func(r *app.Report) { r.Records = records(space, api) })}
		old := EncodeKustomization(s.report, specFor(s), never())
		next := EncodeKustomization(failed(time.Hour, rev2, app.Fail(stage, app.ReasonInternal, "x")), specFor(s), old)
		if !reflect.DeepEqual(next["inventory"], old["inventory"]) {
			t.Errorf("%s: inventory %v", stage, next["inventory"])
		}
		next = EncodeKustomization(runningAt(time.Hour, rev2, stage), specFor(s), old)
		if !reflect.DeepEqual(next["inventory"], old["inventory"]) {
			t.Errorf("running %s: inventory %v", stage, next["inventory"])
		}
	}
}

func TestLimits(t *testing.T) {
	old := never()
	var s step
	for i := range 20 {
		after := time.Duration(i) * time.Hour
		s.report = with(done(after, rev1), func(r *app.Report) {
			r.Records = []app.Record{{Ref: api, Version: "v1", Desired: fmt.Sprint(i)}}
			r.Attempt = &app.SyncAttempt{}
			r.Drift = []app.Drift{{Ref: api, At: r.At, Fields: make([]string, 40)}}
			for range 200 {
				r.Objects = append(r.Objects, app.ObjectReport{Ref: api, Action: app.ActionCreated})
			}
			r.Warnings = []app.Warning{{Message: strings.Repeat("ä", 5000)}}
		})
		for _, e := range KustomizationEvents(s.report, specFor(s), old) {
			if len(e.Message) > maxNote {
				t.Errorf("an event of %d bytes: %s", len(e.Message), e.Reason)
			}
		}
		old = EncodeKustomization(s.report, specFor(s), old)
	}
	if n := len(list(old, "history")); n != maxHistory {
		t.Errorf("%d entries of history", n)
	}
	drift := list(old, "plumb", "drift")
	if len(drift) != maxDrift || len(list(drift[0].(map[string]any), "fields")) != maxDriftFields {
		t.Errorf("drift %v", drift)
	}
	if got := text(drift[0].(map[string]any), "at"); got != stamp(s.report.At) {
		t.Errorf("the newest drift is of %s", got)
	}
	if got := app.DriftFrom(drift); len(got) != maxDrift || got[0].Ref != api {
		t.Errorf("drift as others read it: %+v", got)
	}
}

// What is included moves, and so does the archive: that is one piece of news.
func TestIncludeMovesOnce(t *testing.T) {
	look := app.SourceReport{Generation: 1, Revision: rev1, At: noon, Artifact: &app.Artifact{URL: "http://x/a", Digest: "sha256:1"}}
	look.Revision.Parts = []app.Revision{rev1}
	status := EncodeGitRepository(look, nil, never())
	look.Revision.Parts = []app.Revision{rev2}
	look.Artifact = &app.Artifact{URL: "http://x/b", Digest: "sha256:2"}
	news := 0
	for _, e := range GitRepositoryEvents(look, nil, status) {
		if e.Reason == "NewArtifact" {
			news++
		}
	}
	if news != 1 {
		t.Errorf("told %d times", news)
	}
}

// What an old Flux wrote of the same revision is no news.
func TestOldRevision(t *testing.T) {
	old := never()
	old["artifact"] = map[string]any{"revision": "main/" + rev1.Commit, "checksum": "abc", "lastUpdateTime": "2020-01-01T00:00:00Z"}
	look := app.SourceReport{Generation: 1, Revision: rev1, At: noon}
	for _, e := range GitRepositoryEvents(look, nil, old) {
		if e.Reason == "NewArtifact" {
			t.Errorf("event %+v", e)
		}
	}
	status := EncodeGitRepository(look, nil, old)
	if got := text(status, "artifact", "revision"); got != FormatRevision(rev1) {
		t.Errorf("revision %s", got)
	}
	if got := text(status, "artifact", "lastUpdateTime"); got != "2020-01-01T00:00:00Z" {
		t.Errorf("found at %s", got)
	}
	look.Revision = rev2
	news := false
	for _, e := range GitRepositoryEvents(look, nil, old) {
		news = news || e.Reason == "NewArtifact"
	}
	if !news {
		t.Error("no event of another revision")
	}
}

func TestEncodeGitRepository(t *testing.T) {
	look := func(after time.Duration, rev app.Revision, f *app.Failure, token string) app.SourceReport {
		return app.SourceReport{Generation: 1, Revision: rev, Failure: f, At: noon.Add(after), Handled: token}
	}
	packed := func(r app.SourceReport, content string) app.SourceReport {
		path := "gitrepository/team/repo/" + r.Revision.Commit + ".tar.gz"
		r.Artifact = &app.Artifact{URL: "http://plumb.example./" + path, Path: path, Digest: "sha256:" + content, Size: int64(len(content))}
		return r
	}
	ignore := "*.md"
	verified := func(r app.SourceReport) app.SourceReport {
		r.Of = app.Source{Verify: &app.Verification{Commit: true}, Ignore: &ignore}
		if r.Failure == nil {
			r.Revision.Verified = "verified signature of\n\t- commit 'c' with key 'k'"
		}
		return r
	}
	including := func(r app.SourceReport, part app.Revision) app.SourceReport {
		r.Of = app.Source{Submodules: true, Sparse: []string{"apps"}, Include: []app.Include{{Source: app.SourceID{Name: "x"}, From: "deploy", To: "x"}}}
		r.Revision.Parts = []app.Revision{part}
		return r
	}
	checkLooks(t, KindGitRepository, []sourceLook{
		{"wrong address", look(0, app.Revision{}, app.Fail(app.StageFetch, app.ReasonInvalidSpec, "spec.url names no host"), ""), status.FailedStatus},
		{"unsupported", look(0, app.Revision{}, app.Fail(app.StageSpec, app.ReasonUnsupported, "spec.provider is not supported yet"), ""), status.FailedStatus},
		{"no credentials", look(time.Minute, app.Revision{}, app.Fail(app.StageFetch, app.ReasonAuthentication, "Secret team/key not found"), ""), status.InProgressStatus},
		{"found", look(2*time.Minute, rev1, nil, "t1"), status.CurrentStatus},
		{"nothing new", look(time.Hour, rev1, nil, "t1"), status.CurrentStatus},
		{"unreachable", look(2*time.Hour, rev1, app.Fail(app.StageFetch, app.ReasonUnreachable, "no route to host"), ""), status.InProgressStatus},
		{"back", look(3*time.Hour, rev1, nil, ""), status.CurrentStatus},
		{"new revision", look(4*time.Hour, rev2, nil, ""), status.CurrentStatus},
		{"verified", verified(look(5*time.Hour, rev2, nil, "")), status.CurrentStatus},
		{"unsigned", verified(look(6*time.Hour, rev2, app.Fail(app.StageFetch, app.ReasonCommitSignature, "signature of commit c: it is not signed"), "")), status.InProgressStatus},
		{"no tag", verified(look(7*time.Hour, rev2, app.Fail(app.StageFetch, app.ReasonVerifyMode, "the ref selects no tag"), "")), status.FailedStatus},
		{"then away", verified(look(8*time.Hour, rev2, app.Fail(app.StageFetch, app.ReasonUnreachable, "no route to host"), "")), status.InProgressStatus},
		{"not verified any more", look(9*time.Hour, rev2, nil, ""), status.CurrentStatus},
		{"no such include", look(10*time.Hour, rev2, app.Fail(app.StageFetch, app.ReasonSourceNotFound, "source GitRepository/team/x not found"), ""), status.InProgressStatus},
		{"include not ready", look(11*time.Hour, rev2, app.Fail(app.StageFetch, app.ReasonSourceNotReady, "source GitRepository/team/x is not ready"), ""), status.InProgressStatus},
		{"include in the way", look(12*time.Hour, rev2, app.Fail(app.StageFetch, app.ReasonInclude, "include of GitRepository/team/x: x is there already"), ""), status.InProgressStatus},
		{"included", including(look(13*time.Hour, rev2, nil, ""), rev1), status.CurrentStatus},
		{"include moved", including(look(14*time.Hour, rev2, nil, ""), rev2), status.CurrentStatus},
		{"nothing moved", including(look(15*time.Hour, rev2, nil, ""), rev2), status.CurrentStatus},
		{"packed", packed(look(20*time.Hour, rev2, nil, ""), "aa"), status.CurrentStatus},
		{"nothing new to pack", packed(look(21*time.Hour, rev2, nil, ""), "aa"), status.CurrentStatus},
		{"other files of it", packed(look(22*time.Hour, rev2, nil, ""), "bbb"), status.CurrentStatus},
		{"cannot be packed", look(23*time.Hour, rev1, app.Fail(app.StageArchive, app.ReasonInternal, "no space left on device"), ""), status.InProgressStatus},
		{"unreachable again", look(24*time.Hour, rev2, app.Fail(app.StageFetch, app.ReasonUnreachable, "no route to host"), ""), status.InProgressStatus},
		{"packed again", packed(look(25*time.Hour, rev1, nil, ""), "cc"), status.CurrentStatus},
		{"artifacts switched off", look(26*time.Hour, rev1, nil, ""), status.CurrentStatus},
	})
}
