package argo

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// anonymous is who asked where the operation does not tell: clients that talk
// to the Kubernetes API directly leave the name out.
const anonymous = "someone with access to the Application"

// request reads what a user asked for: a refresh by annotation, a sync by the
// operation beside the spec. Its token tells the two apart and from later ones.
func (d *decoder) request(u *unstructured.Unstructured, op *operation) {
	req := &app.Request{}
	var tokens []string
	if t := refreshToken(u); t != "" {
		tokens = append(tokens, t)
		req.Refresh = true
		req.Hard = u.GetAnnotations()[annotationRefresh] == "hard"
	}
	if op != nil {
		tokens = append(tokens, operationToken(u))
		d.sync(req, op)
	}
	if len(tokens) == 0 {
		return
	}
	req.Token = strings.Join(tokens, " ")
	d.spec.Request = req
}

func (d *decoder) sync(req *app.Request, op *operation) {
	// An operation without anything to do is answered like a sync, with an
	// error: left on the resource it would block every later one.
	req.Sync = true
	req.By, req.Automated = op.InitiatedBy.Username, op.InitiatedBy.Automated
	if req.By == "" && !req.Automated {
		req.By = anonymous
	}
	sync := op.Sync
	if sync == nil {
		d.invalid(app.ReasonInvalidSpec, "invalid operation request: operation.sync is required")
		return
	}
	if len(sync.Manifests) > 0 {
		d.unsupported("operation.sync.manifests (a sync of local files)")
	}
	req.Revision, req.Prune, req.DryRun = sync.Revision, sync.Prune, sync.DryRun
	if req.Revision == "" && len(sync.Revisions) == 1 {
		req.Revision = sync.Revisions[0]
	}
	if s := sync.SyncStrategy; s != nil {
		req.Force = s.Apply != nil && s.Apply.Force || s.Hook != nil && s.Hook.Force
	}
	for _, r := range sync.Resources {
		req.Resources = append(req.Resources, object.Ref{Group: r.Group, Kind: r.Kind, Namespace: r.Namespace, Name: r.Name})
	}
}

// refreshToken identifies the refresh asked for on the resource, "" for none.
func refreshToken(u *unstructured.Unstructured) string {
	notes := u.GetAnnotations()
	kind, ok := notes[annotationRefresh]
	if !ok {
		return ""
	}
	return "refresh-" + token([]string{kind, notes[annotationRefreshTimestamp]})
}

// operationToken identifies the operation on the resource, "" for none.
func operationToken(u *unstructured.Unstructured) string {
	op := u.Object["operation"]
	if op == nil {
		return ""
	}
	return "sync-" + token(op)
}

// answers reports whether req is, or includes, the request with this token.
func answers(req *app.Request, token string) bool {
	if req == nil || token == "" {
		return false
	}
	for _, t := range strings.Fields(req.Token) {
		if t == token {
			return true
		}
	}
	return false
}
