package app

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"plumb.dev/plumb/internal/object"
)

// Release makes an app a Helm release: its objects come from a chart and are
// written by Helm, with a record of each revision in the release's storage.
// Spec.Source is what the chart comes from.
type Release struct {
	// Name is what Helm calls the release; ReleaseName makes one that is not
	// too long.
	Name string
	// Namespace is where objects go that name none; StorageNamespace is where
	// Helm keeps its records. Neither is "".
	Namespace, StorageNamespace string

	// Values are written in the resource; ValuesFrom are fetched. A later one
	// of those wins, Values win over them, and those with a TargetPath over all.
	Values     map[string]any
	ValuesFrom []ReleaseValues

	MaxHistory int           // revisions that Helm keeps; 0 for all
	Timeout    time.Duration // of each action whose policy has none; and of each hook

	Install   InstallPolicy
	Upgrade   UpgradePolicy
	Test      TestPolicy
	Rollback  RollbackPolicy
	Uninstall UninstallPolicy

	PostRenderers      []PostRenderer
	PostRenderStrategy PostRenderStrategy
	// Origin are labels that say which resource an object comes from; Labels
	// and Annotations are set on every object. They come after PostRenderers,
	// in this order, and hooks have them as PostRenderStrategy says.
	Origin, Labels, Annotations map[string]string
	// PostRenderersDigest and MetadataDigest identify PostRenderers, and
	// Labels with Annotations, as the dialect remembers them; "" without any.
	PostRenderersDigest, MetadataDigest string

	Drift ReleaseDrift
	// Wait names how Helm waits; Policy.HealthExprs apply to either.
	Wait WaitStrategy
	// Volatile makes a new client for each action, for charts that change what
	// they act through (CRDs in templates, RBAC).
	Volatile bool

	// Force is an unhandled request for one install or upgrade, whatever the
	// state is; Reset one to forget the failures. Both tokens are handed back
	// in the report when they were acted upon.
	Force, Reset string

	Memory ReleaseMemory
}

// ReleaseName shortens a name to the 53 characters that Helm allows: its first
// 40, a hyphen, and 12 hexadecimal digits of its SHA-256, as Flux does.
func ReleaseName(name string) string {
	const longest, digits = 53, 12
	if len(name) <= longest {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:longest-digits-1] + "-" + hex.EncodeToString(sum[:])[:digits]
}

// ReleaseValues is one source of values.
type ReleaseValues struct {
	Ref        object.Ref // a ConfigMap or a Secret of the cluster that Plumb serves
	Key        string     // within it; never ""
	TargetPath string     // sets one value, in the syntax of helm --set; "": the key holds YAML
	Optional   bool       // the object, or the key, may be missing
	Literal    bool       // takes the text at TargetPath as it is, without escapes or types
}

// Describe names the source for messages.
func (v ReleaseValues) Describe() string { return v.Ref.String() + ", key " + v.Key }

// References are the objects of the cluster that values come from.
func (r *Release) References() []object.Ref {
	var refs []object.Ref
	for _, from := range r.ValuesFrom {
		refs = append(refs, from.Ref)
	}
	return refs
}

// CRDPolicy is what becomes of the CustomResourceDefinitions that a chart has
// outside of its templates.
type CRDPolicy string

// The policies. None ever deletes one.
const (
	CRDsSkip          CRDPolicy = "skip"
	CRDsCreate        CRDPolicy = "create"         // those that are missing
	CRDsCreateReplace CRDPolicy = "create-replace" // and bring the others up to date
)

// ServerSide says whether Helm writes by server-side apply.
type ServerSide string

// The choices.
const (
	ServerSideAuto ServerSide = "" // as the revision before was written; an install by it
	ServerSideOn   ServerSide = "on"
	ServerSideOff  ServerSide = "off"
)

// Remediation is what follows when an action failed.
type Remediation struct {
	// Retries after the first attempt; negative: no limit. With 0 nothing is
	// remediated and nothing tried again.
	Retries int
	// Last also remediates after the last attempt failed.
	Last bool
	// IgnoreTestFailures takes a release whose tests failed for a success.
	IgnoreTestFailures bool
	// Uninstall the release; otherwise roll back to the last good revision. Of
	// an install it is always uninstalled.
	Uninstall bool
}

// Exhausted reports whether that many failures leave no attempt.
func (r Remediation) Exhausted(failures int64) bool {
	return r.Retries >= 0 && failures > int64(r.Retries)
}

// ActionPolicy is what the policies of several actions have in common.
type ActionPolicy struct {
	Timeout            time.Duration // 0: Release.Timeout
	DisableWait        bool          // do not wait until objects are ready
	DisableWaitForJobs bool          // do not wait for Jobs that are no hooks
	DisableHooks       bool
}

// InstallPolicy is how a release is installed.
type InstallPolicy struct {
	ActionPolicy
	CRDs                     CRDPolicy
	ServerSide               ServerSide
	CreateNamespace          bool
	Replace                  bool // take a name that an uninstalled or failed release still holds
	DisableOpenAPIValidation bool
	DisableSchemaValidation  bool // of values, by the chart's JSON schema
	DisableTakeOwnership     bool // fail on objects that belong to nobody or another release
	Remediation              Remediation
	// RetryInterval, if not 0, replaces remediation: a failed attempt is
	// followed by an upgrade after that time, without end.
	RetryInterval time.Duration
}

// UpgradePolicy is how a release is upgraded.
type UpgradePolicy struct {
	ActionPolicy
	CRDs                     CRDPolicy
	ServerSide               ServerSide
	PreserveValues           bool // merge with the values of the revision before
	Force                    bool // replace objects that cannot be patched; not with server-side apply
	CleanupOnFail            bool // delete what a failed upgrade created
	DisableOpenAPIValidation bool
	DisableSchemaValidation  bool
	DisableTakeOwnership     bool
	// InPlace upgrades although the chart has another name; otherwise the
	// release is uninstalled first.
	InPlace       bool
	Remediation   Remediation
	RetryInterval time.Duration // as InstallPolicy has it
}

// TestPolicy is how the chart's tests are run.
type TestPolicy struct {
	Enable         bool
	Timeout        time.Duration // 0: Release.Timeout
	IgnoreFailures bool
	Filters        []TestFilter
}

// TestFilter takes a test in, or out, by the name of its object.
type TestFilter struct {
	Name    string
	Exclude bool
}

// Selects reports whether a test is run: not if one filter excludes it, and
// only if one names it where any filter does.
func (p TestPolicy) Selects(name string) bool {
	only, named := false, false
	for _, f := range p.Filters {
		if f.Exclude && f.Name == name {
			return false
		}
		if !f.Exclude {
			only, named = true, named || f.Name == name
		}
	}
	return named || !only
}

// RollbackPolicy is how a release is rolled back.
type RollbackPolicy struct {
	ActionPolicy
	ServerSide    ServerSide
	Force         bool // as UpgradePolicy has it
	CleanupOnFail bool
}

// UninstallPolicy is how a release is uninstalled. Jobs are not waited for.
type UninstallPolicy struct {
	ActionPolicy
	KeepHistory bool // keep Helm's records
	Propagation Propagation
}

// PostRenderer changes rendered manifests by Kustomize.
type PostRenderer struct {
	Patches []Patch
	Images  []Image
}

// PostRenderStrategy is what post renderers are given.
type PostRenderStrategy string

// The strategies. The first is the default.
const (
	PostRenderCombined PostRenderStrategy = ""         // hooks and other objects as one stream
	PostRenderSeparate PostRenderStrategy = "separate" // hooks and other objects, each by themselves
	PostRenderNoHooks  PostRenderStrategy = "nohooks"  // hooks stay as they are
)

// WaitStrategy is how readiness is waited for.
type WaitStrategy string

// The strategies. The first is the default.
const (
	WaitStatus WaitStrategy = ""       // by the conventions of kstatus, for every kind
	WaitLegacy WaitStrategy = "legacy" // as Helm 3 did, for the kinds it knows
)

// ReleaseDrift says what is done about objects that differ from the manifest
// that Helm stored. Hooks have no part in it.
type ReleaseDrift struct {
	Mode   DriftMode
	Ignore []IgnoreRule
}

// DriftMode is what drift leads to.
type DriftMode string

// The modes. The first is the default.
const (
	DriftOff     DriftMode = ""
	DriftWarn    DriftMode = "warn"
	DriftCorrect DriftMode = "correct" // in place: Helm gets no new revision
)

// RetryInterval is the wait after which a failure of the action is followed by
// an upgrade; 0: it is remedied instead.
func (r Release) RetryInterval(failed ReleaseAction) time.Duration {
	switch failed {
	case ReleaseInstall:
		return r.Install.RetryInterval
	case ReleaseUpgrade:
		return r.Upgrade.RetryInterval
	}
	return 0
}

// ReleaseAction is one thing that is done to a release.
type ReleaseAction string

// The actions. Those to remedy a failure are told from those that are asked
// for, because what follows differs.
const (
	ReleaseNone      ReleaseAction = ""
	ReleaseInstall   ReleaseAction = "install"
	ReleaseUpgrade   ReleaseAction = "upgrade"
	ReleaseTest      ReleaseAction = "test"
	ReleaseRollback  ReleaseAction = "rollback"            // remedies an upgrade
	ReleaseRemove    ReleaseAction = "uninstall-to-remedy" // remedies an install, or an upgrade
	ReleaseUninstall ReleaseAction = "uninstall"           // the app goes, or its release is another now
	ReleaseUnlock    ReleaseAction = "unlock"              // of what a dead process left pending
	ReleaseCorrect   ReleaseAction = "correct"             // drift; the ordinary plan does it, not Helm
)

// Remedies reports whether the action undoes a failed one.
func (a ReleaseAction) Remedies() bool { return a == ReleaseRollback || a == ReleaseRemove }

// Delivers reports whether the action brings a revision of the chart.
func (a ReleaseAction) Delivers() bool { return a == ReleaseInstall || a == ReleaseUpgrade }

// ReleaseMemory is what the status remembers of a release between two looks.
type ReleaseMemory struct {
	// Generation that the status was written for: digests of what the spec
	// says are compared only where it is not the present one.
	Generation int64
	// StorageNamespace of the release that History tells of; "" before the
	// first action and after an uninstall.
	StorageNamespace string
	History          []ReleaseSnapshot // newest first

	// Failures of the present configuration: all, of installs, of upgrades.
	Failures, InstallFailures, UpgradeFailures int64

	Attempt ReleaseAttempt

	// ObservedPostRenderers and ObservedMetadata are the digests, as Release
	// has them, that the release was last brought in line with.
	ObservedPostRenderers, ObservedMetadata string
}

// ReleaseAttempt tells what was last tried. The zero value: nothing yet.
type ReleaseAttempt struct {
	Revision       string // the chart's version
	RevisionDigest string // of the OCI artifact; "" for other sources
	Generation     int64
	ConfigDigest   string        // of the values
	Action         ReleaseAction // install or upgrade, "" if none came so far
	Duration       time.Duration // of that action
}

// ReleaseSnapshot is one revision as it was when it was last written by us.
type ReleaseSnapshot struct {
	// Unverified: Digest was made by another algorithm and tells nothing.
	Unverified bool
	Digest     string // of all that Helm stored, without test results
	Name       string
	Namespace  string
	Version    int           // Helm's revision
	Status     string        // deployed, superseded, failed, uninstalled, …: Helm's word
	Action     ReleaseAction // that wrote it: install, upgrade or rollback

	ChartName, ChartVersion, AppVersion string
	ConfigDigest                        string
	OCIDigest                           string

	FirstDeployed, LastDeployed, Deleted time.Time

	// Tested: tests were begun, even if there are none. Tests are by the name
	// of the hook.
	Tested bool
	Tests  map[string]ReleaseTested
}

// ReleaseTested is the result of one test.
type ReleaseTested struct {
	Started, Completed time.Time
	Phase              string // Succeeded, Failed, Running, Unknown: Helm's word
}

// HasBeenTested reports whether the outcome of its tests is known: one failed,
// or all succeeded.
func (s ReleaseSnapshot) HasBeenTested() bool {
	if !s.Tested || s.TestFailed() {
		return s.Tested
	}
	for _, t := range s.Tests {
		if t.Phase != "Succeeded" {
			return false
		}
	}
	return true
}

// Good reports whether the revision is, or was, deployed without a fault, so
// that one can go back to it.
func (s ReleaseSnapshot) Good(ignoreTests bool) bool {
	return (s.Status == "deployed" || s.Status == "superseded") && (ignoreTests || !s.TestFailed())
}

// TestFailed reports whether any test did.
func (s ReleaseSnapshot) TestFailed() bool {
	for _, t := range s.Tests {
		if t.Phase == "Failed" {
			return true
		}
	}
	return false
}

// FullName is how messages call the revision: namespace/name.vN.
func (s ReleaseSnapshot) FullName() string {
	return s.Namespace + "/" + s.Name + ".v" + strconv.Itoa(s.Version)
}

// Chart is how messages call what was released: name@version.
func (s ReleaseSnapshot) Chart() string { return s.ChartName + "@" + s.ChartVersion }

// ReleaseResult tells of one action that was run.
type ReleaseResult struct {
	Action  ReleaseAction
	Failure *Failure // nil: it succeeded
	// Release is the revision that the action brought or worked on; of one
	// that stored nothing, only names and the chart are known.
	Release  ReleaseSnapshot
	Started  time.Time
	Duration time.Duration
	Timeout  time.Duration
	// Log are the last lines that Helm logged, oldest first, free of values.
	Log []string
	// Tests counts the tests that were run, of a test action.
	Tests, TestsFailed int
	// Because is why it was done, one phrase.
	Because string
}

// ReleaseState is how a release stands to what it should be.
type ReleaseState string

// The states, in the order in which they are recognised.
const (
	ReleaseUnknown   ReleaseState = ""
	ReleaseAbsent    ReleaseState = "absent"      // there is none
	ReleaseLocked    ReleaseState = "locked"      // a process died in the middle of an action
	ReleaseUnmanaged ReleaseState = "unmanaged"   // someone else wrote the last revision
	ReleaseFailed    ReleaseState = "failed"      // the last action, or a test, failed
	ReleaseOutOfSync ReleaseState = "out-of-sync" // chart, values or what is laid over differ
	ReleaseUntested  ReleaseState = "untested"
	ReleaseDrifted   ReleaseState = "drifted"
	ReleaseInSync    ReleaseState = "in-sync"
)

// ReleaseReport is what a run did to a release and found of it. A dialect
// derives the conditions from Results in their order, and remembers Memory.
type ReleaseReport struct {
	State   ReleaseState // at the end of the run
	Because string       // why, one phrase
	// Running is the action in progress, of a report in the middle of a run,
	// and Timeout its limit.
	Running ReleaseAction
	Timeout time.Duration

	Results []ReleaseResult // of this run, in their order
	Memory  ReleaseMemory   // for the next
	// Stalled: no attempt is left; only a change, or a token, helps.
	Stalled bool

	Force, Reset string // tokens that were acted upon; "" if none

	// What this run looked at.
	ChartName, ChartVersion, AppVersion, OCIDigest string
	// Drifts are the objects that differ from the stored manifest, where drift
	// is looked for: nil if it was not, empty if there are none.
	Drifts []ObjectReport
	// Corrected: the drift was undone in this run.
	Corrected bool
	// Inventory is what the release holds: the objects of its manifest and the
	// chart's CRDs, no hooks. It is nil if the run did not learn it.
	Inventory []Record
	// Unscoped are objects of it of which it is not known whether they have a
	// namespace; they are taken to have one.
	Unscoped []object.Ref
}
