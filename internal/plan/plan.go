// Package plan decides what is to be done: Decide says whether an app may be
// written now, Prepare makes rendered objects deliverable, and Build turns
// desired objects, facts and policy into a Plan, which is a value: every step
// with its reason. It is pure. It must not know custom resources, clients, or
// how a step is carried out.
package plan

import (
	"time"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// Verb is what a step does.
type Verb string

// The verbs. Keep, Skip, Leave and Report write nothing.
const (
	Create   Verb = "create"
	Apply    Verb = "apply"
	Replace  Verb = "replace"  // update the whole object
	Recreate Verb = "recreate" // delete, wait until it is gone, create
	Prune    Verb = "prune"
	Keep     Verb = "keep"   // in sync, no request needed
	Skip     Verb = "skip"   // left alone because a switch says so
	Leave    Verb = "leave"  // left in the cluster: pruning is off, or not confirmed
	Report   Verb = "report" // out of sync, and only reported
)

// Writes reports whether the verb changes the cluster.
func (v Verb) Writes() bool {
	switch v {
	case Create, Apply, Replace, Recreate, Prune:
		return true
	}
	return false
}

// Step is one object's part of a plan.
type Step struct {
	Verb    Verb
	Ref     object.Ref
	Version string
	Object  object.Object // zero for Prune and Leave
	Desired string        // digest of Object
	Reason  string        // why, one phrase
	Wave    int
	Changes []app.FieldChange
	// Sync is how the object stands before the step.
	Sync app.SyncStatus
	// Drifted: what the app owns of the object was changed by someone else.
	Drifted bool
	// Held tells who holds the fields that drifted, where it was predicted.
	Held []Holding
	// Recorded is what was recorded of the object; zero if nothing.
	Recorded app.Record
	// UID guards a Prune against an object that was made anew.
	UID         string
	Propagation app.Propagation
	// Write says how Create, Apply, Replace and Recreate write.
	Write WriteOptions
}

// OfNamespace reports whether the step makes the namespace that the app's
// policy asks for. It belongs to no inventory.
func (s Step) OfNamespace() bool { return s.Reason == reasonNamespace }

// Group is a set of steps that may run side by side. The groups of a plan run
// one after the other.
type Group struct {
	Name  string
	Steps []Step
	// Await lists objects that must be healthy before the next group.
	Await []object.Ref
	// Gone waits until the objects pruned by this group no longer exist, and
	// Leaving for those that were being deleted already.
	Gone    bool
	Leaving []object.Ref
}

// Plan is what is to be done for an app.
type Plan struct {
	Groups []Group
	// Rest are the steps that write nothing.
	Rest []Step
	// Refused says why nothing may be done at all; Groups is empty then.
	Refused *app.Failure
	// Partial: only some of the app's objects are looked at.
	Partial  bool
	Warnings []app.Warning
}

// Writes counts the steps that change the cluster.
func (p Plan) Writes() int {
	n := 0
	for _, g := range p.Groups {
		n += len(g.Steps)
	}
	return n
}

// Steps gives all steps, those that write first, in order.
func (p Plan) Steps() []Step {
	var all []Step
	for _, g := range p.Groups {
		all = append(all, g.Steps...)
	}
	return append(all, p.Rest...)
}

// OutOfSync reports whether any object is not as Git says.
func (p Plan) OutOfSync() bool {
	for _, s := range p.Steps() {
		if s.Sync == app.OutOfSync {
			return true
		}
	}
	return false
}

// Differing are the steps whose objects are not as Git has them, in the order
// in which they would be done.
func (p Plan) Differing() []Step {
	var out []Step
	for _, s := range p.Steps() {
		if s.Verb != Skip && s.Sync == app.OutOfSync {
			out = append(out, s)
		}
	}
	return out
}

// Creates lists what the plan would bring into being, for the inventory that
// is recorded before the first write.
func (p Plan) Creates() []app.Record {
	var out []app.Record
	for _, g := range p.Groups {
		for _, s := range g.Steps {
			if s.Verb != Prune && s.Recorded == (app.Record{}) && !s.OfNamespace() {
				out = append(out, app.Record{Ref: s.Ref, Version: s.Version})
			}
		}
	}
	return out
}

// Outcome is what came of carrying out a plan.
type Outcome struct {
	Results []Result
	// Failure is why not all was done; nil if all was.
	Failure *app.Failure
}

// Result is what came of a step.
type Result struct {
	Step    Step
	Action  app.Action
	Message string
	Written Written
	// Remains: the object was deleted, and is still there for a while.
	Remains bool
	Failure *app.Failure
	At      time.Time
}
