// Package giturl reads the addresses under which Git repositories are known:
// http, https, ssh and file URLs, and scp-like user@host:path. It does no I/O.
package giturl

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strings"
)

// Address is a parsed repository address. It never prints its password.
type Address struct {
	Scheme   string // http, https, ssh or file
	User     string
	Password string
	Host     string // lower case, without port or brackets
	Port     string // "" is the default of the scheme
	Path     string // absolute, but for scp-like addresses as written
}

// Errors name no part of the text: it may hold a password anywhere.
var (
	errUnreadable = errors.New("the repository URL cannot be read")
	errScheme     = errors.New("the repository URL is not one of http, https, ssh, file or user@host:path")
	errQuery      = errors.New("the repository URL has a query or fragment")
	errPath       = errors.New("the repository URL names no repository")
)

var defaultPorts = map[string]string{"http": "80", "https": "443", "ssh": "22"}

// maxLen bounds an address in bytes.
const maxLen = 4096

// Parse reads an address. Its errors are free of the text they are about.
func Parse(text string) (Address, error) {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > maxLen || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return Address{}, errUnreadable
	}
	var a Address
	var err error
	switch {
	case strings.Contains(text, "://"):
		a, err = parseURL(text)
	case strings.HasPrefix(text, "/"):
		a = Address{Scheme: "file", Path: text}
	default:
		a, err = parseSCP(text)
	}
	if err != nil {
		return Address{}, err
	}
	if a.Scheme == "file" {
		a.Path = path.Clean(a.Path)
	}
	if strings.Trim(path.Clean("/"+a.Path), "/") == "" {
		return Address{}, errPath
	}
	return a, nil
}

func parseURL(text string) (Address, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Address{}, errUnreadable
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return Address{}, errQuery
	}
	a := Address{
		Scheme: strings.ToLower(u.Scheme),
		Host:   strings.TrimSuffix(strings.ToLower(u.Hostname()), "."),
		Port:   u.Port(),
		Path:   u.Path,
	}
	switch a.Scheme {
	case "http", "https", "ssh":
		if !validHost(a.Host) {
			return Address{}, errUnreadable
		}
	case "file":
		if a.Host != "" && a.Host != "localhost" {
			return Address{}, errUnreadable
		}
		a.Host, a.Port = "", ""
	default:
		return Address{}, errScheme
	}
	if a.Port == defaultPorts[a.Scheme] {
		a.Port = ""
	}
	if u.User != nil {
		a.User = u.User.Username()
		a.Password, _ = u.User.Password()
	}
	return a, nil
}

// parseSCP reads [user@]host:path. A slash before the colon would make it a
// file name, as for Git itself.
func parseSCP(text string) (Address, error) {
	user, rest, ok := strings.Cut(text, "@")
	if !ok {
		user, rest = "", text
	}
	host, file, ok := strings.Cut(rest, ":")
	if strings.HasPrefix(rest, "[") { // user@[::1]:path
		host, file, ok = strings.Cut(rest[1:], "]:")
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if !ok || !validHost(host) || strings.ContainsAny(user, "/\\ :") {
		return Address{}, errScheme // user:password@host:path is no ssh address either
	}
	return Address{Scheme: "ssh", User: user, Host: host, Path: file}, nil
}

// validHost accepts DNS names and IP addresses, in lower case and without the dot
// that may end a name.
func validHost(host string) bool {
	if strings.Contains(host, ":") {
		_, err := netip.ParseAddr(host)
		return err == nil && !strings.Contains(host, "%")
	}
	return host != "" && host[0] != '-' && host[len(host)-1] != '.' && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}

// HostPort is the host with its port, the default one if none is given.
func (a Address) HostPort() string {
	port := a.Port
	if port == "" {
		port = defaultPorts[a.Scheme]
	}
	return net.JoinHostPort(a.Host, port)
}

// Base is the URL without user and password, the form that requests use.
func (a Address) Base() string {
	return (&url.URL{Scheme: a.Scheme, Host: a.authority(), Path: a.rooted()}).String()
}

func (a Address) authority() string {
	host := a.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if a.Port != "" {
		host += ":" + a.Port
	}
	return host
}

func (a Address) rooted() string { return "/" + strings.Trim(a.Path, "/") }

// String shows the address to people: without password, and with the user
// only where it is part of the address (ssh).
func (a Address) String() string {
	if a.Scheme == "ssh" && a.User != "" {
		return (&url.URL{Scheme: "ssh", User: url.User(a.User), Host: a.authority(), Path: a.rooted()}).String()
	}
	return a.Base()
}

// GoString keeps the password out of %#v.
func (a Address) GoString() string { return a.String() }

// Redact gives the form of a repository URL that may be shown: as String does
// for one that can be read, and a placeholder for one that cannot.
func Redact(text string) string {
	a, err := Parse(text)
	if err != nil {
		return "<unreadable URL>"
	}
	return a.String()
}

// Canonical gives a key that is equal for the addresses of one repository:
// https, ssh and scp-like, with or without user, port and ".git", in any case.
// It is for matching a push event to sources, never for fetching; it may take
// two repositories for one (say, of two servers on the ports of one host),
// which costs a needless look. Repositories of OCI registries have keys of their
// own. It is "" for text that is no address.
func Canonical(text string) string {
	if rest, ok := strings.CutPrefix(strings.ToLower(text), "oci://"); ok {
		host, repo, _ := strings.Cut(strings.Trim(rest, "/"), "/")
		if host == "" || repo == "" {
			return ""
		}
		return "oci://" + host + "/" + repo
	}
	a, err := Parse(text)
	if err != nil {
		return ""
	}
	p := strings.ToLower(strings.Trim(path.Clean("/"+a.Path), "/"))
	p = strings.TrimSuffix(p, ".git")
	if a.Scheme == "file" {
		return "file:///" + p
	}
	return a.Host + "/" + p
}
