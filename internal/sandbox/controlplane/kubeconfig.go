package controlplane

import (
	"fmt"
	"os"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// contextName names cluster and context in the kubeconfigs.
const contextName = "plumb"

// writeKubeconfigs writes one kubeconfig for each user, with everything
// inside, so that the files can be copied elsewhere.
func (p pki) writeKubeconfigs(dir *dataDir, url string) error {
	for path, u := range map[string]user{
		dir.kubeconfig():                  adminUser,
		dir.controllerManagerKubeconfig(): controllerManagerUser,
		dir.schedulerKubeconfig():         schedulerUser,
		dir.nodeKubeconfig():              nodeUser,
	} {
		content, err := p.kubeconfig(u, url)
		if err == nil {
			err = writeFile(path, content)
		}
		if err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", u.name, err)
		}
	}
	return nil
}

func (p pki) kubeconfig(u user, url string) ([]byte, error) {
	ca, err := os.ReadFile(p.cert(caName))
	if err != nil {
		return nil, err
	}
	cert, err := os.ReadFile(p.cert(u.file))
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(p.key(u.file))
	if err != nil {
		return nil, err
	}
	config := clientcmdapi.NewConfig()
	config.Clusters[contextName] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: ca}
	config.AuthInfos[u.name] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts[contextName] = &clientcmdapi.Context{Cluster: contextName, AuthInfo: u.name}
	config.CurrentContext = contextName
	return clientcmd.Write(*config)
}

// clientConfig reads a kubeconfig for a client that may be as quick as the
// API server lets it.
func clientConfig(kubeconfig string) (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	return config, nil
}
