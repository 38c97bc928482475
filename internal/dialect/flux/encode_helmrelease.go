package flux

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"plumb.dev/plumb/internal/app"
)

// The conditions of a HelmRelease besides those of all resources.
const (
	condReleased    = "Released"
	condTestSuccess = "TestSuccess"
	condRemediated  = "Remediated"
	condDrifted     = "Drifted"
)

// EncodeHelmRelease gives the status that tells of r, made from the status
// before; old stays as it is. A report that says nothing new gives a status
// equal to old, so that nothing need be written. helmChart is the HelmChart
// that is kept for the release, "namespace/name", "" if there is none.
func EncodeHelmRelease(r app.Report, spec app.Spec, helmChart string, old map[string]any) map[string]any {
	status := runtime.DeepCopyJSON(orEmpty(old))
	conds := readConditions(status, r.At, r.Generation)
	if r.Phase == app.PhaseDone && r.Handled != "" {
		status["lastHandledReconcileAt"] = r.Handled
	}
	if helmChart != "" {
		status["helmChart"] = helmChart
	} else {
		delete(status, "helmChart")
	}
	if rel := r.Release; rel != nil {
		encodeMemory(rel.Memory, status)
		if rel.Force != "" {
			status["lastHandledForceAt"] = rel.Force
		}
		if rel.Reset != "" {
			status["lastHandledResetAt"] = rel.Reset
		}
		for _, result := range rel.Results {
			released(result, spec, conds)
		}
		settledRelease(r, spec, status, conds)
		encodeReleaseRecords(r, status)
	}
	if spec.Release == nil || !spec.Release.Test.Enable {
		conds.drop(condTestSuccess)
	}
	switch {
	case running(r):
		releaseRunning(r, conds)
	case r.Failure == nil:
		summarize(spec, conds)
		conds.drop(condReconciling, condStalled)
		status["observedGeneration"] = r.Generation
	default:
		releaseFailed(r, spec, status, conds)
	}
	status["conditions"] = conds.encode()
	if r.Attempt != nil && !r.Attempt.Running {
		orSet(status, "plumb")["lastSync"] = encodeAttempt(r.Attempt.Attempt)
	}
	encodeAhead(r.Ahead, status)
	setPlumb(status, "drift", mergeDrift(list(status, "plumb", "drift"), r.Drift))
	setPlumb(status, "warnings", encodeWarnings(slices.Concat(spec.Warnings, r.Warnings)))
	encodeLeft(r, status)
	encodeSince(r, status)
	return status
}

// released sets what the result of one action says.
func released(result app.ReleaseResult, spec app.Spec, conds *conditionSet) {
	kind, reason, message := resultOf(result)
	if kind == "" {
		return
	}
	if result.Action.Delivers() {
		conds.drop(condRemediated)
	}
	status := "True"
	if result.Failure != nil || result.Action == app.ReleaseUninstall || result.Action == app.ReleaseUnlock {
		status = "False"
	}
	conds.set(kind, status, reason, message)
	if now := result.Release; result.Action.Delivers() && result.Failure == nil && spec.Release != nil && spec.Release.Test.Enable && !now.Tested {
		conds.set(condTestSuccess, "Unknown", "AwaitingTests", "Helm release "+now.FullName()+" with chart "+now.Chart()+" is awaiting tests")
	}
}

// resultOf is what an action's result means: a condition, its reason, and the
// message of it and of the event. A correction of drift has none.
func resultOf(result app.ReleaseResult) (kind, reason, message string) {
	now := result.Release
	words := map[app.ReleaseAction]struct{ kind, reason, did string }{
		app.ReleaseInstall:   {condReleased, "Install", "Helm install %s for release " + now.FullName() + " with chart " + now.Chart()},
		app.ReleaseUpgrade:   {condReleased, "Upgrade", "Helm upgrade %s for release " + now.FullName() + " with chart " + now.Chart()},
		app.ReleaseTest:      {condTestSuccess, "Test", "Helm test %s for release " + now.FullName() + " with chart " + now.Chart()},
		app.ReleaseRollback:  {condRemediated, "Rollback", "Helm rollback to previous release " + now.FullName() + " with chart " + now.Chart() + " %s"},
		app.ReleaseRemove:    {condRemediated, "Uninstall", "Helm uninstall remediation for release " + now.FullName() + " with chart " + now.Chart() + " %s"},
		app.ReleaseUninstall: {condReleased, "Uninstall", "Helm uninstall %s for release " + now.FullName() + " with chart " + now.Chart()},
	}
	w, ok := words[result.Action]
	switch f := result.Failure; {
	case result.Action == app.ReleaseUnlock && f == nil:
		return condReleased, "PendingRelease", fmt.Sprintf("Unlocked Helm release %s with chart %s", now.FullName(), now.Chart())
	case result.Action == app.ReleaseUnlock:
		return condReleased, "PendingRelease", fmt.Sprintf("Unlock of Helm release %s with chart %s failed: %s", now.FullName(), now.Chart(), failureMessage(f))
	case !ok:
		return "", "", ""
	case f == nil:
		message = fmt.Sprintf(w.did, "succeeded")
		if result.Action == app.ReleaseTest {
			message += ": " + testCount(result.Tests)
		}
		return w.kind, w.reason + "Succeeded", message
	default:
		reason = w.reason + "Failed"
		if f.Reason == app.ReasonSuperseded {
			reason = "HealthCheckCanceled"
		}
		did := w.did
		if result.Action.Delivers() { // of which no revision may have come
			did = strings.Replace(did, now.FullName(), now.Namespace+"/"+now.Name, 1)
		}
		return w.kind, reason, fmt.Sprintf(did, "failed") + ": " + strings.TrimSpace(failureMessage(f))
	}
}

func testCount(n int) string {
	switch n {
	case 0:
		return "no test hooks"
	case 1:
		return "1 test hook completed successfully"
	}
	return fmt.Sprintf("%d test hooks completed successfully", n)
}

// settledRelease is for what the state of the release says beside the results.
func settledRelease(r app.Report, spec app.Spec, status map[string]any, conds *conditionSet) {
	rel := r.Release
	var current app.ReleaseSnapshot
	if len(rel.Memory.History) > 0 {
		current = rel.Memory.History[0]
	}
	switch rel.State {
	case app.ReleaseUntested, app.ReleaseDrifted, app.ReleaseInSync:
		// What it was rolled back to may be what is wanted now.
		if conds.has(condRemediated, "True") || conds.items[condReleased] == nil || conds.has(condReleased, "False") {
			conds.set(condReleased, "True", "UpgradeSucceeded",
				fmt.Sprintf("Helm upgrade succeeded for release %s with chart %s", current.FullName(), current.Chart()))
			conds.drop(condRemediated)
		}
	}
	if rel.State == app.ReleaseInSync && current.ChartVersion != "" {
		status["lastAppliedRevision"] = current.ChartVersion
	}
	switch {
	case spec.Release == nil || spec.Release.Drift.Mode == app.DriftOff:
		conds.drop(condDrifted)
	case rel.State == app.ReleaseDrifted:
		conds.set(condDrifted, "True", "DriftDetected", driftSummary(r, current))
	case rel.State == app.ReleaseInSync:
		conds.set(condDrifted, "False", "NoDriftDetected", "No drift detected against the cluster state")
	}
}

// driftSummary names the objects that differ from what the release says.
func driftSummary(r app.Report, current app.ReleaseSnapshot) string {
	lines := []string{"Cluster state of release " + current.FullName() + " has drifted from the desired state:"}
	const most = 20
	for _, o := range r.Objects {
		if o.Sync != app.OutOfSync {
			continue
		}
		what := "changed"
		if len(o.Changes) > 0 {
			var paths []string
			for _, c := range o.Changes[:min(len(o.Changes), maxDriftFields)] {
				paths = append(paths, c.Path)
			}
			what += " (" + strings.Join(paths, ", ") + ")"
		}
		if o.Reason == "deleted from the cluster" || o.Reason == "not in the cluster" {
			what = "removed"
		}
		lines = append(lines, o.Ref.String()+" "+what)
	}
	if more := len(lines) - 1 - most; more > 0 {
		lines = append(lines[:most+1], fmt.Sprintf("… and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// summarize makes Ready of the conditions that tell of the release: of the
// newest generation the most weighty counts. What was remedied is not ready,
// however well that went.
func summarize(spec app.Spec, conds *conditionSet) {
	kinds := []string{condRemediated, condReleased}
	if spec.Release != nil && spec.Release.Test.Enable && !spec.Release.Test.IgnoreFailures {
		kinds = []string{condRemediated, condTestSuccess, condReleased}
	}
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return conds.items[k] == nil })
	if len(kinds) == 0 {
		return
	}
	first := slices.MinFunc(kinds, func(a, b string) int { // the first of equals
		return cmp.Compare(integer(conds.items[b], "observedGeneration"), integer(conds.items[a], "observedGeneration"))
	})
	status := text(conds.items[first], "status")
	if first == condRemediated {
		status = "False"
	}
	conds.set(condReady, status, conds.reason(first), conds.message(first))
}

func releaseRunning(r app.Report, conds *conditionSet) {
	rel := r.Release
	if rel == nil || rel.Running == app.ReleaseNone {
		return // superseded: the run that took over tells
	}
	name := map[app.ReleaseAction]string{app.ReleaseRemove: "uninstall", app.ReleaseCorrect: "correct cluster drift"}[rel.Running]
	message := fmt.Sprintf("Running '%s' action with timeout of %s", orElse(name, string(rel.Running)), rel.Timeout)
	conds.set(condReconciling, "True", "Progressing", message)
	conds.drop(condStalled)
	if rel.Running.Delivers() || rel.Running == app.ReleaseCorrect {
		conds.set(condReady, "Unknown", "Progressing", message)
	}
}

func releaseFailed(r app.Report, spec app.Spec, status map[string]any, conds *conditionSet) {
	f := r.Failure
	means := translate(helmReleaseReasons(), f)
	message := failureMessage(f)
	// Where the results tell of it, Ready is the sum of them.
	acted := r.Release != nil && (len(r.Release.Results) > 0 || r.Release.Stalled)
	if acted {
		summarize(spec, conds)
	}
	if !acted || conds.has(condReady, "True") || conds.has(condReady, "Unknown") || conds.items[condReady] == nil {
		conds.set(condReady, "False", means.reason, message)
	}
	if conds.stall(means, message, status, r.Generation) {
		return
	}
	conds.set(condReconciling, "True", "ProgressingWithRetry", conds.message(condReady))
}

// encodeReleaseRecords writes the inventory as far as it changed. A release
// that is gone has none.
func encodeReleaseRecords(r app.Report, status map[string]any) {
	if len(r.Records) == 0 {
		delete(status, "inventory")
		setPlumb(status, "objects", nil)
		return
	}
	encodeRecords(r.Records, status)
}
