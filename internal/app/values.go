package app

import "plumb.dev/plumb/internal/object"

// Substitute replaces ${variables} in the text of built objects. Nothing is
// replaced if there is no variable at all, unless Always is set.
type Substitute struct {
	Inline map[string]string // wins over From
	From   []ValuesFrom      // a later one wins over those before
	Always bool
	// SkipKey is a label or annotation that takes an object out when its value
	// is "disabled", in any case.
	SkipKey string
}

// Asked reports whether substitution has anything to look at.
func (s Substitute) Asked() bool { return s.Always || len(s.Inline)+len(s.From) > 0 }

// ValuesFrom names a ConfigMap or a Secret of the cluster that Plumb serves,
// each key of which is a variable.
type ValuesFrom struct {
	Ref      object.Ref // with its namespace
	Optional bool       // may be missing
}

// Decrypt says how encrypted files and objects are opened.
type Decrypt struct {
	// Keys is the Secret that holds the keys; zero for none.
	Keys object.Ref
	// On: decryption is asked for, with keys or without.
	On bool
	// SkipKey is an annotation that leaves an object as it is when its value
	// is "disabled", in any case.
	SkipKey string
}

// Completes reports whether objects are worked on after they are built, so
// that metadata for all of them comes last.
func (r Render) Completes() bool { return r.Substitute.Asked() || r.Decrypt.On }

// Confidential reports whether what is built may hold secrets that are not in
// the source as such: it must not be written to a disk. What it is completed
// to is never.
func (r Render) Confidential() bool { return r.Decrypt.On }

// References are the objects of the cluster that rendering takes values from.
func (r Render) References() []object.Ref {
	var refs []object.Ref
	for _, from := range r.Substitute.From {
		refs = append(refs, from.Ref)
	}
	if r.Decrypt.Keys != (object.Ref{}) {
		refs = append(refs, r.Decrypt.Keys)
	}
	return refs
}
