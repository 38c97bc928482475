package argo

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"plumb.dev/plumb/internal/app"
	"plumb.dev/plumb/internal/object"
)

// projectSpec is what Plumb enforces of an AppProject.
type projectSpec struct {
	SourceRepos                []string          `json:"sourceRepos"`
	SourceNamespaces           []string          `json:"sourceNamespaces"`
	Destinations               []destinationSpec `json:"destinations"`
	ClusterResourceWhitelist   []kindSpec        `json:"clusterResourceWhitelist"`
	ClusterResourceBlacklist   []kindSpec        `json:"clusterResourceBlacklist"`
	NamespaceResourceWhitelist *[]kindSpec       `json:"namespaceResourceWhitelist"`
	NamespaceResourceBlacklist []kindSpec        `json:"namespaceResourceBlacklist"`
	OnlyOwnClusters            bool              `json:"permitOnlyProjectScopedClusters"`
}

type kindSpec struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
	Name  string `json:"name"`
}

// readProject reads the limits of a project.
func readProject(project *unstructured.Unstructured) (projectSpec, *app.Failure) {
	var p projectSpec
	spec, _ := project.Object["spec"].(map[string]any)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &p); err != nil {
		return p, app.Fail(app.StageSpec, app.ReasonInvalidSpec, "project %s cannot be read: %w", project.GetName(), err)
	}
	return p, nil
}

// CheckProject says why an Application may not run in its project; nil if it
// may. project is nil if there is no AppProject of that name in the control
// namespace; the default project then permits everything, and any other is an
// error. Of the destination both the name and the server are tested, whichever
// of them the Application names; to is the cluster that they belong to.
func CheckProject(u, project *unstructured.Unstructured, to Cluster, opt Options) *app.Failure {
	name := Project(u)
	if project == nil {
		if name == DefaultProject {
			return nil
		}
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec, "Application referencing project %s which does not exist", name)
	}
	p, failure := readProject(project)
	if failure != nil {
		return failure
	}
	res, _, failure := read(u)
	if failure != nil {
		return nil // decoding reports it
	}
	ns := u.GetNamespace()
	if ns != opt.controlNamespace() && name != DefaultProject && !permitsNamespace(p.SourceNamespaces, ns) {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec,
			"application '%s' in namespace '%s' is not permitted to use project '%s'", u.GetName(), ns, name)
	}
	sources := res.Spec.Sources
	if len(sources) == 0 && res.Spec.Source != nil {
		sources = []sourceSpec{*res.Spec.Source}
	}
	if op := res.Operation; op != nil && op.Sync != nil {
		sources = append(slices.Clone(sources), op.Sync.Sources...)
		if op.Sync.Source != nil {
			sources = append(sources, *op.Sync.Source)
		}
	}
	for _, s := range sources {
		if !permitsRepo(p.SourceRepos, s.RepoURL) {
			return app.Fail(app.StageSpec, app.ReasonInvalidSpec,
				"application repo %s is not permitted in project '%s'", redactURL(s.RepoURL), name)
		}
	}
	dest := to.destination(res.Spec.Destination)
	if p.OnlyOwnClusters && to.Project != name {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec,
			"application destination server '%s' is not a cluster of project '%s', which permits no others", dest.Server, name)
	}
	if to.Project != name && !permitsDestination(p.Destinations, dest, dest.Namespace) {
		return app.Fail(app.StageSpec, app.ReasonInvalidSpec,
			"application destination server '%s' and namespace '%s' do not match any of the allowed destinations in project '%s'",
			local(dest).Server, dest.Namespace, name)
	}
	return nil
}

// Limits identifies what a project permits, "" if there is no such project: it
// changes with the project's spec.
func Limits(project *unstructured.Unstructured) string {
	if project == nil {
		return ""
	}
	return token(project.Object["spec"])
}

// destination is what an Application writes, completed by what its cluster is.
func (c Cluster) destination(dest destinationSpec) destinationSpec {
	if c.Server != "" {
		dest.Server, dest.Name = c.Server, c.Name
	}
	return dest
}

// PermitsObject says why the cluster that it goes to, or the project, refuses
// to deliver an object of an Application; nil if it may be delivered.
// namespaced tells whether the object's kind is.
func PermitsObject(u, project *unstructured.Unstructured, to Cluster, ref object.Ref, namespaced bool) *app.Failure {
	if failure := to.Permits(ref, namespaced); failure != nil {
		return failure
	}
	if project == nil {
		return nil
	}
	p, failure := readProject(project)
	if failure != nil {
		return failure
	}
	if !p.permitsKind(ref, namespaced) {
		return app.Fail(app.StageApply, app.ReasonForbidden,
			"%s: resource %s:%s is not permitted in project %s", ref, ref.Group, ref.Kind, project.GetName())
	}
	if !namespaced || to.Project == project.GetName() {
		return nil
	}
	res, _, _ := read(u)
	if !permitsDestination(p.Destinations, to.destination(res.Spec.Destination), ref.Namespace) {
		return app.Fail(app.StageApply, app.ReasonForbidden,
			"%s: namespace %s is not permitted in project '%s'", ref, ref.Namespace, project.GetName())
	}
	return nil
}

// permitsKind: without a list no cluster-scoped kind is permitted, and every
// namespaced one is; a namespaced list that is present but empty permits none.
func (p projectSpec) permitsKind(ref object.Ref, namespaced bool) bool {
	gk := ref.GroupKind()
	if !namespaced {
		return listed(p.ClusterResourceWhitelist, gk, ref.Name) && !listed(p.ClusterResourceBlacklist, gk, ref.Name)
	}
	if p.NamespaceResourceWhitelist != nil && !listed(*p.NamespaceResourceWhitelist, gk, "") {
		return false
	}
	return !listed(p.NamespaceResourceBlacklist, gk, "")
}

func listed(list []kindSpec, gk schema.GroupKind, name string) bool {
	return slices.ContainsFunc(list, func(k kindSpec) bool {
		return globMatch(k.Group, gk.Group, 0) && globMatch(k.Kind, gk.Kind, 0) &&
			(k.Name == "" || globMatch(k.Name, name, '/'))
	})
}

// permitsNamespace: globs, or regular expressions between slashes.
func permitsNamespace(patterns []string, ns string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		if len(p) > 2 && p[0] == '/' && p[len(p)-1] == '/' {
			re, err := regexp.Compile(p[1 : len(p)-1])
			return err == nil && re.MatchString(ns)
		}
		return globMatch(p, ns, 0)
	})
}

// permitsRepo: any denying pattern (with !) that matches rejects; otherwise
// one must permit. An asterisk does not cross a slash, except alone.
func permitsRepo(patterns []string, repo string) bool {
	repo = normalRepo(repo)
	permitted := false
	for _, p := range patterns {
		deny := strings.HasPrefix(p, "!")
		p = strings.TrimPrefix(p, "!")
		hit := p == "*" || globMatch(normalRepo(p), repo, '/')
		if hit && deny {
			return false
		}
		permitted = permitted || hit && !deny
	}
	return permitted
}

// permitsDestination: an item matches by server or name, and by namespace.
func permitsDestination(items []destinationSpec, dest destinationSpec, namespace string) bool {
	dest = local(dest)
	match := func(pattern, text string) (hit, deny bool) {
		deny = strings.HasPrefix(pattern, "!")
		pattern = strings.TrimPrefix(pattern, "!")
		return pattern != "" && globMatch(pattern, text, 0), deny
	}
	permitted := false
	for _, item := range items {
		serverHit, serverDeny := match(strings.TrimRight(item.Server, "/"), dest.Server)
		nameHit, nameDeny := match(item.Name, dest.Name)
		namespaceHit, namespaceDeny := match(item.Namespace, namespace)
		if serverHit && serverDeny || nameHit && nameDeny {
			return false
		}
		here := serverHit && !serverDeny || nameHit && !nameDeny
		if here && namespaceHit && namespaceDeny {
			return false
		}
		permitted = permitted || here && namespaceHit && !namespaceDeny
	}
	return permitted
}

// local completes the destination of the cluster that Plumb serves, which goes
// by either of two names.
func local(dest destinationSpec) destinationSpec {
	dest.Server = strings.TrimRight(dest.Server, "/")
	switch {
	case dest.Server == "" && dest.Name == localName:
		dest.Server = localServer
	case dest.Server == localServer && dest.Name == "":
		dest.Name = localName
	}
	return dest
}

var scpLike = regexp.MustCompile(`^(?:[^@/]+@)?([^:/]+):([^/].*)$`)

// normalRepo brings the spellings of one repository to one: lower case, no
// .git, no user, and the scp-like form as ssh.
func normalRepo(repo string) string {
	repo = strings.ToLower(strings.TrimSpace(repo))
	if !strings.Contains(repo, "://") {
		if m := scpLike.FindStringSubmatch(repo); m != nil {
			repo = "ssh://" + m[1] + "/" + m[2]
		}
	}
	if scheme, rest, ok := strings.Cut(repo, "://"); ok {
		host, path, _ := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		repo = strings.TrimRight(scheme+"://"+host+"/"+path, "/")
	}
	return strings.TrimSuffix(strings.TrimRight(repo, "/"), ".git")
}

// redactURL takes a password out of a URL that is shown.
func redactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	return u.Redacted()
}
