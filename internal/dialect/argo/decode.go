package argo

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
)

// DecodeApplication reads an Application. What cannot be run as it is written
// sets Spec.Invalid: what it asks for is never replaced by something else.
// The source carries no credentials; the caller adds them (see Credentials).
//
// While an operation is on the resource, its source and its sync options, if
// it has them, take the place of the spec's.
func DecodeApplication(u *unstructured.Unstructured, opt Options) (app.Spec, app.Source) {
	spec := app.Spec{
		ID:         app.ID{Kind: KindApplication, Namespace: u.GetNamespace(), Name: u.GetName()},
		UID:        string(u.GetUID()),
		Generation: contentGeneration(u),
		// Not the namespace: Applications of many tenants are in one, and
		// projects are what tells them apart.
		Tenant:  "project/" + Project(u),
		Suspend: u.GetAnnotations()[annotationSkip] == "true",
	}
	res, warnings, failure := read(u)
	spec.Warnings = warnings
	spec.Recorded = recorded(u)
	spec.LastSync = lastSync(u)

	d := decoder{spec: &spec, opt: opt}
	d.delivery(u)
	d.request(u, res.Operation)
	d.policy(res)
	d.deletion(u, syncOptions(res))
	if failure != nil {
		spec.Invalid = failure
		return spec, app.Source{}
	}
	d.project(res.Spec.Project)
	d.destination(res.Spec.Destination)
	source := d.source(u.GetName(), res)
	slices.SortStableFunc(spec.Warnings, func(x, y app.Warning) int { return strings.Compare(x.Field, y.Field) })
	return spec, source
}

// decoder fills a Spec part by part.
type decoder struct {
	spec *app.Spec
	opt  Options
}

// invalid keeps the first failure: the one whose cause comes first in the
// resource as people write it.
func (d *decoder) invalid(reason app.Reason, format string, args ...any) {
	if d.spec.Invalid == nil {
		d.spec.Invalid = app.Fail(app.StageSpec, reason, format, args...)
	}
}

func (d *decoder) unsupported(field string) {
	d.invalid(app.ReasonUnsupported, "%s is not supported by this version of Plumb", field)
}

func (d *decoder) warn(field, format string, args ...any) {
	d.spec.Warnings = append(d.spec.Warnings, app.Warning{Field: field, Message: fmt.Sprintf(format, args...)})
}

// delivery sets how objects are written and marked.
func (d *decoder) delivery(u *unstructured.Unstructured) {
	instance := d.opt.instance(u.GetNamespace(), u.GetName())
	d.spec.FieldManager = FieldManager
	// Not argocd-application-controller: that name owns the status of child
	// Applications, which is no part of what their parent delivers.
	d.spec.AdoptFrom = []string{"kubectl", "kubectl-*", FieldManager, "kustomize-controller", "before-first-apply"}
	d.spec.Strip = Strip()
	d.spec.Mark = app.Mark{
		Annotations:      map[string]string{annotationTracking: instance + ":{group}/{kind}:{namespace}/{name}"},
		ClusterNamespace: text(u.Object, "spec", "destination", "namespace"), // even if the rest cannot be read
		Except:           []string{"CustomResourceDefinition.apiextensions.k8s.io"},
	}
}

func (d *decoder) project(name string) {
	if name == "" {
		d.warn("spec.project", "not set, %q is used", DefaultProject)
	}
}

// destination decides which cluster is meant by name only; which one that is,
// Place knows.
func (d *decoder) destination(dest destinationSpec) {
	server := strings.TrimRight(dest.Server, "/")
	switch {
	case server != "" && dest.Name != "":
		d.invalid(app.ReasonInvalidSpec, "application destination can't have both name and server defined: %s %s", dest.Name, dest.Server)
	case server == "" && dest.Name == "":
		d.invalid(app.ReasonInvalidSpec, "spec.destination.server or spec.destination.name is required")
	case server == localServer, dest.Name == localName:
	case server != "":
		d.spec.Target.Cluster = server
	default:
		d.spec.Target.Cluster = dest.Name
	}
	d.spec.Target.Namespace = dest.Namespace
}

// deletion reads the finalizers of an Application that is being deleted.
func (d *decoder) deletion(u *unstructured.Unstructured, options []string) {
	if u.GetDeletionTimestamp() == nil {
		return
	}
	del := &app.Deletion{Wait: true, Propagation: app.Foreground}
	for _, f := range u.GetFinalizers() {
		if isFinalizer(f) {
			del.Prune = true
		}
		if f == finalizer+"/background" {
			del.Propagation = app.Background
		}
	}
	for _, option := range options {
		if option == "Delete=false" || option == "Delete=confirm" {
			del.Prune = false
		}
	}
	d.spec.Deletion = del
}

// Project returns the name of the project that an Application belongs to.
func Project(u *unstructured.Unstructured) string {
	name, _, _ := unstructured.NestedString(u.Object, "spec", "project")
	if name == "" {
		return DefaultProject
	}
	return name
}

// contentGeneration stands for the resource's own generation, which counts
// status writes too: it is equal for equal requests.
func contentGeneration(u *unstructured.Unstructured) int64 {
	sum := digest(map[string]any{
		"spec": u.Object["spec"], "operation": u.Object["operation"],
		"skip": u.GetAnnotations()[annotationSkip], "deleted": u.GetDeletionTimestamp() != nil,
		"finalizers": u.GetFinalizers(),
	})
	return int64(binary.BigEndian.Uint64(sum[:8]) >> 1)
}

// digest identifies JSON content. Content that cannot be marshalled does not
// come out of an API server.
func digest(v any) [sha256.Size]byte {
	data, err := json.Marshal(v)
	if err != nil {
		return sha256.Sum256(fmt.Append(nil, err))
	}
	return sha256.Sum256(data)
}

// token is a digest as text, for recognising a request again.
func token(v any) string {
	sum := digest(v)
	return hex.EncodeToString(sum[:8])
}
