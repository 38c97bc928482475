package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The cluster's certificates outlive any use of a sandbox; they are never
// renewed.
const certificateLifetime = 10 * 365 * 24 * time.Hour

// pki is the directory of keys and certificates of a cluster.
type pki struct{ dir string }

func (p pki) cert(name string) string { return filepath.Join(p.dir, name+".crt") }
func (p pki) key(name string) string  { return filepath.Join(p.dir, name+".key") }

// The names in the directory, besides those of users.
const (
	caName             = "ca"
	servingName        = "apiserver"
	serviceAccountName = "service-account" // signs tokens; has no certificate
)

// user is an identity that a client certificate states.
type user struct {
	file, name, group string
}

// The users have the names that Kubernetes' own RBAC bindings expect.
var (
	adminUser             = user{"admin", "plumb-admin", "system:masters"}
	controllerManagerUser = user{"controller-manager", "system:kube-controller-manager", ""}
	schedulerUser         = user{"scheduler", "system:kube-scheduler", ""}
	nodeUser              = user{"node", "system:node:" + nodeName, "system:nodes"}
)

// ensurePKI makes the directory if it does not exist. It appears complete or
// not at all.
func ensurePKI(dir string) (pki, error) {
	if _, err := os.Stat(dir); err == nil {
		return pki{dir}, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return pki{}, fmt.Errorf("certificates of Kubernetes: %w", err)
	}
	making := pki{dir + ".new"}
	err := errors.Join(os.RemoveAll(making.dir), os.Mkdir(making.dir, 0o700))
	if err == nil {
		err = making.generate(time.Now())
	}
	if err == nil {
		err = os.Rename(making.dir, dir)
	}
	if err != nil {
		return pki{}, fmt.Errorf("certificates of Kubernetes: %w", err)
	}
	return pki{dir}, nil
}

func (p pki) generate(now time.Time) error {
	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "plumb-sandbox-ca"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caKey, err := p.issue(caName, ca, nil, nil, now)
	if err != nil {
		return err
	}
	serving := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc.cluster.local"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(10, 0, 0, 1)}, // the second: Service default/kubernetes
	}
	if _, err := p.issue(servingName, serving, ca, caKey, now); err != nil {
		return err
	}
	for _, u := range []user{adminUser, controllerManagerUser, schedulerUser, nodeUser} {
		client := &x509.Certificate{
			Subject:     pkix.Name{CommonName: u.name},
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}
		if u.group != "" {
			client.Subject.Organization = []string{u.group}
		}
		if _, err := p.issue(u.file, client, ca, caKey, now); err != nil {
			return err
		}
	}
	_, err = p.newKey(serviceAccountName)
	return err
}

// issue makes a key and a certificate for it, signed by the parent, or by
// itself without one.
func (p pki) issue(name string, template, parent *x509.Certificate, parentKey crypto.Signer, now time.Time) (crypto.Signer, error) {
	key, err := p.newKey(name)
	if err != nil {
		return nil, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template.NotBefore = now.Add(-time.Hour) // a clock may be put back a little
	template.NotAfter = now.Add(certificateLifetime)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, err
	}
	return key, writeFile(p.cert(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (p pki) newKey(name string) (crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(p.key(name), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
}
