package webhook

import "strings"

// readGitHub reads the push events of GitHub, Gitea and Forgejo.
func readGitHub(body []byte) (Push, error) {
	var e struct {
		Ref        string
		RefType    string `json:"ref_type"` // of create and delete events: Ref is short
		After      string
		Repository struct {
			CloneURL string `json:"clone_url"`
			HTMLURL  string `json:"html_url"`
			SSHURL   string `json:"ssh_url"`
		}
	}
	if err := decode(body, &e); err != nil {
		return Push{}, err
	}
	switch e.RefType {
	case "branch":
		e.Ref = "refs/heads/" + e.Ref
	case "tag":
		e.Ref = "refs/tags/" + e.Ref
	}
	return Push{
		URLs: []string{e.Repository.CloneURL, e.Repository.HTMLURL, e.Repository.SSHURL},
		Ref:  e.Ref, Commit: e.After,
	}, nil
}

// readGitLab reads push and tag events of GitLab, of projects and system hooks.
func readGitLab(body []byte) (Push, error) {
	type addresses struct {
		HTTP string `json:"git_http_url"`
		SSH  string `json:"git_ssh_url"`
		Web  string `json:"web_url"`
	}
	var e struct {
		EventName           string `json:"event_name"` // of system hooks
		Ref, After          string
		Project, Repository addresses
	}
	if err := decode(body, &e); err != nil {
		return Push{}, err
	}
	switch e.EventName {
	case "", "push", "tag_push", "repository_update":
	default:
		return Push{}, ErrIgnored
	}
	p := Push{Ref: e.Ref, Commit: e.After}
	for _, a := range []addresses{e.Project, e.Repository} {
		p.URLs = append(p.URLs, a.HTTP, a.SSH, a.Web)
	}
	return p, nil
}

// readBitbucket reads events of Bitbucket Cloud and Server.
func readBitbucket(body []byte) (Push, error) {
	type change struct {
		Ref    struct{ ID string } // Server
		ToHash string
		New    struct { // Cloud
			Name, Type string
			Target     struct{ Hash string }
		}
	}
	var e struct {
		Changes    []change
		Push       struct{ Changes []change }
		Repository struct {
			Links struct {
				HTML  struct{ Href string }
				Clone []struct{ Href string }
			}
		}
	}
	if err := decode(body, &e); err != nil {
		return Push{}, err
	}
	p := Push{URLs: []string{e.Repository.Links.HTML.Href}}
	for _, l := range e.Repository.Links.Clone {
		p.URLs = append(p.URLs, l.Href)
	}
	if all := append(e.Changes, e.Push.Changes...); len(all) == 1 {
		p.Ref, p.Commit = all[0].Ref.ID, all[0].ToHash
		switch all[0].New.Type {
		case "branch":
			p.Ref, p.Commit = "refs/heads/"+all[0].New.Name, all[0].New.Target.Hash
		case "tag":
			p.Ref, p.Commit = "refs/tags/"+all[0].New.Name, all[0].New.Target.Hash
		}
	}
	return p, nil
}

// readGeneric reads {"url": …, "ref": …, "commit": …}; all but url may be left
// out, and ref may be a branch. It also reads what OCI registries of the
// distribution project send.
func readGeneric(body []byte) (Push, error) {
	var e struct {
		URL, Ref, Commit string
		Events           []struct {
			Action  string
			Target  struct{ Repository string }
			Request struct{ Host string }
		}
	}
	if err := decode(body, &e); err != nil {
		return Push{}, err
	}
	if e.URL == "" && len(e.Events) > 0 {
		var p Push
		for _, event := range e.Events {
			if event.Action == "push" {
				p.URLs = append(p.URLs, "oci://"+event.Request.Host+"/"+event.Target.Repository)
			}
		}
		if len(p.URLs) == 0 {
			return Push{}, ErrIgnored
		}
		return p, nil
	}
	if e.Ref != "" && !strings.HasPrefix(e.Ref, "refs/") {
		e.Ref = "refs/heads/" + e.Ref
	}
	return Push{URLs: []string{e.URL}, Ref: e.Ref, Commit: e.Commit}, nil
}
