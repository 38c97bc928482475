package release

import (
	"encoding/json"
	"slices"

	"github.com/opencontainers/go-digest"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	helm "helm.sh/helm/v4/pkg/release/v1"

	"plumb.dev/plumb/internal/app"
)

// observation is what the digest of a revision covers: what Helm stored of it,
// without the chart's files, and without its test hooks, which anyone may run.
// Names and order of the fields are Flux's, and so its digests hold.
type observation struct {
	Name          string         `json:"name"`
	Version       int            `json:"version"`
	Info          helm.Info      `json:"info"`
	ChartMetadata chart.Metadata `json:"chartMetadata"`
	Config        map[string]any `json:"config"`
	Manifest      string         `json:"manifest"`
	Hooks         []helm.Hook    `json:"hooks"`
	Namespace     string         `json:"namespace"`
	OCIDigest     string         `json:"ociDigest,omitempty"`
}

func observe(rel *helm.Release, ociDigest string) observation {
	o := observation{Name: rel.Name, Version: rel.Version, Manifest: rel.Manifest, Namespace: rel.Namespace, OCIDigest: ociDigest}
	if rel.Info != nil {
		o.Info = *rel.Info
	}
	if rel.Chart != nil && rel.Chart.Metadata != nil {
		o.ChartMetadata = *rel.Chart.Metadata
	}
	if len(rel.Config) > 0 {
		o.Config = rel.Config
	}
	for _, h := range rel.Hooks {
		if !isTest(h) {
			o.Hooks = append(o.Hooks, *h)
		}
	}
	return o
}

func isTest(h *helm.Hook) bool { return slices.Contains(h.Events, helm.HookTest) }

// verify reports whether the revision is what the snapshot tells of. Where the
// snapshot's digest tells nothing, the revision's number has to do.
func verify(rel *helm.Release, snap app.ReleaseSnapshot) bool {
	if snap.Name != rel.Name || snap.Namespace != rel.Namespace || snap.Version != rel.Version {
		return false
	}
	if snap.Unverified {
		return true
	}
	want, err := digest.Parse(snap.Digest)
	if err != nil {
		return false
	}
	verifier := want.Verifier()
	if err := json.NewEncoder(verifier).Encode(observe(rel, snap.OCIDigest)); err != nil {
		return false
	}
	return verifier.Verified()
}

// snapshot takes down a revision as it is now.
func snapshot(rel *helm.Release, ociDigest string) app.ReleaseSnapshot {
	o := observe(rel, ociDigest)
	digester := digest.Canonical.Digester()
	if err := json.NewEncoder(digester.Hash()).Encode(o); err != nil {
		return app.ReleaseSnapshot{} // Helm could not have stored it either
	}
	return app.ReleaseSnapshot{
		Digest: digester.Digest().String(),
		Name:   o.Name, Namespace: o.Namespace, Version: o.Version,
		Status:    string(o.Info.Status),
		ChartName: o.ChartMetadata.Name, ChartVersion: o.ChartMetadata.Version, AppVersion: o.ChartMetadata.AppVersion,
		ConfigDigest:  ConfigDigest(o.Config),
		OCIDigest:     ociDigest,
		FirstDeployed: o.Info.FirstDeployed, LastDeployed: o.Info.LastDeployed, Deleted: o.Info.Deleted,
	}
}

// tests are the results of the tests that a policy selects.
func tests(rel *helm.Release, policy app.TestPolicy) map[string]app.ReleaseTested {
	results := map[string]app.ReleaseTested{}
	for _, h := range rel.Hooks {
		if isTest(h) && policy.Selects(h.Name) {
			results[h.Name] = app.ReleaseTested{Started: h.LastRun.StartedAt, Completed: h.LastRun.CompletedAt, Phase: string(h.LastRun.Phase)}
		}
	}
	return results
}
