// Package app is the neutral vocabulary between the dialects and the engine:
// what an app is asked to be (Spec, Policy), what came of it (Report), and why
// not (Failure). It must not know any custom resource, any client, or any rule
// that belongs to one dialect only: a dialect expresses its rules as data here.
package app

import (
	"strings"
	"time"

	"plumb.dev/plumb/internal/object"
)

// ID names one app: the custom resource that declares it.
type ID struct {
	Kind, Namespace, Name string
}

func (id ID) String() string { return id.Kind + "/" + id.Namespace + "/" + id.Name }

// Spec is one app, fully resolved: all that the engine needs to know.
type Spec struct {
	ID         ID
	UID        string
	Generation int64
	// Tenant is whose work this is, as far as taking turns goes: of what is
	// equally urgent, each tenant gets as much as any other.
	Tenant string

	Source SourceID
	// SourceAs, if set, is the Form of the source that counts: while the source
	// is asked for in another form, nothing is known of what to deliver.
	SourceAs string
	Render   Render
	Target   Target
	// Release, if set, delivers by Helm; Render is not looked at. Nil: objects
	// are rendered and applied.
	Release *Release

	// FieldManager is the name under which the app's objects are written.
	FieldManager string
	// AdoptFrom names field managers whose fields on the app's objects become
	// the app's own when it takes an object over, so that what leaves Git
	// later leaves the cluster. A trailing * matches any ending.
	AdoptFrom []string
	// Strip lists metadata that taking over removes (annotations and labels
	// that other tools left on objects).
	Strip []string
	Mark  Mark

	Policy    Policy
	DependsOn []ID
	// StandIn is whose place Plumb takes where the app goes; nil for nobody's.
	StandIn *StandIn
	// ReadyExprs decide, for some of DependsOn, whether they are ready.
	ReadyExprs []ReadyExpr
	// Permits says why an object may not be delivered by this app; nil if it
	// may. It is pure. A nil Permits permits everything.
	Permits func(ref object.Ref, namespaced bool) *Failure
	// Limits identifies what Permits permits: when it changes, an app that was
	// refused is tried again.
	Limits string

	Suspend  bool
	Deletion *Deletion // set while the custom resource is being deleted

	// Recorded is what the status says was delivered, from an earlier run of
	// the engine, or of the tool that Plumb replaced (then without digests).
	Recorded []Record
	// RecordedAt is the cluster that Recorded tells of, as Target.Cluster has
	// it. Where it differs from that, the app has moved.
	RecordedAt string
	// Left is what earlier moves left behind.
	Left []Left
	// LastSync is the last attempt that the status tells of, by whichever
	// process; nil if none.
	LastSync *Attempt
	// Ahead is set if what was delivered last is ahead of the source's status.
	Ahead Ahead
	// Ready: the status says that this generation was delivered and is well.
	// It counts for those that depend on the app until it has run.
	Ready bool

	Request  *Request  // what a user asked for, not yet answered
	Invalid  *Failure  // decode found that this app cannot run; nothing else is looked at
	Warnings []Warning // unknown or unsupported fields and the like
}

// References are the objects of the cluster that what is delivered depends on.
func (s Spec) References() []object.Ref {
	if s.Release != nil {
		return s.Release.References()
	}
	return s.Render.References()
}

// ReadyExpr is a CEL expression with the variables dep and self, which are the
// resources that declare the app On and the app itself, as they are in the
// cluster.
type ReadyExpr struct {
	On        ID
	Dep, Self object.Ref
	Text      string
}

// Warning is something about the custom resource that its author should know.
type Warning struct {
	Field   string // path in the resource, may be empty
	Message string
}

// Target is where objects go.
type Target struct {
	// Cluster is the ID of the Cluster; "" is the one that Plumb serves.
	Cluster string
	// Namespace is where namespaced objects go that name none.
	Namespace string
	// ServiceAccount, if set, is impersonated: namespace/name.
	ServiceAccount string
}

// Render says how files become objects. All of it is data for a hermetic
// function.
type Render struct {
	Path string // within the tree, "" or "." is its root
	Mode RenderMode
	// Directory applies to plain manifests.
	Directory Directory
	Kustomize Kustomize
	// Decrypt and then Substitute complete what was built.
	Decrypt    Decrypt
	Substitute Substitute
	// Name and Revision are for build variables and messages.
	Name, Revision string
	// Owner is whose rendering it is: how long the last one took decides with
	// whom the next one shares. It has no part in what is rendered.
	Owner string
}

// RenderMode is how a directory is read.
type RenderMode string

// The modes. A dialect says which one; Auto looks for a kustomization file
// and otherwise takes the directory as plain manifests.
const (
	RenderAuto      RenderMode = ""
	RenderDirectory RenderMode = "directory" // plain manifests
	RenderKustomize RenderMode = "kustomize"
	// RenderGenerated is Kustomize with a kustomization file made up for a
	// directory that has none: all manifests below it, recursively, where
	// directories with a kustomization file of their own count as a unit.
	RenderGenerated RenderMode = "generated"
	// RenderChart renders the templates of one Helm chart to texts, for a
	// release: see render.Chart. No dialect asks for it.
	RenderChart RenderMode = "chart"
)

// Directory selects plain manifests.
type Directory struct {
	Recurse bool
	Include string // glob with {a,b}; "" is everything
	Exclude string // wins over Include
	// SkipMarker: a file that contains this text is left out; "" for none.
	SkipMarker string
	// Lenient skips documents without apiVersion or kind instead of failing.
	Lenient bool
}

// Kustomize is what a dialect lays over a kustomization.
type Kustomize struct {
	Namespace              string // namespace transformer
	NamePrefix, NameSuffix string
	CommonLabels           map[string]string
	LabelWithoutSelector   bool
	LabelIncludeTemplates  bool
	ForceCommonLabels      bool
	CommonAnnotations      map[string]string
	ForceCommonAnnotations bool
	Images                 []Image
	Replicas               []Replica
	Patches                []Patch
	Components             []string
	// IgnoreMissing leaves out Components whose directory does not exist.
	IgnoreMissing bool
	// Origins and Transformers add the annotations with which Kustomize tells
	// where an object comes from, and what changed it.
	Origins, Transformers bool
	AllowRemoteBases      bool
	// Metadata that is set on every object after the build, overriding.
	Labels, Annotations map[string]string
}

// Image overrides an image by name.
type Image struct{ Name, NewName, NewTag, Digest string }

// Replica overrides a replica count by workload name.
type Replica struct {
	Name  string
	Count int64
}

// Patch is a strategic merge or JSON 6902 patch, inline or as a file.
type Patch struct {
	Patch   string
	Path    string
	Target  *Selector
	Options map[string]bool
}

// Selector picks the objects of a patch; fields are anchored regular
// expressions, as Kustomize has them.
type Selector struct {
	Group, Version, Kind, Name, Namespace string
	LabelSelector, AnnotationSelector     string
}

// Mark is how an object shows whose it is. Values may hold the placeholders
// {group}, {kind}, {namespace} and {name} of the object that carries them;
// for cluster-scoped objects {namespace} is ClusterNamespace.
type Mark struct {
	Labels           map[string]string
	Annotations      map[string]string
	ClusterNamespace string
	// Except lists kinds ("CustomResourceDefinition.apiextensions.k8s.io")
	// that are never marked, and hence never pruned.
	Except []string
}

// Stamp returns the labels and annotations of the mark for ref.
func (m Mark) Stamp(ref object.Ref) (labels, annotations map[string]string) {
	for _, kind := range m.Except {
		if kind == ref.GroupKind().String() {
			return nil, nil
		}
	}
	ns := ref.Namespace
	if ns == "" {
		ns = m.ClusterNamespace
	}
	fill := strings.NewReplacer("{group}", ref.Group, "{kind}", ref.Kind, "{namespace}", ns, "{name}", ref.Name)
	expand := func(in map[string]string) map[string]string {
		out := make(map[string]string, len(in))
		for k, v := range in {
			out[k] = fill.Replace(v)
		}
		return out
	}
	return expand(m.Labels), expand(m.Annotations)
}

// Owner says how objects tell whose they are of which apps: under which field
// manager they are delivered, and the labels and annotations that name the app.
type Owner struct {
	Manager string
	Keys    []string
}

// On reports whether an object with these labels and annotations carries the
// mark, and so belongs to the app.
func (m Mark) On(ref object.Ref, labels, annotations map[string]string) bool {
	wantLabels, wantAnnotations := m.Stamp(ref)
	if len(wantLabels)+len(wantAnnotations) == 0 {
		return false
	}
	for k, v := range wantLabels {
		if labels[k] != v {
			return false
		}
	}
	for k, v := range wantAnnotations {
		if annotations[k] != v {
			return false
		}
	}
	return true
}

// Request is something a user asked for on the resource.
type Request struct {
	Token string // what the status acknowledges; "" where the dialect has none
	// Refresh looks at the source again; Sync also applies, whatever the
	// policy. Hard forgets cached renderings.
	Refresh, Hard, Sync bool
	// Of a Sync:
	Revision  string       // instead of the source's; "" for that
	Prune     bool         // prune in this sync
	DryRun    bool         // predict only
	Force     bool         // recreate where an apply is refused as immutable
	Resources []object.Ref // only these; empty for all. Namespace "" matches any
	By        string       // who asked
	Automated bool
}

// Deletion says what becomes of the objects of an app that is deleted.
type Deletion struct {
	Prune       bool // delete them, or leave them be
	Wait        bool // wait until they are gone
	Propagation Propagation
}

// Propagation is how dependents of a deleted object are treated.
type Propagation string

// The propagations, as the API server spells them; "" leaves it to Policy.
const (
	Background Propagation = "Background"
	Foreground Propagation = "Foreground"
	Orphan     Propagation = "Orphan"
)

// Record is one delivered object as remembered in the status.
type Record struct {
	Ref     object.Ref
	Version string // API version without the group
	Desired string // digest of the desired object when it was last applied, "" if unknown
	Owned   string // ownership digest that the API server had after that, "" if unknown
}

// Ahead tells of a commit that was delivered before the status of its source
// named it: the status follows, and until then it names one that is older. The
// zero value: it named it.
type Ahead struct {
	Revision string // the commit
	Of       string // what the status named
}

// Attempt tells of one sync.
type Attempt struct {
	Revision  string // commit
	SpecHash  string // of everything but the revision that decides the outcome
	Started   time.Time
	Finished  time.Time
	Succeeded bool
	Heals     int // syncs since the last one that was not a heal
	Retries   int
}
