package app

import "time"

// Mode says when a plan is carried out without anyone asking.
type Mode string

// The modes.
const (
	// ModeManual never applies; differences are reported.
	ModeManual Mode = "manual"
	// ModeOnChange applies a new revision or spec once; what drifts afterwards
	// is reported.
	ModeOnChange Mode = "on-change"
	// ModeEnforce applies changes and undoes drift.
	ModeEnforce Mode = "enforce"
)

// Policy is how an app is delivered, as data.
type Policy struct {
	Mode  Mode
	Prune bool
	// AllowEmpty lets a rendering without objects prune all that there was.
	AllowEmpty bool
	// Forget lets an object leave the record when it leaves the source and is not
	// to be pruned: it is nobody's from then on, whatever is asked for later.
	Forget bool
	// Wait makes success depend on health: of all objects, or of HealthChecks
	// if there are any.
	Wait         bool
	HealthChecks []HealthCheck
	// HealthExprs are CEL expressions that health is judged by, before
	// HealthRules, where health decides about success.
	HealthExprs []HealthExpr
	// HealthRules selects the rule set that health is assessed by.
	HealthRules HealthRules

	Timeout       time.Duration // of a sync including its wait for health
	Interval      time.Duration // of the periodic full look; 0 for none
	RetryInterval time.Duration // fixed wait after a failure; 0: use Retry
	Retry         Backoff       // of failed syncs, if RetryInterval is 0
	RetryLimit    int           // tries after the first; negative: no limit
	HealBackoff   Backoff       // between heals; the zero value never waits

	Order Order
	// WaveAnnotations hold an integer, the first that parses counts; waves
	// are applied in ascending order and each must be healthy before the
	// next. Empty: no waves.
	WaveAnnotations []string
	// PruneLast prunes after everything is applied and healthy; otherwise
	// PruneFirst decides.
	PruneLast bool
	// PruneFirst prunes before applying.
	PruneFirst  bool
	Propagation Propagation

	CreateNamespace      bool // create Target.Namespace if it is missing
	NamespaceLabels      map[string]string
	NamespaceAnnotations map[string]string

	Force      bool // recreate what cannot be changed in place
	Replace    bool // update instead of apply
	OnlyDrift  bool // apply only objects out of sync, even on request
	SkipDryRun bool // for kinds that are not served yet, do not fail

	// Object-level switches: annotation (or label) key → value → meaning.
	Switches []Switch

	Ignore []IgnoreRule
}

// Backoff is an exponential wait.
type Backoff struct {
	Initial time.Duration
	Factor  float64
	Max     time.Duration
}

// After returns the wait before try n, counted from 0: 0 for the zero value.
func (b Backoff) After(n int) time.Duration {
	if b.Initial == 0 {
		return 0
	}
	wait := float64(b.Initial)
	for range n {
		wait *= b.Factor
		if b.Max > 0 && wait >= float64(b.Max) {
			return b.Max
		}
	}
	return time.Duration(wait)
}

// HealthRules names a rule set.
type HealthRules string

// The rule sets.
const (
	// HealthKstatus judges by the conventions of kstatus, with a verdict for
	// every kind.
	HealthKstatus HealthRules = "kstatus"
	// HealthByKind judges only kinds it has a rule for; others have no health.
	HealthByKind HealthRules = "by-kind"
)

// HealthCheck names an object whose health counts.
type HealthCheck struct {
	Group, Version, Kind, Namespace, Name string
}

// HealthExpr judges the objects of a kind, or of a group where Kind is "", by
// CEL expressions on their fields: the first of InProgress, Failed and Current
// that holds counts. The first two may be "".
type HealthExpr struct {
	Group, Kind                 string
	InProgress, Failed, Current string
}

// Order is the order of kinds.
type Order struct {
	// First and Last list kinds by bare name; kinds in neither come between.
	First, Last []string
	// Stages lists sets of kinds that are applied, and ready, before
	// everything else, a stage after the other. Waited for even if
	// Policy.Wait is unset.
	Stages [][]string
}

// Effect is what a Switch does to one object.
type Effect string

// The effects.
const (
	EffectIgnore       Effect = "ignore"         // neither applied nor pruned
	EffectKeep         Effect = "keep"           // never pruned, nor deleted with the app
	EffectKeepOnDelete Effect = "keep-on-delete" // not deleted with the app
	EffectCreateOnly   Effect = "create-only"    // left alone once it exists
	EffectMerge        Effect = "merge"          // fields of other managers are not taken over
	EffectForce        Effect = "force"          // recreate where a field cannot be changed
	EffectReplace      Effect = "replace"        // update instead of apply
	EffectPruneLast    Effect = "prune-last"
)

// Switch is an annotation or label on a delivered object that changes how it
// is treated. Values compare case-insensitively; with List set, the value is
// a comma-separated list that contains Value.
type Switch struct {
	Key, Value string
	List       bool
	Label      bool // a label of that key counts as well
	Effect     Effect
	// Note, if set, is a warning for each object that the switch leaves
	// alone: that what the author means by it is not done.
	Note string
}

// IgnoreRule leaves fields to others: they are not applied and not compared.
type IgnoreRule struct {
	// Target picks the objects instead of Group, Kind, Namespace and Name.
	Target                       *Selector
	Group, Kind, Namespace, Name string // * matches; "" for Namespace and Name matches any
	Pointers                     []string
	// Managers are field managers whose fields are left to them.
	Managers []string
}
