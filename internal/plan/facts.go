package plan

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
	"plumb.dev/plumb/internal/ownership"
)

// Facts is what was observed of a cluster before planning.
type Facts struct {
	// Kinds tells of every kind among the desired and the recorded objects.
	Kinds map[schema.GroupKind]Kind
	// Live holds the desired and the recorded objects that exist, and those
	// that were predicted. An object that is not in it does not exist.
	Live map[object.Ref]Live
}

// Kind is what the cluster says of a kind.
type Kind struct {
	Served     bool
	Namespaced bool
	Version    string // the version that the API server prefers
	// Owned is false for APIs that record no field ownership; their objects
	// are compared in full.
	Owned bool
}

// Live is one object as the cluster holds it. It is made from metadata alone,
// but for Prediction.
type Live struct {
	Exists          bool // false only where there is a Prediction of its creation
	UID             string
	ResourceVersion string
	// Owned is the digest of what the app's field manager owns of the object,
	// "" if it owns nothing.
	Owned string
	// Others are the field managers besides that one, of those that apps are
	// delivered under, which own part of the object.
	Others []string
	// Marked: the object carries the app's mark.
	Marked bool
	// Labels and Annotations hold the keys that Switches look at.
	Labels, Annotations map[string]string
	Deleting            bool
	// InUse is set for a CustomResourceDefinition that is a candidate for
	// pruning and still has objects.
	InUse bool
	// Prediction is set where Observe was asked to predict.
	Prediction *Prediction
}

// Prediction is what the API server says an apply would do.
type Prediction struct {
	Changes []app.FieldChange // empty: nothing would change
	// Refused: the API server would refuse the object.
	Refused *app.Failure
	// Regained tells who holds the fields that an apply would take back.
	Regained []Holding
	// Owned is the digest of what the manager owned of the object that was
	// compared; "" if nothing.
	Owned string
	// Deferred, if not "", says why nothing can be predicted: the object's
	// kind or namespace does not exist yet.
	Deferred string
}

// WriteOptions says how an object is written.
type WriteOptions struct {
	Manager string // field manager
	DryRun  bool
	// AdoptFrom and Strip, if set, take the object over first: see app.Spec.
	AdoptFrom, Strip []string
	// Replace updates the whole object instead of applying it.
	Replace bool
	// Explain is for an object whose ownership had changed: Written tells who
	// held what, and Changed compares contents. It costs a read.
	Explain bool
}

// Written is what the API server answered to a write.
type Written struct {
	UID, ResourceVersion string
	Owned                string // ownership digest after the write
	Created, Changed     bool
	// Regained lists the fields that the manager owns now and did not own in
	// the ownership entry that was last observed, with who held them then. It
	// is filled in only if WriteOptions.Explain asks for it.
	Regained []Holding
}

// Holding tells who held a field.
type Holding = ownership.Holding

// Query says what to observe.
type Query struct {
	Desired  []object.Object // prepared: marked, with their final namespaces
	Recorded []app.Record
	Manager  string
	Mark     app.Mark
	Switches []app.Switch
	Waves    []string // annotation keys that Live.Annotations must hold as well
	Ignore   []app.IgnoreRule
	// Namespace is the namespace that the app's policy asks for, zero if
	// none: Live tells whether it exists, and if it does, it is predicted.
	Namespace object.Object
	// PredictFrom asks for a prediction of every desired object that its
	// record does not prove to be in sync, if there are at least so many; 0
	// is never. A single object need not be predicted before it is written:
	// its write is the test.
	PredictFrom int
	// Delivered: the objects were delivered under the manager, recorded or not.
	Delivered bool
	// First: the app has never delivered anything. If nothing of it exists
	// either, there is nothing that a refusal could leave half changed, and
	// nothing is predicted from two on.
	First bool
}

// InSync reports whether the record proves that live is what obj asks for:
// the same desired content was applied, and nobody has touched what the app
// owns since.
func InSync(obj object.Object, rec app.Record, live Live) bool {
	return live.Exists && !live.Deleting && rec.Desired != "" && rec.Owned != "" &&
		rec.Desired == obj.Digest() && rec.Owned == live.Owned
}
