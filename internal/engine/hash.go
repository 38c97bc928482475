package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"plumb.dev/plumb/internal/app"
)

// specHash identifies all that decides the outcome of delivering a revision.
// Requests, records and what only the schedule depends on are not part of it.
func specHash(spec app.Spec) string {
	policy := spec.Policy
	policy.Interval, policy.RetryInterval, policy.Timeout = 0, 0, 0
	policy.Retry, policy.RetryLimit, policy.HealBackoff = app.Backoff{}, 0, app.Backoff{}
	render := spec.Render
	render.Revision = ""
	parts := []any{spec.Source, render, spec.Target, spec.FieldManager, spec.AdoptFrom, spec.Mark, policy, spec.DependsOn}
	if spec.Release != nil {
		release := *spec.Release
		release.Force, release.Reset, release.Memory = "", "", app.ReleaseMemory{}
		parts = append(parts, release, spec.SourceAs)
	}
	data, err := json.Marshal(parts)
	if err != nil {
		// Plain data always marshals; an odd value must not make two specs equal.
		data = []byte(err.Error())
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
