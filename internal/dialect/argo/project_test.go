package argo

import (
	"strings"
	"testing"

	"plumb.dev/plumb/internal/object"
)

func TestCheckProject(t *testing.T) {
	const application = `{kind: Application, metadata: {name: shop, namespace: argocd}, spec: {project: p,
		source: {repoURL: "https://github.com/Org/repo.git", path: a}, destination: {server: "https://kubernetes.default.svc", namespace: shop}}}`
	anywhere := `sourceRepos: ["*"], destinations: [{server: "*", namespace: "*"}]`
	for _, c := range []struct{ name, app, project, want string }{
		{"missing project", application, "", "Application referencing project p which does not exist"},
		{"missing default", strings.Replace(application, "project: p,", "", 1), "", ""},
		{"all permitted", application, anywhere, ""},
		{"empty project", application, "", "does not exist"},
		{"nothing listed", application, "description: x", "repo https://github.com/Org/repo.git is not permitted"},
		{"one level", application, `sourceRepos: ["https://github.com/org/*"], destinations: [{server: "*", namespace: "*"}]`, ""},
		{"asterisk stops at a slash", application, `sourceRepos: ["https://github.com/*"], destinations: [{server: "*", namespace: "*"}]`, "not permitted"},
		{"two asterisks do not", application, `sourceRepos: ["https://github.com/**"], destinations: [{server: "*", namespace: "*"}]`, ""},
		{"denied", application, `sourceRepos: ["*", "!https://github.com/org/*"], destinations: [{server: "*", namespace: "*"}]`, "not permitted"},
		{"deny only", application, `sourceRepos: ["!https://x/y"], destinations: [{server: "*", namespace: "*"}]`, "not permitted"},
		{"namespace glob", application, `sourceRepos: ["*"], destinations: [{server: "*", namespace: "sh*"}]`, ""},
		{"other namespace", application, `sourceRepos: ["*"], destinations: [{server: "*", namespace: team-*}]`, "application destination server 'https://kubernetes.default.svc' and namespace 'shop' do not match any of the allowed destinations in project 'p'"},
		{"local by name", application, `sourceRepos: ["*"], destinations: [{name: in-cluster, namespace: "*"}]`, ""},
		{"namespace denied", application, `sourceRepos: ["*"], destinations: [{server: "*", namespace: "*"}, {server: "*", namespace: "!shop"}]`, "do not match"},
		{"namespace denied elsewhere", application, `sourceRepos: ["*"], destinations: [{server: "*", namespace: "*"}, {server: "https://other", namespace: "!shop"}]`, ""},
		{"server denied", application, `sourceRepos: ["*"], destinations: [{server: "*", namespace: "*"}, {server: "!https://kubernetes.default.svc", namespace: "*"}]`, "do not match"},
		{"app elsewhere", strings.Replace(application, "namespace: argocd", "namespace: team", 1), anywhere, "is not permitted to use project 'p'"},
		{"app elsewhere, listed", strings.Replace(application, "namespace: argocd", "namespace: team-a", 1), anywhere + `, sourceNamespaces: ["team-*"]`, ""},
		{"rollback to another repository", strings.Replace(application, "spec:", `operation: {sync: {source: {repoURL: "https://evil.example.org/x", path: a}}}, spec:`, 1),
			`sourceRepos: ["https://github.com/org/*"], destinations: [{server: "*", namespace: "*"}]`, "repo https://evil.example.org/x is not permitted"},
	} {
		project := parse(t, "{kind: AppProject, metadata: {name: p}, spec: {"+c.project+"}}")
		if c.project == "" {
			project = nil
		}
		failure := CheckProject(parse(t, c.app), project, Cluster{}, Options{})
		switch {
		case c.want == "" && failure != nil:
			t.Errorf("%s: %v", c.name, failure)
		case c.want != "" && (failure == nil || !strings.Contains(failure.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, failure, c.want)
		}
	}
}

func TestPermitsObject(t *testing.T) {
	u := parse(t, `{kind: Application, metadata: {name: shop, namespace: argocd}, spec: {project: p, destination: {name: in-cluster, namespace: shop}}}`)
	namespace := object.Ref{Kind: "Namespace", Name: "shop"}
	deployment := object.Ref{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "api"}
	quota := object.Ref{Kind: "ResourceQuota", Namespace: "shop", Name: "q"}
	for _, c := range []struct {
		name, project string
		ref           object.Ref
		want          bool
	}{
		{"no list: no cluster-scoped kind", "", namespace, false},
		{"cluster-scoped, listed", `clusterResourceWhitelist: [{group: "", kind: Namespace}]`, namespace, true},
		{"cluster-scoped, listed by name", `clusterResourceWhitelist: [{group: "*", kind: "*", name: other-*}]`, namespace, false},
		{"cluster-scoped, denied", `clusterResourceWhitelist: [{group: "*", kind: "*"}], clusterResourceBlacklist: [{group: "", kind: Namespace}]`, namespace, false},
		{"no list: every namespaced kind", "", deployment, true},
		{"empty list: none", "namespaceResourceWhitelist: []", deployment, false},
		{"another kind listed", `namespaceResourceWhitelist: [{group: "", kind: "*"}]`, deployment, false},
		{"denied", `namespaceResourceBlacklist: [{group: "", kind: ResourceQuota}]`, quota, false},
		{"another is denied", `namespaceResourceBlacklist: [{group: "", kind: ResourceQuota}]`, deployment, true},
		{"another namespace", "", object.Ref{Kind: "Secret", Namespace: "kube-system", Name: "x"}, false},
	} {
		project := parse(t, "{kind: AppProject, metadata: {name: p}, spec: {destinations: [{server: '*', namespace: shop}], "+c.project+"}}")
		failure := PermitsObject(u, project, Cluster{}, c.ref, c.ref.Namespace != "")
		if (failure == nil) != c.want {
			t.Errorf("%s: %v", c.name, failure)
		}
	}
	if failure := PermitsObject(u, nil, Cluster{}, namespace, false); failure != nil {
		t.Errorf("without a project: %v", failure)
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		separator     byte
		want          bool
	}{
		{"*", "a/b", '/', false}, {"**", "a/b", '/', true}, {"*", "a/b", 0, true},
		{"a?c", "abc", 0, true}, {"a?c", "a/c", '/', false},
		{"{a,b*}", "bx", 0, true}, {"{a,b}", "c", 0, false},
		{"[ab]c", "bc", 0, true}, {"[!ab]c", "bc", 0, false}, {"[", "[", 0, true},
		{"a.c", "abc", 0, false}, {`\*`, "*", 0, true}, {`\*`, "a", 0, false},
		{"a", "a\n", 0, false}, {"(", "(", 0, true}, {"", "", 0, true}, {"", "a", 0, false},
	} {
		if got := globMatch(c.pattern, c.text, c.separator); got != c.want {
			t.Errorf("globMatch(%q, %q, %q) = %v", c.pattern, c.text, c.separator, got)
		}
	}
}
