package source

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"io"
	"net"
	"os/exec"
	"path"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"plumb.dev/plumb/internal/app"
)

// sshServer runs git-upload-pack and git-receive-pack for those who have the key.
type sshServer struct {
	addr    string
	hostKey ssh.Signer
}

func newKey(t *testing.T) (ssh.Signer, []byte) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

func sshCredentials(t *testing.T) app.Credentials {
	_, key := newKey(t)
	return app.Credentials{SSHKey: key, InsecureHost: true}
}

func startSSH(t *testing.T, dir string, allowed ssh.PublicKey) *sshServer {
	s := &sshServer{}
	s.hostKey, _ = newKey(t)
	config := &ssh.ServerConfig{PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() != "git" || string(key.Marshal()) != string(allowed.Marshal()) {
			return nil, io.EOF
		}
		return nil, nil
	}}
	config.AddHostKey(s.hostKey)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s.addr = l.Addr().String()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveSSH(conn, config, dir)
		}
	}()
	return s
}

func serveSSH(conn net.Conn, config *ssh.ServerConfig, dir string) {
	defer conn.Close()
	_, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for open := range channels {
		channel, requests, err := open.Accept()
		if err != nil {
			return
		}
		for r := range requests {
			if r.Type != "exec" {
				r.Reply(false, nil)
				continue
			}
			r.Reply(true, nil)
			program, repo, _ := strings.Cut(strings.TrimPrefix(string(r.Payload[4:]), "git-"), " ")
			cmd := exec.Command("git", program, path.Join(dir, strings.Trim(repo, "'")))
			cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
			status := byte(128)
			// Not cmd.Stdin: Wait would wait for the client to say more.
			if in, err := cmd.StdinPipe(); err == nil && cmd.Start() == nil {
				go func() {
					io.Copy(in, channel)
					in.Close()
				}()
				if cmd.Wait() == nil {
					status = 0
				}
			}
			channel.SendRequest("exit-status", false, []byte{0, 0, 0, status})
			channel.Close()
		}
	}
}

func TestSSH(t *testing.T) {
	o := newOrigin(t)
	o.commit("first", map[string]string{"a": "1"})
	o.push("main")
	signer, key := newKey(t)
	server := startSSH(t, path.Dir(o.bare), signer.PublicKey())
	known := []byte(knownhosts.Line([]string{knownhosts.Normalize(server.addr)}, server.hostKey.PublicKey()) + "\n")
	stranger, strangerKey := newKey(t)
	url := "ssh://git@" + server.addr + "/repo.git"
	s := newStore(t)

	src := app.Source{URL: url, Auth: app.Credentials{SSHKey: key, KnownHosts: known}}
	if got, err := treeOf(t, s, src).ReadFile("a"); err != nil || string(got) != "1" {
		t.Errorf("got %q, %v", got, err)
	}
	id := o.commit("second", map[string]string{"a": "2"})
	o.push("main")
	if rev, _ := resolve(t, s, src); rev.Commit != id {
		t.Errorf("got %s, want %s", rev.Commit, id)
	}
	checkStore(t, s)
	resolve(t, s, app.Source{URL: strings.Replace(url, "git@", "", 1), Auth: app.Credentials{SSHKey: key, InsecureHost: true}})

	wrongHost := []byte(knownhosts.Line([]string{knownhosts.Normalize(server.addr)}, stranger.PublicKey()))
	otherHost := []byte(knownhosts.Line([]string{"example.org"}, stranger.PublicKey()))
	for name, test := range map[string]struct {
		auth   app.Credentials
		reason app.Reason
		says   string
	}{
		"no key":            {app.Credentials{KnownHosts: known}, app.ReasonAuthentication, "needs a key"},
		"no known_hosts":    {app.Credentials{SSHKey: key}, app.ReasonAuthentication, "known_hosts"},
		"wrong host key":    {app.Credentials{SSHKey: key, KnownHosts: wrongHost}, app.ReasonAuthentication, "not the one in known_hosts"},
		"unknown host":      {app.Credentials{SSHKey: key, KnownHosts: otherHost}, app.ReasonAuthentication, "has no key of"},
		"bad known_hosts":   {app.Credentials{SSHKey: key, KnownHosts: []byte("nonsense here now\n")}, app.ReasonAuthentication, "known_hosts"},
		"wrong key":         {app.Credentials{SSHKey: strangerKey, KnownHosts: known}, app.ReasonAuthentication, "refuses the SSH key"},
		"unreadable key":    {app.Credentials{SSHKey: []byte("hunter2"), KnownHosts: known}, app.ReasonAuthentication, "cannot be read"},
		"refused password":  {app.Credentials{Password: "hunter2", KnownHosts: known}, app.ReasonAuthentication, ""},
		"encrypted, no key": {app.Credentials{SSHKey: encryptedKey(t, "hunter2"), KnownHosts: known}, app.ReasonAuthentication, "no password"},
		"encrypted, wrong":  {app.Credentials{SSHKey: encryptedKey(t, "hunter2"), SSHKeyPassword: "hunter3", KnownHosts: known}, app.ReasonAuthentication, "cannot be decrypted"},
	} {
		t.Run(name, func(t *testing.T) {
			f := wantFailure(t, resolveError(t, s, app.Source{URL: url, Auth: test.auth}), test.reason, "hunter")
			if !strings.Contains(f.Error(), test.says) {
				t.Errorf("got %q, want %q in it", f, test.says)
			}
		})
	}
	src.URL = strings.Replace(url, "repo.git", "none.git", 1)
	wantFailure(t, resolveError(t, s, src), app.ReasonRepoNotFound)
}

func encryptedKey(t *testing.T, password string) []byte {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block)
}
