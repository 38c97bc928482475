package release

import (
	"encoding/json"
	"testing"
	"time"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/release/common"
	helm "helm.sh/helm/v4/pkg/release/v1"
)

// TestDigestIsFluxs: the digest that Flux's own test has for the same
// observation, so that what its controller remembered is known here.
func TestDigestIsFluxs(t *testing.T) {
	const want = "sha256:f1498f27a16a09cd7e1ee610d924df065c03d30035638babc95dd9a8d412ce4d"
	if got := snapshot(&helm.Release{Name: "foo"}, "").Digest; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestVerify: a revision is known again after it was stored, whatever tests ran
// since; and not after anything else of it changed.
func TestVerify(t *testing.T) {
	now := time.Now()
	rel := &helm.Release{
		Name: "web", Namespace: "apps", Version: 3, Manifest: "a: b",
		Info:   &helm.Info{FirstDeployed: now.Add(-time.Hour), LastDeployed: now, Status: common.StatusDeployed, Description: "Upgrade complete"},
		Chart:  &chart.Chart{Metadata: &chart.Metadata{Name: "web", Version: "1.0.0", AppVersion: "2"}, Values: map[string]any{"a": 1.0}},
		Config: map[string]any{"replicas": int64(3), "large": 1e21, "list": []any{"a", nil}},
		Hooks: []*helm.Hook{{Name: "migrate", Events: []helm.HookEvent{helm.HookPreUpgrade}},
			{Name: "works", Events: []helm.HookEvent{helm.HookTest}}},
	}
	snap := snapshot(rel, "sha256:artifact")
	stored := func() *helm.Release {
		data, err := json.Marshal(rel)
		if err != nil {
			t.Fatal(err)
		}
		var back helm.Release
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		return &back
	}
	for name, tt := range map[string]struct {
		change func(r *helm.Release)
		known  bool
	}{
		"as it was":        {func(*helm.Release) {}, true},
		"a test ran":       {func(r *helm.Release) { r.Hooks[1].LastRun.Phase = helm.HookPhaseFailed }, true},
		"chart's values":   {func(r *helm.Release) { r.Chart.Values = nil }, true},
		"another revision": {func(r *helm.Release) { r.Version = 4 }, false},
		"status":           {func(r *helm.Release) { r.Info.Status = common.StatusSuperseded }, false},
		"values":           {func(r *helm.Release) { r.Config["replicas"] = 4.0 }, false},
		"manifest":         {func(r *helm.Release) { r.Manifest = "a: c" }, false},
		"hook":             {func(r *helm.Release) { r.Hooks[0].LastRun.Phase = helm.HookPhaseFailed }, false},
		"namespace":        {func(r *helm.Release) { r.Namespace = "other" }, false},
	} {
		r := stored()
		tt.change(r)
		if got := verify(r, snap); got != tt.known {
			t.Errorf("%s: known %v", name, got)
		}
	}
	old := snap
	old.Unverified, old.Digest = true, "sha256:of-another-algorithm"
	if !verify(stored(), old) {
		t.Error("of a snapshot without a digest that tells, the revision's number has to do")
	}
	old.Version = 2
	if verify(stored(), old) {
		t.Error("and it is another")
	}
	for _, bad := range []string{"", "sha256:", "blake3:abc", "nothing"} {
		odd := snap
		odd.Digest = bad
		if verify(stored(), odd) {
			t.Errorf("digest %q is no reason to know a revision", bad)
		}
	}
}
